"""`python -m tests.soak --seconds N`: a long soak, with what was measured after each round."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.soak.run import soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (600)")
    parser.add_argument("--round", type=float, default=15.0, help="how long a round is (15)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="which clients")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="flowmq-soak-") as directory:
        try:
            soak(
                Path(directory) / "data",
                options.seed,
                options.seconds,
                options.round,
                lambda text: print(text, flush=True),
            )
        except AssertionError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
