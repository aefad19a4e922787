"""The memory limit: the setting, or a share of the machine's or the control group's memory."""

import os
from pathlib import Path

import pytest

from flowmq.server.memory import available_bytes, memory_limit

MACHINE_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
MIB = 1048576

LAYOUTS = [
    ("0::/\n", {"memory.max": 64 * MIB}, 64 * MIB),
    ("0::/a/b\n", {"a/b/memory.max": 64 * MIB}, 64 * MIB),
    ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": 32 * MIB}, 32 * MIB),
    ("0::/a/b\n", {"a/b/memory.max": 16 * MIB, "a/memory.max": 32 * MIB}, 16 * MIB),
    ("0::/not/seen/from/here\n", {"memory.max": 8 * MIB}, 8 * MIB),
    ("3:cpu,memory:/a\n1:cpu:/b\n", {"memory/a/memory.limit_in_bytes": 64 * MIB}, 64 * MIB),
    ("3:cpu,memory:/a\n", {"memory/a/memory.limit_in_bytes": 9223372036854771712}, MACHINE_BYTES),
    ("0::/\n", {"memory.max": "max"}, MACHINE_BYTES),
    ("0::/../..\n", {"memory.max": 8 * MIB}, 8 * MIB),
    ("nonsense\n", {}, MACHINE_BYTES),
    ("", {}, MACHINE_BYTES),
]


@pytest.mark.parametrize(("groups", "limits", "expected"), LAYOUTS)
def test_the_least_limit_counts(tmp_path: Path, groups: str, limits: dict[str, object], expected: int) -> None:
    own = tmp_path / "cgroup"
    own.write_text(groups)
    for name, limit in limits.items():
        file = tmp_path / "root" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{limit}\n")
    assert available_bytes(tmp_path / "root", own) == expected


def test_without_control_groups_the_machine_counts(tmp_path: Path) -> None:
    assert available_bytes(tmp_path / "none", tmp_path / "none") == MACHINE_BYTES


def test_the_setting_wins() -> None:
    assert memory_limit(12345) == 12345


def test_no_setting_is_sixty_percent() -> None:
    assert memory_limit(0) == available_bytes() * 60 // 100
