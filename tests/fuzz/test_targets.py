"""Every target stands its corpus, all that was ever found included, and half a second of mutations of it."""

from pathlib import Path

import pytest

from tests.fuzz.inside import NAMES, Failed, play, try_out
from tests.fuzz.targets import FINDINGS, TARGETS, Target, corpus

SEED = 1
SECONDS = 0.5


def test_the_names_are_those_of_the_targets() -> None:
    assert list(TARGETS) == NAMES
    assert {path.name for path in FINDINGS.iterdir()} <= set(NAMES)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", NAMES)
def test_a_target_stands_it(name: str, tmp_path: Path) -> None:
    assert play(name, SEED, SECONDS, tmp_path / "octets") > len(corpus(name))


def test_what_fails_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fall(octets: bytes) -> None:
        raise ValueError("fell over")

    monkeypatch.setitem(TARGETS, "sasl", Target(fall, lambda: [b"octets"]))
    with pytest.raises(Failed, match="fell over"):
        try_out("sasl", b"octets", tmp_path / "kept")
    assert (tmp_path / "kept").read_bytes() == b"octets"
