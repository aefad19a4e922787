"""Every client library against FlowMQ: `make interop`, or `python -m tests.interop --help`.

Exit code 0 when nothing failed. A language whose tools cannot be had is left out, loudly.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from tests.interop import runner
from tests.interop.languages import FRAMEWORKS, LIBRARIES, TOOLS, Language, Library
from tests.interop.programs import Outcome, Program
from tests.interop.table import markdown, problems
from tests.support.certificates import Authority
from tests.support.peer import Peer, peer_from_url


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.interop", description="client libraries against FlowMQ")
    parser.add_argument("--only", default="", help="languages or libraries, by name, with commas between")
    parser.add_argument("--peer", help="another broker's URL; without TLS, pause and restart")
    parser.add_argument("--table", type=Path, help="write the table there, too")
    return parser.parse_args()


def chosen(only: str) -> tuple[Library, ...]:
    names = {name.strip().lower() for name in only.split(",") if name.strip()}
    every = (*LIBRARIES, *FRAMEWORKS, *TOOLS)
    known = {library.name.lower() for library in every} | {library.language.name.lower() for library in every}
    if names - known:
        raise SystemExit(f"not known: {', '.join(sorted(names - known))}; known: {', '.join(sorted(known))}")
    return tuple(
        library
        for library in every
        if {library.name.lower(), library.language.name.lower()} & names or not (names or library.language.on_request)
    )


def prepare(libraries: tuple[Library, ...]) -> tuple[Library, ...]:
    """Those that can be run; what cannot be had is said."""
    reasons: dict[str, str] = {}
    languages: list[Language] = []
    for library in libraries:
        if library.language not in languages:
            languages.append(library.language)
    for language in languages:
        began = time.monotonic()
        reasons[language.name] = language.prepare()
        if reasons[language.name]:
            print(f"!!! {language.name} is NOT tested: {reasons[language.name]}", flush=True)
        else:
            print(f"{language.name} is set up after {time.monotonic() - began:.0f} s", flush=True)
    return tuple(library for library in libraries if not reasons[library.language.name])


def run(libraries: tuple[Library, ...], peer: Peer | None) -> dict[str, dict[str, Outcome]]:
    plain = tuple(library for library in libraries if library in LIBRARIES)
    frameworks = tuple(library for library in libraries if library in FRAMEWORKS)
    results: runner.Results = {library.name: {} for library in libraries}

    def add(more: runner.Results) -> None:
        for name, outcomes in more.items():
            results[name].update(outcomes)

    def without_restart(on: Peer, with_tls: Callable[[], None] = lambda: None) -> None:
        add(runner.side_by_side(plain, "behaviours", runner.BEHAVIOURS, on.url))
        with_tls()
        add(runner.exchange_parcels(plain, on))
        add(runner.side_by_side(frameworks, "tasks", runner.TASKS, on.url))

    if peer:
        without_restart(peer)
        return results
    add(runner.management(tuple(library for library in libraries if library in TOOLS)))
    if not (plain or frameworks):
        return results
    with tempfile.TemporaryDirectory(prefix="flowmq-interop-") as directory:
        trusted, another = (Authority(Path(directory), name) for name in ("trusted", "another"))
        with runner.broker(trusted) as running:
            without_restart(running.peer, lambda: add(runner.over_tls(plain, running, trusted, another)))
            add(runner.pause(plain, running))
            outcomes, again = runner.restart((*plain, *frameworks), running)
            try:
                add(outcomes)
                again.stop()
            finally:
                again.kill()
    return results


def interrupted(number: int, frame: FrameType | None) -> None:
    """The terminal's Ctrl-C does not come to the programs, which are groups of their own."""
    Program.kill_all()
    raise SystemExit(128 + number)


def main() -> int:
    options = arguments()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    began = time.monotonic()
    wanted = chosen(options.only)
    libraries = prepare(wanted)
    results = run(libraries, peer_from_url(options.peer, is_flowmq=False) if options.peer else None)
    table = markdown(libraries, results)
    print(f"\n{table}")
    if options.table:
        options.table.write_text(table)
    wrong = problems(results)
    for line in wrong:
        print(line)
    passed = sum(outcome.status == "ok" for outcomes in results.values() for outcome in outcomes.values())
    print(f"{time.monotonic() - began:.0f} s; {len(wanted) - len(libraries)} libraries left out")
    print(f"{passed} passed, {len(wrong)} failed")
    return 1 if wrong or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
