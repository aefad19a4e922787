"""flowmq inspect and flowmq recover: what they tell, what they change, and the codes they end with."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

from flowmq.server.command import main
from flowmq.storage.layout import DataDir
from tests.support import journal_writer as write
from tests.support.journal_writer import Segment

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_command(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, captured.out, captured.err

    return run_command


def packed(*values: object) -> bytes:
    octets: bytes = msgpack.packb(list(values))
    return octets


def journal() -> list[Segment]:
    first = Segment(1, size=700)
    snapshot = packed(["queue", [b"/", b"orders"], {"id": 4}], ["queue", [b"/", b"old\xff"], {"id": 5}])
    first.batch(1, [write.definitions(snapshot), write.definition(packed("queue", [b"/", b"old\xff"], None))])
    first.batch(2, [write.message(4, 1, b"one", exchange=b"x", key=b"key"), write.message(5, 1)], (1, first.end))
    shared = first.next_offset()
    first.batch(3, [write.message(4, 2, b"two"), write.target(6, 1, shared), write.gone(5)], (1, first.end))
    second = first.follower(size=700)
    second.batch(4, [write.settled(4, 1), write.message(4, 3, b"three")], (1, first.end))
    second.batch(5, [write.message(4, 4)], (2, second.end))
    return [first, second]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    write.write_data_dir(tmp_path / "data", journal())
    return tmp_path / "data"


def damage(data_dir: Path, number: int, offset: int) -> None:
    path = data_dir / "journal" / f"{number:016x}.segment"
    octets = bytearray(path.read_bytes())
    octets[offset] ^= 0x10
    path.write_bytes(octets)


def files(data_dir: Path) -> dict[str, bytes]:
    return {str(path.relative_to(data_dir)): path.read_bytes() for path in data_dir.rglob("*") if path.is_file()}


def inspected(run: Run, data_dir: Path, *options: str) -> Any:
    code, output, errors = run("inspect", data_dir, "--json", *options)
    assert errors == ""
    return {"code": code, **json.loads(output)}


# ------------------------------------------------------------------------------------------------------------ inspect


def test_inspect_tells_what_is_in_a_journal(run: Run, data_dir: Path) -> None:
    before = files(data_dir)
    found = inspected(run, data_dir)
    assert (found["code"], found["faults"], found["in_use_by"], found["cut_octets"]) == (0, [], None, 0)
    assert found["definitions"] == [["queue", ["/", "orders"], {"id": 4}]]
    assert [(queue["id"], queue["name"], queue["messages"], queue["gone"]) for queue in found["queues"]] == [
        *((4, "orders", 3, False), (5, None, 0, True), (6, None, 1, False))
    ]
    assert [segment["live_targets"] for segment in found["segments"]] == [2, 2]
    for segment in found["segments"]:
        assert segment["live_octets"] + segment["dead_octets"] == segment["record_octets"]
    assert files(data_dir) == before


def test_a_queue_or_exchange_that_goes_takes_its_bindings_with_it(run: Run, tmp_path: Path) -> None:
    def binding(queue: bytes, key: bytes, value: object = True) -> list[object]:
        return ["binding", [b"/", b"x", "queue", queue, key, b""], value]

    def left(*changes: list[object]) -> list[Any]:
        directory = tmp_path / str(len(changes))
        segment = Segment(1)
        segment.batch(1, [write.definition(packed(*change)) for change in changes])
        write.write_data_dir(directory, [segment])
        return [name[3:5] for kind, name, _ in inspected(run, directory)["definitions"] if kind == "binding"]

    made = [binding(b"q", b"1"), binding(b"q", b"2"), binding(b"other", b"3")]
    gone = ["queue", [b"/", b"q"], None]
    assert left(*made, gone) == [["other", "3"]]
    assert left(*made, gone, binding(b"q", b"1")) == [["other", "3"], ["q", "1"]]
    assert left(*made, gone, binding(b"q", b"1"), ["exchange", [b"/", b"x"], None]) == []


def test_inspect_as_text(run: Run, data_dir: Path) -> None:
    code, output, errors = run("inspect", data_dir)
    assert (code, errors) == (0, "")
    assert "segments: 2, spares: 0" in output
    assert "id 4  'orders' in vhost '/'  messages 3  body octets 8" in output


@pytest.mark.parametrize("queue", ["orders", "4"])
def test_inspect_one_queue(run: Run, data_dir: Path, queue: str) -> None:
    found = inspected(run, data_dir, "--queue", queue)
    assert [message["sequence"] for message in found["message_list"]] == [2, 3, 4]
    code, output, _ = run("inspect", data_dir, "--queue", queue)
    assert (code, output.count("\n")) == (0, 4)


def test_parts_of_queues_and_what_exchanges_keep_are_named(run: Run, tmp_path: Path) -> None:
    segment = Segment(1)
    definitions = [
        ["queue", [b"/", b"orders"], {"id": 1, "lanes": 2}],
        ["memory", [b"/", b"exchange", b"later", b"delayed"], {"id": 3}],
    ]
    segment.batch(1, [write.definitions(packed(*definitions)), *(write.message(number, 1) for number in (1, 2, 3))])
    write.write_data_dir(tmp_path, [segment])
    assert [(queue["name"], queue["part"]) for queue in inspected(run, tmp_path)["queues"]] == [
        ("orders", "priority 0"),
        ("orders", "priority 1"),
        ("later", "delayed of this exchange"),
    ]
    _, output, _ = run("inspect", tmp_path)
    assert "id 2  'orders' in vhost '/', priority 1  messages 1" in output


def test_passwords_are_not_shown(run: Run, tmp_path: Path) -> None:
    segment = Segment(1, size=700)
    uris = {"src-uri": ["amqp://u:opensesame@host"], "dest-uri": "amqp://u:opensesame@host"}
    shovel = ["parameter", [b"/", b"shovel", b"s"], {"value": uris, "user": None}]
    user = ["user", [b"ann"], {"password": "opensesame", "algorithm": "plain", "tags": []}]
    promise = ["promise", [b"1", b"0"], json.dumps([["parameters", {"value": uris}, False]])]
    segment.batch(1, [write.definitions(packed(shovel, user, promise))])
    write.write_data_dir(tmp_path / "data", [segment])
    for options in ((), ("--json",)):
        code, output, _ = run("inspect", tmp_path / "data", *options)
        assert code == 0
        assert "amqp://u:***@host" in output
        assert "opensesame" not in output


def test_a_name_in_two_vhosts_is_asked_for_by_id(run: Run, tmp_path: Path) -> None:
    segment = Segment(1)
    queues = [["queue", [vhost, b"orders"], {"id": number}] for number, vhost in enumerate((b"/", b"other"), 1)]
    segment.batch(
        1, [write.definitions(packed(*queues)), write.message(1, 1), write.message(2, 1), write.message(2, 2)]
    )
    write.write_data_dir(tmp_path, [segment])
    code, _, errors = run("inspect", tmp_path, "--queue", "orders")
    assert (code, "id 1 in vhost '/', id 2 in vhost 'other'" in errors) == (2, True)
    assert inspected(run, tmp_path, "--queue", "2")["messages"] == 2


def test_a_definition_that_is_not_messagepack_is_a_fault(run: Run, tmp_path: Path) -> None:
    segment = Segment(1)
    segment.batch(1, [write.definition(b"\xc1"), write.definition(packed(1, 2)), write.definition(packed("a", "b", 1))])
    write.write_data_dir(tmp_path, [segment])
    found = inspected(run, tmp_path)
    assert (found["code"], found["definitions"], len(found["faults"])) == (1, [["a", "b", 1]], 2)


def test_inspect_one_record(run: Run, data_dir: Path) -> None:
    offset = journal()[0].batches[1] + 40
    found = inspected(run, data_dir, "--record", f"1:{offset}")
    assert (found["type"], found["exchange"], found["routing_key"], found["body"]) == ("message", "x", "key", "'one'")
    assert run("inspect", data_dir, "--record", "1:104")[1].startswith("type: definitions\n")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--record", "1:105"], "no record stands at offset 105"),
        (["--record", "1:690"], "ends before a record at offset 690"),
        (["--record", "7:64"], "there is no such segment"),
        (["--record", "x"], "'x' is not SEGMENT:OFFSET"),
        (["--queue", "nowhere"], "no queue has the name or the id 'nowhere'"),
    ],
)
def test_what_inspect_cannot_find_is_one_line_and_code_2(
    run: Run, data_dir: Path, options: Any, complaint: str
) -> None:
    code, output, errors = run("inspect", data_dir, *options)
    assert (code, output, errors.count("\n")) == (2, "", 1)
    assert complaint in errors


def test_inspect_names_the_first_fault_and_verify_all_of_them(run: Run, data_dir: Path) -> None:
    damage(data_dir, 1, 70)
    damage(data_dir, 2, 80)
    code, output, errors = run("inspect", data_dir)
    assert (code, output) == (1, "")
    assert "0000000000000001.segment: corrupt at offset 64: " in errors
    found = inspected(run, data_dir, "--verify")
    assert (found["code"], [(fault["number"], fault["offset"]) for fault in found["faults"]]) == (1, [(1, 64), (2, 64)])
    assert run("inspect", data_dir, "--verify")[1].count("CORRUPT: batch in segment") == 2


def test_a_torn_tail_is_told_and_is_no_fault(run: Run, data_dir: Path) -> None:
    damage(data_dir, 2, journal()[1].end - 1)
    found = inspected(run, data_dir)
    assert (found["code"], found["cut_octets"]) == (0, journal()[1].end - journal()[1].batches[1])


def test_inspect_works_on_a_directory_in_use(run: Run, data_dir: Path) -> None:
    with DataDir.open_or_create(data_dir):
        assert "in use by process" in run("inspect", data_dir)[1]


# ------------------------------------------------------------------------------------------------------------ recover


def test_there_is_nothing_to_recover_in_a_sound_journal(run: Run, data_dir: Path) -> None:
    before = files(data_dir)
    code, output, _ = run("recover", data_dir, "--skip-corrupt")
    assert (code, output) == (0, "the journal is sound: nothing to recover\n")
    assert {**before, "LOCK": b""}.keys() == files(data_dir).keys()


@pytest.mark.parametrize("options", [[], ["--dry-run"], ["--skip-corrupt", "--dry-run"]])
def test_without_being_told_to_recover_only_reports(run: Run, data_dir: Path, options: list[str]) -> None:
    damage(data_dir, 1, 70)
    before = files(data_dir)
    code, output, _ = run("recover", data_dir, *options)
    assert code == 1
    assert "CORRUPT: batch in segment 0000000000000001 at offset 64: " in output
    assert "nothing was changed" in output
    after = files(data_dir)
    after.pop("LOCK")
    assert after == before


def test_a_directory_in_use_is_not_recovered(run: Run, data_dir: Path) -> None:
    with DataDir.open_or_create(data_dir):
        code, _, errors = run("recover", data_dir, "--skip-corrupt")
    assert (code, errors.count("\n")) == (2, 1)
    assert "in use by process" in errors


def test_recover_loses_the_damaged_batch_and_nothing_else(run: Run, data_dir: Path) -> None:
    sound = journal()[0]
    damage(data_dir, 1, sound.batches[1] + 90)
    damaged = (data_dir / "journal" / "0000000000000001.segment").read_bytes()
    code, _, errors = run("recover", data_dir, "--skip-corrupt")
    assert (code, errors) == (0, "")
    assert (data_dir / "journal" / "corrupt-1" / "0000000000000001.segment").read_bytes() == damaged
    found = inspected(run, data_dir)
    assert (found["code"], found["faults"]) == (0, [])
    assert {queue["id"]: queue["messages"] for queue in found["queues"]} == {4: 3, 5: 0, 6: 1}


@pytest.mark.parametrize("number", [1, 2])
def test_after_recover_every_journal_with_a_flipped_bit_is_sound(run: Run, tmp_path: Path, number: int) -> None:
    segments = journal()
    for offset in range(0, segments[number - 1].batches[-1], 5):
        data_dir = tmp_path / f"flip-{offset}"
        write.write_data_dir(data_dir, segments)
        damage(data_dir, number, offset)
        assert run("inspect", data_dir)[0] == 1
        assert run("recover", data_dir, "--skip-corrupt")[0] == 0
        found = inspected(run, data_dir)
        assert (found["code"], found["faults"]) == (0, [])
        lost = offset >= 64
        assert sum(queue["messages"] for queue in found["queues"]) >= (1 if lost else 4)
        shutil.rmtree(data_dir)


def test_a_target_whose_message_is_lost_goes_with_it(run: Run, tmp_path: Path) -> None:
    segment = Segment(1)
    offset = segment.next_offset()
    segment.batch(1, [write.message(1, 1, b"lost")])
    segment.batch(2, [write.target(2, 1, offset), write.message(2, 2)], (1, segment.end))
    segment.batch(3, [write.message(1, 2)], (1, segment.end))
    segment.octets[offset + 30] ^= 1
    write.write_data_dir(tmp_path, [segment])
    assert run("recover", tmp_path, "--skip-corrupt")[0] == 0
    found = inspected(run, tmp_path)
    assert (found["code"], {queue["id"]: queue["messages"] for queue in found["queues"]}) == (0, {1: 1, 2: 1})


def test_recover_closes_the_gap_of_a_missing_segment(run: Run, tmp_path: Path) -> None:
    first = Segment(1)
    first.batch(1, [write.message(1, 1)])
    second = first.follower()
    second.batch(2, [write.message(1, 2)])
    third = second.follower()
    third.batch(3, [write.message(1, 3)])
    write.write_data_dir(tmp_path, [first, third])
    assert run("inspect", tmp_path)[0] == 1
    assert run("recover", tmp_path, "--skip-corrupt")[0] == 0
    found = inspected(run, tmp_path)
    assert (found["code"], [queue["messages"] for queue in found["queues"]]) == (0, [2])


@pytest.mark.parametrize("command", ["inspect", "recover"])
def test_a_directory_that_is_not_ours_is_refused(run: Run, tmp_path: Path, command: str) -> None:
    code, output, errors = run(command, tmp_path)
    assert (code, output, errors.count("\n")) == (2, "", 1)
    assert run(command, "--help")[1].count("Exit codes:") == 1
