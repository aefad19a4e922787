"""What the client libraries' tests share."""

from collections.abc import Iterator

import pytest

from tests.clients.program import tidy
from tests.support.peer import Peer


@pytest.fixture
def program(peer: Peer) -> Iterator[Peer]:
    """The broker with nothing of the documentation's program in it yet."""
    with tidy(peer):
        yield peer
