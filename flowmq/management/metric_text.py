"""Prometheus' text format, written: heads, lines, histograms."""

from collections.abc import Iterable, Iterator

ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})

Lines = Iterator[str]


def labels(**values: object) -> str:
    return ",".join(f'{name}="{str(value).translate(ESCAPES)}"' for name, value in values.items())


def head(name: str, kind: str, help: str) -> str:
    return f"# TYPE {name} {kind}\n# HELP {name} {help}\n"


def line(name: str, labelled: str, value: float) -> str:
    return f"{name}{{{labelled}}} {number(value)}\n" if labelled else f"{name} {number(value)}\n"


def number(value: float) -> str:
    return repr(value) if isinstance(value, float) else str(int(value))


def histogram(name: str, labelled: str, help: str, buckets: Iterable[tuple[str, int]], total: float) -> Lines:
    """Buckets as (upper bound, how many within it alone); the last one is +Inf."""
    yield head(name, "histogram", help)
    comma = "," if labelled else ""
    running = 0
    for bound, count in buckets:
        running += count
        yield f'{name}_bucket{{{labelled}{comma}le="{bound}"}} {running}\n'
    yield line(f"{name}_count", labelled, running)
    yield line(f"{name}_sum", labelled, total)


def doubling(counts: list[int], first_us: int) -> Iterator[tuple[str, int]]:
    """Buckets of microseconds that double, as bounds in seconds."""
    for at, count in enumerate(counts[:-1]):
        yield repr(first_us * 2**at / 1e6), count
    yield "+Inf", counts[-1]
