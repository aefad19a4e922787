"""The data directory: made or found, ours or refused, used by one process at a time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowmq.storage.layout import DataDir, StorageError

HOLDER = """
import sys
from flowmq.storage.layout import DataDir
directory = DataDir.open_or_create(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


def test_a_new_directory_is_made_with_all_above_it(tmp_path: Path) -> None:
    path = tmp_path / "var" / "lib" / "flowmq"
    with DataDir.open_or_create(path) as directory:
        assert (path / "FORMAT").read_text() == "FlowMQ data directory, format 1\n"
        assert (path / "LOCK").read_text() == f"{os.getpid()}\n"
        assert directory.journal.is_dir()
        assert (directory.segments(), directory.spares()) == ([], [])


@pytest.mark.parametrize("leftover", ["lost+found", "FORMAT.new", "LOCK"])
def test_what_an_interrupted_start_left_is_no_hindrance(tmp_path: Path, leftover: str) -> None:
    (tmp_path / leftover).touch()
    with DataDir.open_or_create(tmp_path):
        assert DataDir.open(tmp_path).is_ours()


def test_a_directory_that_is_not_ours_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    for open_it in (DataDir.open, DataDir.open_or_create):
        with pytest.raises(StorageError, match=r"not a FlowMQ data directory, and not empty: it has 'thesis.tex'"):
            open_it(tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_opening_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such directory"):
        DataDir.open(tmp_path / "none")
    with pytest.raises(StorageError, match="not a FlowMQ data directory"):
        DataDir.open(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("FlowMQ data directory, format 2\n", "has format 2, and this version of FlowMQ reads format 1"),
        ("FlowMQ data directory, format 1", "does not say that this is a FlowMQ data directory"),
        ("", "does not say that this is a FlowMQ data directory"),
        ("\xff", "does not say that this is a FlowMQ data directory"),
    ],
)
def test_another_format_is_refused_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "FORMAT").write_bytes(text.encode("latin-1"))
    with pytest.raises(StorageError, match=complaint) as refused:
        DataDir.open_or_create(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_file_in_the_place_of_the_directory_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(StorageError):
        DataDir.open_or_create(tmp_path / "data")


def test_two_brokers_in_one_directory_are_refused(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StorageError, match=f"in use by process {holder.pid}$"):
            DataDir.open_or_create(tmp_path)
        assert DataDir.open(tmp_path).in_use_by() == str(holder.pid)
        holder.kill()
    assert DataDir.open(tmp_path).in_use_by() is None
    with DataDir.open_or_create(tmp_path):
        assert DataDir.open(tmp_path).in_use_by() == str(os.getpid())


def test_segments_and_spares_are_told_by_their_names(tmp_path: Path) -> None:
    with DataDir.open_or_create(tmp_path) as directory:
        names = ["000000000000001f.segment", "0000000000000002.segment", "spare-1f.segment", "spare-a.segment"]
        others = [
            "2.segment",
            "0000000000000002.segment.bak",
            "000000000000000G.segment",
            "spare-.segment",
            "corrupt-1",
        ]
        for name in names + others:
            (directory.journal / name).touch()
        assert directory.segments() == [(2, directory.segment_path(2)), (31, directory.segment_path(31))]
        assert directory.spares() == [(10, directory.spare_path(10)), (31, directory.spare_path(31))]
        assert directory.segment_path(31).name == names[0]
