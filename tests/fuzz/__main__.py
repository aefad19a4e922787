"""`python -m tests.fuzz --seconds N --seed S`: a long fuzz run against a broker of its own."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.runner import play
from tests.support.broker import Broker


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=None, help="how long (60, unless --rounds is given)")
    parser.add_argument("--rounds", type=int, default=None, help="how many sessions")
    parser.add_argument("--first", type=int, default=0, help="number of the first session")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="which sequence of sessions")
    options = parser.parse_args()
    seconds = 60.0 if options.seconds is None and options.rounds is None else options.seconds
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="flowmq-fuzz-") as directory:
        broker = Broker(Path(directory))
        try:
            print(play(broker, options.seed, options.first, options.rounds, seconds))
            broker.stop()
            broker = broker.again()  # whatever the sessions made durable is read back
            broker.stop()
        except AssertionError as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            broker.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
