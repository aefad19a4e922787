"""Runs targets (targets.py) without a broker's process: `python -m tests.fuzz.inside TARGET... --seconds N`.

Each target runs in a process of its own, so that a crash ends only that one. Where atheris is installed
(`pip install atheris`) and not told otherwise, it chooses the octets, led by which lines of Python they reach; else
they are made by mutations of the corpus, from a seed. Octets that fail are kept in a file, whose name is printed: it
belongs into tests/fuzz/findings/TARGET/ once its cause is mended, where every later run tries it first.
"""

import argparse
import faulthandler
import importlib.util
import logging
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.mutations import mutate

# The targets themselves are imported late: atheris must be there first.
NAMES = [
    *("tables", "methods", "properties", "sasl", "proxy", "control", "token", "keys"),
    *("settings", "journal", "records", "websocket", "connection"),
]
HANG_SECONDS = 20
INPUT_BYTES_MAX = 1 << 16


class Failed(Exception):
    """A target did not stand it; the message says with what."""


def spoiled(seeds: list[bytes], dice: random.Random) -> bytes:
    """One of the seeds after some mutations, or the front of one and the rest of another."""
    octets = dice.choice(seeds)
    if len(seeds) > 1 and dice.random() < 0.1:
        other = dice.choice(seeds)
        octets = octets[: dice.randrange(len(octets) + 1)] + other[dice.randrange(len(other) + 1) :]
    return b"".join(mutate([octets], dice))[:INPUT_BYTES_MAX]


def try_out(name: str, octets: bytes, kept: Path) -> None:
    """One input. It is in the file while it is tried, should the process not outlive it."""
    from tests.fuzz.targets import TARGETS

    kept.write_bytes(octets)
    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
    try:
        TARGETS[name].run(octets)
    except Exception as error:
        raise Failed(f"{name}: {error!r} with {octets[:100]!r} ({len(octets)} octets, kept in {kept})") from error
    finally:
        faulthandler.cancel_dump_traceback_later()


def play(name: str, seed: int, seconds: float, kept: Path) -> int:
    """The corpus as it is, then mutations of it until the time is up. How many inputs there were."""
    from tests.fuzz.targets import corpus

    seeds = corpus(name)
    for octets in seeds:
        try_out(name, octets, kept)
    count, ends = 0, time.monotonic() + seconds
    while time.monotonic() < ends:
        try_out(name, spoiled(seeds, random.Random(f"{seed}/{name}/{count}")), kept)
        count += 1
    kept.unlink(missing_ok=True)
    return len(seeds) + count


def play_atheris(name: str, seed: int, seconds: float, kept: Path) -> None:
    """Does not come back: the fuzzer ends the process. What it found before in this directory it begins from."""
    import atheris

    with atheris.instrument_imports(include=["flowmq", "websockets", "msgpack"]):
        from tests.fuzz.targets import TARGETS, corpus

    directory = kept.parent / f"corpus-{name}"
    directory.mkdir(exist_ok=True)
    for number, octets in enumerate(corpus(name)):
        (directory / f"seed-{number}").write_bytes(octets)
    options = [f"-seed={seed}", f"-max_total_time={int(seconds)}", f"-timeout={HANG_SECONDS}", "-rss_limit_mb=2000"]
    options += [f"-max_len={INPUT_BYTES_MAX}", f"-artifact_prefix={kept}-", "-verbosity=0", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, str(directory)], TARGETS[name].run)
    atheris.Fuzz()


def run_alone(name: str, options: argparse.Namespace, seconds: float) -> bool:
    """One target in a process of its own. True when it stood everything."""
    arguments = ["--alone", "--seed", str(options.seed), "--seconds", str(seconds), "--keep", options.keep, name]
    arguments += ["--mutate"] if options.mutate else []
    done = subprocess.run([sys.executable, "-m", "tests.fuzz.inside", *arguments], capture_output=True, text=True)
    if done.returncode:
        print(f"{name}: FAILED, exit code {done.returncode}; input kept in {options.keep}", file=sys.stderr)
        print(done.stdout[-2000:], done.stderr[-4000:], sep="\n", file=sys.stderr)
        return False
    counted = [
        line for line in (done.stdout + done.stderr).splitlines() if "inputs" in line or "executed_units" in line
    ]
    print(f"{name}: {' '.join(counted)}", flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.inside", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"some of {', '.join(NAMES)}; all")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long all of them together (60)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="which mutations")
    parser.add_argument("--mutate", action="store_true", help="mutations, even where atheris is installed")
    parser.add_argument("--keep", default=None, help="the directory for octets that fail, and for atheris' corpus")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.targets or NAMES
    for name in names:
        if name not in NAMES:
            parser.error(f"there is no target {name}")
    options.keep = options.keep or tempfile.mkdtemp(prefix="flowmq-fuzz-kept-")
    by_atheris = importlib.util.find_spec("atheris") is not None and not options.mutate
    if not options.alone:
        print(f"seed {options.seed}, inputs chosen by {'atheris' if by_atheris else 'mutation'}", flush=True)
        stood = [run_alone(name, options, options.seconds / len(names)) for name in names]
        return 0 if all(stood) else 1
    faulthandler.enable()
    logging.getLogger("flowmq").propagate = False
    kept = Path(options.keep) / f"{names[0]}.octets"
    if by_atheris:
        play_atheris(names[0], options.seed, options.seconds, kept)
    print(f"{play(names[0], options.seed, options.seconds, kept)} inputs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
