"""What a run says of itself: budgets, comparisons, the document."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("bench._load", reason="build it: FLOWMQ_BENCH=1 python setup.py build_ext --inplace")

from bench import compare, report
from bench.__main__ import ROWS
from bench.budgets import at_least, at_most
from bench.results import Results

FAST = {"consumed_per_second": 1000.0, "broker_cpu_us": 2.0, "lost": 0}
SLOW = {"consumed_per_second": 500.0, "broker_cpu_us": 4.0, "lost": 0}


def test_a_budget_is_kept_up_to_its_limit() -> None:
    for budget, is_kept in (
        (at_most("broker_cpu_us", 2.0), True),
        (at_most("broker_cpu_us", 1.9), False),
        (at_least("consumed_per_second", 1000), True),
        (at_least("consumed_per_second", 1001), False),
    ):
        verdict = budget.verdict(FAST, {})
        assert verdict is not None
        assert verdict.is_kept is is_kept
        assert str(verdict).startswith("kept:" if is_kept else "MISSED:")


def test_a_budget_beside_another_row() -> None:
    budget = at_least("consumed_per_second", 0.8, of=("one", "consumed_per_second"))
    verdict = budget.verdict(SLOW, {"one": FAST})
    assert verdict is not None
    assert not verdict.is_kept
    assert verdict.limit == 800
    assert budget.verdict(SLOW, {}) is None, "the other row was not measured"


def test_what_was_not_measured_is_not_judged() -> None:
    assert at_most("rss_bytes", 1).verdict({"rss_bytes": None}, {}) is None


def test_budgets_name_rows_that_are_there() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    for row in ROWS:
        for budget in row.budgets:
            assert budget.of is None or budget.of[0] in names


def test_the_ratio_to_a_peer_is_that_of_pairs() -> None:
    """The disturbed pair does not count, whatever the medians of each side are."""
    own = [{"consumed_per_second": rate} for rate in (100.0, 10.0, 300.0)]
    peer = [{"consumed_per_second": rate} for rate in (50.0, 5.0, 1.0)]
    assert report.ratio_line("peer", own, peer) == "  = x peer: consumed/s 2"


def written(path: Path, row: str, figures: dict[str, float]) -> str:
    results = Results()
    results.add(row, "FlowMQ", figures, [figures])
    results.judge(row, "FlowMQ", [at_most("broker_cpu_us", 3.0)])
    results.write(path, 3.0)
    return str(path)


def test_a_document_names_the_machine_and_what_was_kept(tmp_path: Path) -> None:
    document = json.loads(Path(written(tmp_path / "a.json", "row", FAST)).read_text())
    facts = {"date", "commit", "cores", "cpu", "kernel", "load_average", "python", "cython", "compiler"}
    assert facts <= document["machine"].keys()
    (row,) = document["rows"]
    assert [budget["kept"] for budget in row["budgets"]] == [True]


def test_two_runs_side_by_side(tmp_path: Path) -> None:
    one, other = written(tmp_path / "a.json", "row", FAST), written(tmp_path / "b.json", "row", {**SLOW, "lost": 3})
    lines = CliRunner().invoke(compare.main, [one, other], catch_exceptions=False).output.splitlines()
    columns = [line.split() for line in lines if line.startswith("row ") and "FlowMQ" in line]
    assert columns == [
        ["row", "FlowMQ", "consumed/s", "1,000", "500", "0.500", "*"],
        ["row", "FlowMQ", "CPU", "us", "2.000", "4.000", "2.000", "*"],
        ["row", "FlowMQ", "faults", "0", "3"],
    ]
