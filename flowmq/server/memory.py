"""How much memory this process may count on: the machine's, or its control group's when that is less.

Asked once, at the start; not a measure of what is in use.
"""

import os
from pathlib import Path

SHARE_PERCENT = 60
CGROUP_ROOT = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def memory_limit(setting: int) -> int:
    """The limit in force: the setting limits.memory_bytes_max, or 60 % of what there is when it is 0."""
    return setting or available_bytes() * SHARE_PERCENT // 100


def available_bytes(root: Path = CGROUP_ROOT, own_cgroups: Path = OWN_CGROUPS) -> int:
    machine_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine_bytes, *group_limits(root, own_cgroups)])


def group_limits(root: Path, own_cgroups: Path) -> list[int]:
    """The limits of our control group and of all above it; a container may see its own group as the root."""
    files = [root / "memory.max", root / "memory" / "memory.limit_in_bytes"]
    for hierarchy, controllers, path in own_groups(own_cgroups):
        if hierarchy == "0":
            files += limit_files(root, path, "memory.max")
        elif "memory" in controllers.split(","):
            files += limit_files(root / "memory", path, "memory.limit_in_bytes")
    # "max", a missing file and a file we may not read all mean: no limit here.
    texts = (read_or_empty(file).strip() for file in files)
    return [int(text) for text in texts if text.isdigit()]


def own_groups(own_cgroups: Path) -> list[list[str]]:
    lines = read_or_empty(own_cgroups).splitlines()
    return [parts for parts in (line.split(":", 2) for line in lines) if len(parts) == 3]


def limit_files(root: Path, path: str, name: str) -> list[Path]:
    group = root / path.strip("/")
    return [place / name for place in (group, *group.parents) if place.is_relative_to(root)]


def read_or_empty(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
