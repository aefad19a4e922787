"""The results as tables of Markdown: behaviours down, libraries across."""

from tests.interop.languages import FRAMEWORKS, LIBRARIES, Library
from tests.interop.programs import Outcome

MARKS = {"ok": "yes", "FAIL": "**FAIL**", "none": "-"}


def markdown(libraries: tuple[Library, ...], results: dict[str, dict[str, Outcome]]) -> str:
    tables = [
        _table([library for library in libraries if library in group], results) for group in (LIBRARIES, FRAMEWORKS)
    ]
    return "\n".join(table for table in tables if table)


def _table(libraries: list[Library], results: dict[str, dict[str, Outcome]]) -> str:
    rows: list[str] = []
    for library in libraries:
        rows += [name for name in results[library.name] if name not in rows]
    lines = [
        ["behaviour", *(f"{library.name} {library.version}" for library in libraries)],
        ["---"] * (len(libraries) + 1),
        *([row, *(_mark(results[library.name].get(row)) for library in libraries)] for row in rows),
    ]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines) if libraries else ""


def _mark(outcome: Outcome | None) -> str:
    return MARKS[outcome.status] if outcome else ""


def problems(results: dict[str, dict[str, Outcome]]) -> list[str]:
    return [
        f"FAIL {library}: {name}: {outcome.reason}"
        for library, outcomes in results.items()
        for name, outcome in outcomes.items()
        if outcome.status == "FAIL"
    ]
