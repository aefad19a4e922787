"""What a whole run has found, as a document that another run can be compared with.

machine        what bench/machine.py knows
seconds        length of a run
fdatasync_us   p50 and p99 on the disk under the figures, before and after
rows           one per row and broker: row, broker, median (of every figure by itself), runs, budgets
"""

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.budgets import Budget, Verdict
from bench.machine import machine

AnyRun = Any  # a dataclass of figures, or a dict of them


def figures_of(run: AnyRun) -> dict[str, Any]:
    return dataclasses.asdict(run) if dataclasses.is_dataclass(run) else dict(run)  # type: ignore[arg-type]


def median_figures(runs: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    medians: dict[str, float | None] = {}
    for name in runs[0]:
        known = [value for run in runs if (value := run.get(name)) is not None]
        medians[name] = statistics.median(known) if known else None
    return medians


class Results:
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.verdicts: list[tuple[str, Verdict]] = []
        self.syncs_us: dict[str, tuple[float, float]] = {}

    def add(self, row: str, broker: str, median: AnyRun, runs: Sequence[AnyRun]) -> None:
        self.rows.append(
            {"row": row, "broker": broker, "median": figures_of(median), "runs": [figures_of(run) for run in runs]}
        )

    def add_disk(self, when: str, latencies_us: tuple[float, float]) -> None:
        self.syncs_us[when] = latencies_us

    def judge(self, row: str, broker: str, budgets: Sequence[Budget]) -> list[Verdict]:
        medians = {each["row"]: each["median"] for each in self.rows if each["broker"] == broker}
        verdicts = [verdict for budget in budgets if (verdict := budget.verdict(medians[row], medians))]
        for each in self.rows:
            if each["row"] == row and each["broker"] == broker:
                each["budgets"] = [verdict.as_json() for verdict in verdicts]
        self.verdicts += [(row, verdict) for verdict in verdicts]
        return verdicts

    def summary(self) -> str:
        missed = [f"{row} {verdict.budget.figure}" for row, verdict in self.verdicts if not verdict.is_kept]
        names = f": {', '.join(missed)}" if missed else ""
        return f"budgets: {len(self.verdicts) - len(missed)} kept, {len(missed)} missed{names}"

    def write(self, path: Path, seconds: float) -> None:
        document = {"machine": machine(), "seconds": seconds, "fdatasync_us": self.syncs_us, "rows": self.rows}
        path.write_text(json.dumps(document, indent=2) + "\n")
