"""Clients let in by the rounds of sockets: how many in one, when nobody is, and what goes wrong with single ones."""

import os
import resource
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from errno import EMFILE
from typing import Any

import pytest

from flowmq._listening import Listening
from tests.unit.test_sockets import House

NO_LINGER = struct.pack("ii", 1, 0)  # close() resets the connection
PER_ROUND = 25


class Hall:
    """Where they are let in: none of them gets a session."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.let_in: list[socket.socket] = []
        self.names: list[Any] = []
        self.failures: list[OSError] = []
        self.listening = Listening(house.sockets, house.listening, self.accept, self.failures.append)
        self.listening.begin()

    def accept(self, accepted: socket.socket, name: Any) -> None:
        self.let_in.append(self.house.stack.enter_context(accepted))
        self.names.append(name)

    def client(self) -> socket.socket:
        return self.house.stack.enter_context(socket.create_connection(self.house.listening.getsockname()))


@pytest.fixture
def hall() -> Iterator[Hall]:
    with ExitStack() as stack:
        house = House(stack)
        house.listening.setblocking(False)
        yield Hall(house)


def test_a_client_is_let_in_with_the_name_of_its_end(hall: Hall) -> None:
    client = hall.client()
    assert hall.house.is_asked(10)
    hall.house.turn()
    assert hall.names == [client.getsockname()]
    [accepted] = hall.let_in
    assert (accepted.family, accepted.type, accepted.proto) == (socket.AF_INET, socket.SOCK_STREAM, 0)
    assert accepted.gettimeout() == 0.0
    assert not os.get_inheritable(accepted.fileno())
    assert accepted.getpeername() == client.getsockname()


def test_a_round_lets_in_so_many_and_the_next_one_the_others(hall: Hall) -> None:
    clients = [hall.client() for _ in range(PER_ROUND + 3)]
    hall.house.turn()
    assert len(hall.let_in) == PER_ROUND
    assert hall.house.is_asked(10)
    hall.house.turn()
    assert hall.names == [client.getsockname() for client in clients]
    assert not hall.house.is_asked()


def test_nobody_is_let_in_before_it_begins_again(hall: Hall) -> None:
    hall.listening.stop()
    hall.client()
    assert not hall.house.is_asked()
    hall.house.turn()
    assert not hall.let_in
    hall.listening.begin()
    hall.house.turn()
    assert len(hall.let_in) == 1


def test_it_can_stop_while_it_lets_in(hall: Hall) -> None:
    clients = [hall.client() for _ in range(3)]

    def accept_last(accepted: socket.socket, name: Any) -> None:
        hall.accept(accepted, name)
        last.stop()

    hall.listening.stop()
    last = Listening(hall.house.sockets, hall.house.listening, accept_last, hall.failures.append)
    last.begin()
    hall.house.turn()
    assert hall.names == [clients[0].getsockname()]
    assert not hall.house.is_asked()


def test_who_has_gone_before_is_passed_over(hall: Hall) -> None:
    gone = hall.client()
    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    gone.close()
    stays = hall.client()
    hall.house.turn()
    assert hall.names == [stays.getsockname()]
    assert not hall.failures
    assert not hall.house.errors


def test_no_descriptor_for_another_one(hall: Hall) -> None:
    client = hall.client()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, limits[1]))
    try:
        hall.house.turn()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert [failure.errno for failure in hall.failures] == [EMFILE]
    hall.house.turn()
    assert hall.names == [client.getsockname()]


def test_an_error_of_ours_with_one_keeps_no_other_out(hall: Hall) -> None:
    first, second = hall.client(), hall.client()
    refused: list[Any] = []

    def accept_second(accepted: socket.socket, name: Any) -> None:
        if not refused:
            refused.append(hall.house.stack.enter_context(accepted))
            raise RuntimeError("ours")
        hall.accept(accepted, name)

    hall.listening.stop()
    picky = Listening(hall.house.sockets, hall.house.listening, accept_second, hall.failures.append)
    picky.begin()
    hall.house.turn()
    [error] = hall.house.errors
    assert isinstance(error["exception"], RuntimeError)
    assert hall.house.is_asked(10)
    hall.house.turn()
    assert refused[0].getpeername() == first.getsockname()
    assert hall.names == [second.getsockname()]
