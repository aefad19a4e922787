"""`python -m tests.soak.victim HOST PORT`: a client that works until it is killed."""

import sys

from tests.soak.clients import be_killed
from tests.support.peer import Peer

if __name__ == "__main__":
    be_killed(Peer(sys.argv[1], int(sys.argv[2])))
