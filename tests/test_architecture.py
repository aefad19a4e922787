"""The layers of the package point one way, and files stay of a size to be read.

Reads the import and cimport lines of every source file, which no common linter does for Cython: Python files as syntax
trees, Cython files line by line. Nothing is imported, so a tree that does not build can be checked too.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "flowmq"

# Lowest first. A file may name its own layer and those before it.
LAYERS = [
    {"_frame", "_unfinished", "amqp"},
    {
        *("_checksum", "_intervals", "_message", "_message_log", "_delivery", "_transaction", "_queue", "broker"),
        *(
            "_heaps",
            "_ring",
            "_order",
            "_rules",
            "_rewrite",
            "_deaths",
            "_dead_letters",
            "_memories",
            "_tally",
            "_returns",
            "_settlement",
        ),
        *("_matching", "_binding_keys", "_headers", "_hashing", "_router"),
    },
    {
        *("_failpoint", "_records", "_summary", "_segment", "_queue_log", "_threads", "_commit", "_journal"),
        *("_disposal", "_compaction", "_verification", "_restore"),
        *("_replay", "_replay_queue", "_replay_segment", "storage"),
    },
    {
        *("_clock", "_busy_poll", "_peer", "_content", "_channel", "_held", "_tx"),
        *("_sockets", "_listening", "_flow", "_connection", "server"),
    },
    {"management", "shovel"},
]
LAYER_OF = {module: layer for layer, modules in enumerate(LAYERS) for module in modules}
PURE_LAYERS = {0, 1}  # values and rules: no sockets, no files, no clock
OUTSIDE_LAYERS = {"__init__", "__main__"}

IMPURE_MODULES = {
    *("asyncio", "select", "selectors", "signal", "socket", "ssl", "subprocess", "threading", "uvloop"),
    *("fcntl", "io", "libc.stdio", "mmap", "multiprocessing", "pathlib", "posix", "shutil", "tempfile"),
    *("datetime.now", "datetime.today", "datetime.utcnow", "libc.time", "time"),
}
OS_ALLOWED = {"urandom"}
WATCHED = {"os", "datetime"}  # harmless to import; what is taken of them counts

LINES_MAX = {".py": 400, ".pyi": 400, ".pyx": 650, ".pxd": 150}


class Import(NamedTuple):
    name: str  # as dotted and absolute as can be: flowmq._queue.Queue, time.monotonic
    line: int


# -------------------------------------------------------------------------------------------------- reading imports


def imports_of(path: Path, package: Path) -> Iterator[Import]:
    text = path.read_text()
    inside = [package.name, *path.relative_to(package).parent.parts]
    found = python_imports(text) if path.suffix in {".py", ".pyi"} else cython_imports(text)
    for name, line in found:
        yield Import(absolute(name, inside), line)


def absolute(name: str, inside: list[str]) -> str:
    """`..amqp.errors` seen from flowmq/broker is flowmq.amqp.errors."""
    dots = len(name) - len(name.lstrip("."))
    if not dots:
        return name
    return ".".join([*inside[: len(inside) - dots + 1], name[dots:]])


def python_imports(text: str) -> Iterator[Import]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (Import(joined(module, alias.name), node.lineno) for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in WATCHED:
            yield Import(f"{node.value.id}.{node.attr}", node.lineno)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open":
            yield Import("io.open", node.lineno)


STRING_OR_COMMENT = re.compile(
    r"""(?P<triple>'{3}|"{3})(?:\\.|.)*?(?P=triple)|(?P<quote>['"])(?:\\.|(?!(?P=quote))[^\n\\])*(?P=quote)|\#[^\n]*""",
    re.DOTALL,
)
FROM_IMPORT = re.compile(r"\s*from\s+([\w.]+)\s+c?import\s+(.+)")
PLAIN_IMPORT = re.compile(r"\s*c?import\s+(.+)")
WATCHED_ATTRIBUTE = re.compile(r"(?<![\w.])(?:os|datetime)\.\w+")
OPEN_CALL = re.compile(r"(?<![\w.])open\s*\(")


def cython_imports(text: str) -> Iterator[Import]:
    for line, statement in statements(text):
        if match := FROM_IMPORT.match(statement):
            yield from (Import(joined(match[1], name), line) for name in imported_names(match[2]))
        elif match := PLAIN_IMPORT.match(statement):
            yield from (Import(name, line) for name in imported_names(match[1]))
        else:
            yield from (Import(found[0], line) for found in WATCHED_ATTRIBUTE.finditer(statement))
            if OPEN_CALL.search(statement):
                yield Import("io.open", line)


def statements(text: str) -> Iterator[tuple[int, str]]:
    """Lines without strings and comments; those within brackets, or ended by a backslash, are joined to one."""
    text = STRING_OR_COMMENT.sub(lambda match: "\n" * match[0].count("\n"), text)
    gathered, first, depth = "", 1, 0
    for number, line in enumerate(text.splitlines(), 1):
        first = first if gathered else number
        depth += sum(line.count(bracket) for bracket in "([{") - sum(line.count(bracket) for bracket in ")]}")
        gathered += line.rstrip("\\") + " "
        if depth <= 0 and not line.endswith("\\"):
            yield from ((first, part) for part in gathered.split(";"))
            gathered, depth = "", 0


def imported_names(text: str) -> list[str]:
    parts = text.replace("(", " ").replace(")", " ").split(",")
    return [part.split()[0] for part in parts if part.split()]


def joined(module: str, name: str) -> str:
    return module + name if module.endswith(".") else f"{module}.{name}"


# ---------------------------------------------------------------------------------------------------- the rules


def source_files(package: Path) -> list[Path]:
    return sorted(path for path in package.rglob("*") if path.suffix in LINES_MAX)


def module_of(path: Path, package: Path) -> str:
    """The name a layer knows: an underscore module, or the first folder."""
    return path.relative_to(package).parts[0].split(".")[0]


def violations(package: Path) -> list[str]:
    found = []
    for path in source_files(package):
        module = module_of(path, package)
        if module in OUTSIDE_LAYERS:
            continue
        if module not in LAYER_OF:
            found.append(f"{module}: belongs to no layer")
            continue
        for imported in imports_of(path, package):
            complaint = complaint_about(imported, LAYER_OF[module], package.name)
            if complaint:
                found.append(f"{path.relative_to(package.parent)}:{imported.line}: {complaint}")
    return found


def complaint_about(imported: Import, layer: int, package_name: str) -> str | None:
    parts = imported.name.split(".")
    if parts[0] == package_name:
        return complaint_about_own(parts, layer)
    if layer in PURE_LAYERS and is_impure(parts):
        return f"layer {layer} uses {imported.name}: it has no sockets, files or clock"
    return None


def complaint_about_own(parts: list[str], layer: int) -> str | None:
    if len(parts) < 2 or parts[1] in {"__version__", "__init__"}:
        return None
    named = LAYER_OF.get(parts[1])
    if named is None:
        return f"imports {'.'.join(parts)}, which belongs to no layer"
    if named > layer:
        return f"layer {layer} imports {'.'.join(parts)} of layer {named}"
    return None


def is_impure(parts: list[str]) -> bool:
    if parts[0] == "os":
        return len(parts) > 1 and parts[1] not in OS_ALLOWED
    return any(".".join(parts[:length]) in IMPURE_MODULES for length in range(1, len(parts) + 1))


def long_files(package: Path) -> list[str]:
    lengths = ((path, len(path.read_text().splitlines())) for path in source_files(package))
    return [
        f"{path.relative_to(package.parent)}: {length} lines, at most {LINES_MAX[path.suffix]}"
        for path, length in lengths
        if length > LINES_MAX[path.suffix]
    ]


# ----------------------------------------------------------------------------------------------- FlowMQ keeps them


def test_layers_point_one_way() -> None:
    assert violations(PACKAGE) == []


def test_files_are_of_a_size_to_be_read() -> None:
    assert long_files(PACKAGE) == []


def test_the_package_was_found() -> None:
    modules = {module_of(path, PACKAGE) for path in source_files(PACKAGE)}
    assert {"_frame", "_queue", "amqp", "server"} <= modules


# ------------------------------------------------------------------------------------------ the checker sees faults


def package_with(root: Path, files: dict[str, str]) -> Path:
    package = root / "flowmq"
    for name, text in files.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return package


UPWARD = [
    ("amqp/errors.py", "from flowmq.broker import queues\n"),
    ("amqp/errors.py", "import flowmq.server.process\n"),
    ("amqp/errors.py", "from flowmq import _queue\n"),
    ("amqp/errors.py", "from ..broker.queues import Queue\n"),
    ("amqp/errors.py", "def late():\n    from flowmq.server import logs\n"),
    ("broker/vhost.py", "from flowmq._journal import Journal\n"),
    ("storage/recovery.py", "from flowmq._channel import Channel\n"),
    ("server/process.py", "from flowmq.management import http\n"),
    ("_frame.pyx", "from flowmq._queue cimport Queue\n"),
    ("_frame.pyx", "from flowmq cimport _queue\n"),
    ("_frame.pyx", "cimport flowmq._queue as queue\n"),
    ("_frame.pyx", "from flowmq._message cimport (\n    Message,  # why\n    message_release,\n)\n"),
    ("_frame.pyx", "from flowmq._message \\\n    cimport Message\n"),
    ("_frame.pyx", "def late():\n    from ._queue import Queue\n"),
    ("_frame.pyx", '"""A text."""; import flowmq._queue\n'),
    ("_queue.pxd", "from flowmq._journal cimport Journal\n"),
    ("_channel.pyi", "from flowmq.management.http import Server\n"),
]


@pytest.mark.parametrize(("name", "text"), UPWARD)
def test_an_upward_import_is_found(tmp_path: Path, name: str, text: str) -> None:
    found = violations(package_with(tmp_path, {name: text}))
    assert found
    assert all(re.search(r"layer \d imports flowmq\.\S+ of layer \d", complaint) for complaint in found)


IMPURE = [
    ("broker/vhost.py", "import time\n"),
    ("broker/vhost.py", "from time import monotonic\n"),
    ("broker/vhost.py", "import os.path\n"),
    ("broker/vhost.py", "import os\nos.remove('x')\n"),
    ("broker/vhost.py", "from os import open\n"),
    ("broker/vhost.py", "open('x')\n"),
    ("amqp/sasl.py", "import asyncio\n"),
    ("amqp/tables.py", "from datetime import datetime\ndatetime.now()\n"),
    ("_queue.pyx", "from libc.time cimport time\n"),
    ("_queue.pyx", "from posix.unistd cimport read\n"),
    ("_router.pyx", "import socket, time\n"),
]


@pytest.mark.parametrize(("name", "text"), IMPURE)
def test_a_clock_file_or_socket_in_the_model_is_found(tmp_path: Path, name: str, text: str) -> None:
    found = violations(package_with(tmp_path, {name: text}))
    assert found
    assert all("no sockets, files or clock" in complaint for complaint in found)


ALLOWED = [
    ("amqp/tables.py", "from datetime import UTC, datetime\ndatetime.fromtimestamp(0, UTC)\n"),
    ("amqp/errors.py", "from flowmq.amqp.constants import REPLY\nfrom . import tables\n"),
    ("broker/vhost.py", "import os\nname = os.urandom(16)\nfrom flowmq._queue import Queue\n"),
    ("_queue.pyx", "from libc.stdlib cimport free\n# import time\ntext = 'import socket'\n"),
    ("_queue.pyx", '"""\nimport flowmq.server\n"""\n'),
    ("server/process.py", "import asyncio, time\nfrom flowmq import __version__\n"),
    ("__main__.py", "from flowmq.server.command import main\n"),
]


@pytest.mark.parametrize(("name", "text"), ALLOWED)
def test_what_is_allowed_passes(tmp_path: Path, name: str, text: str) -> None:
    assert violations(package_with(tmp_path, {name: text})) == []


def test_a_module_without_a_layer_is_found(tmp_path: Path) -> None:
    assert violations(package_with(tmp_path, {"_novel.pyx": ""})) == ["_novel: belongs to no layer"]


def test_an_import_of_a_module_without_a_layer_is_found(tmp_path: Path) -> None:
    [found] = violations(package_with(tmp_path, {"server/process.py": "import flowmq.novel\n"}))
    assert "belongs to no layer" in found


def test_an_overlong_file_is_found(tmp_path: Path) -> None:
    package = package_with(tmp_path, {"_queue.pxd": "\n" * 151, "_queue.pyx": "\n" * 600})
    assert long_files(package) == ["flowmq/_queue.pxd: 151 lines, at most 150"]
