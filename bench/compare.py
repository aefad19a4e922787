"""python -m bench.compare A B: two runs side by side, as `python -m bench --json` wrote them, and B divided by A.

A figure stands here when both have it; a ratio under 0.9 or above 1.1 is marked with `*`, since less is noise.
"""

import json
from pathlib import Path
from typing import Any

import click

# The figure, its title, what it is printed in, and how.
FIGURES = (
    ("consumed_per_second", "consumed/s", 1, ",.0f"),
    ("filled_per_second", "filled/s", 1, ",.0f"),
    ("drained_per_second", "drained/s", 1, ",.0f"),
    ("per_second", "per second", 1, ",.0f"),
    ("broker_cpu_us", "CPU us", 1, ",.3f"),
    ("latency_p50_us", "p50 us", 1, ",.0f"),
    ("latency_p99_us", "p99 us", 1, ",.0f"),
    ("confirm_p50_us", "confirm p50 us", 1, ",.0f"),
    ("confirm_p99_us", "confirm p99 us", 1, ",.0f"),
    ("rss_bytes", "RSS MiB", 2**20, ",.1f"),
    ("rss_each_bytes", "RSS each KiB", 2**10, ",.2f"),
    ("ready_seconds", "s until ready", 1, ".3f"),
    ("hot_rate_ratio", "busy queue: rate", 1, ".3f"),
    ("hot_cpu_ratio", "busy queue: CPU", 1, ".3f"),
    ("ack_cpu_us", "CPU us per ack", 1, ".3f"),
)
FAULTS = ("lost", "duplicated", "out_of_order", "returned", "nacked", "unconfirmed")
MARKED_BELOW, MARKED_ABOVE = 0.9, 1.1

Document = dict[str, Any]
Medians = dict[tuple[str, str], dict[str, Any]]


def medians(document: Document) -> Medians:
    return {(row["row"], row["broker"]): row["median"] for row in document["rows"]}


def lines(one: Medians, other: Medians) -> list[str]:
    found = []
    for row, broker in one:
        if (row, broker) not in other:
            continue
        before, after = one[row, broker], other[row, broker]
        found += [f"{row:<24} {broker:<9} {text}" for text in compared(before, after)]
    return found


def compared(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    texts = []
    for name, title, unit, form in FIGURES:
        if before.get(name) and after.get(name):
            ratio = after[name] / before[name]
            mark = "" if MARKED_BELOW <= ratio <= MARKED_ABOVE else " *"
            one, other = (format(figures[name] / unit, form) for figures in (before, after))
            texts.append(f"{title:<15} {one:>14} {other:>14} {ratio:8.3f}{mark}")
    faults = [sum(figures.get(name) or 0 for name in FAULTS) for figures in (before, after)]
    if any(faults):
        texts.append(f"{'faults':<15} {faults[0]:>14,} {faults[1]:>14,}")
    return texts


@click.command(help=__doc__)
@click.argument("a", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("b", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(a: Path, b: Path) -> None:
    documents = [json.loads(path.read_text()) for path in (a, b)]
    for name, document in zip("AB", documents, strict=True):
        facts = ", ".join(f"{key} {value}" for key, value in document["machine"].items())
        click.echo(f"{name}: {facts}")
    click.echo(f"\n{'row':<24} {'broker':<9} {'figure':<15} {'A':>14} {'B':>14} {'B / A':>8}")
    click.echo("\n".join(lines(*(medians(document) for document in documents))))


if __name__ == "__main__":
    main()
