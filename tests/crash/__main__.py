"""`python -m tests.crash --rounds 50`: kill the broker again and again and look for what it should not have forgotten.

Half of the rounds share one directory, whose history grows; the others come in campaigns of five on fresh ones.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.crash import rabbitmq
from tests.crash.history import Promises, Sure
from tests.crash.rounds import Campaign, Running
from tests.support.broker import Broker

FRESH_ROUNDS = 5
SEGMENT_BYTES = 1 << 20
SURE = [sure.name.lower() for sure in (Sure.SEEN, Sure.ANSWERED, Sure.SYNCED, Sure.NEVER)]


def main() -> int:
    options = _parser().parse_args()
    print(f"seed {options.seed}", flush=True)
    for number, rounds in enumerate(plan(options.rounds)):
        directory = Path(tempfile.mkdtemp(prefix="flowmq-crash-"))
        try:
            print(_campaign(options, directory, f"{options.seed}/{number}", rounds), flush=True)
        except AssertionError as error:
            print(error, file=sys.stderr)
            print(f"seed {options.seed}; what the broker left is in {directory}", file=sys.stderr)
            return 1
        shutil.rmtree(directory)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50, help="how many kills, in all")
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="what is drawn; threads add their own chance"
    )
    parser.add_argument("--segment-bytes", type=int, default=SEGMENT_BYTES, help="0 leaves the setting as it is")
    for what, default in (("acks", Promises.acks), ("marks", Promises.marks)):
        text = f"from when on {what} must be remembered ({default.name.lower()})"
        parser.add_argument(f"--{what}", choices=SURE, default=default.name.lower(), help=text)
    parser.add_argument("--rabbitmq", action="store_true", help="kill a RabbitMQ node instead: is the judge right?")
    return parser


def plan(rounds: int) -> Iterator[int]:
    """How many rounds in each campaign."""
    together = (rounds + 1) // 2
    yield together
    for first in range(together, rounds, FRESH_ROUNDS):
        yield min(FRESH_ROUNDS, rounds - first)


def settings(segment_bytes: int) -> dict[str, str]:
    return {"FLOWMQ_STORAGE__SEGMENT_BYTES": str(segment_bytes)} if segment_bytes else {}


def _campaign(options: argparse.Namespace, directory: Path, seed: str, rounds: int) -> Campaign:
    def start() -> Running:
        if options.rabbitmq:
            return rabbitmq.RabbitMQ(directory)
        return Broker(directory, settings(options.segment_bytes))

    promises = Promises(Sure[options.acks.upper()], Sure[options.marks.upper()])
    campaign = Campaign(start, seed, rabbitmq.PROMISES if options.rabbitmq else promises)
    try:
        for _ in range(rounds):
            campaign.round()
    except AssertionError as error:
        raise AssertionError(f"round {campaign.rounds} of campaign {seed}: {error}") from error
    finally:
        campaign.close()
    return campaign


if __name__ == "__main__":
    sys.exit(main())
