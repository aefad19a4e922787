"""Where the control socket is, and who may use it. The path of a Unix socket holds 107 octets only: longer ones are
reached through a descriptor of their directory."""

import contextlib
import grp
import os
import pwd
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

NAME = "control.sock"
CREDENTIALS = struct.Struct("iII")  # pid, uid, gid


def socket_path(setting: str, data_dir: str) -> Path:
    return Path(setting) if setting else Path(data_dir, NAME)


@contextlib.contextmanager
def reachable(path: Path) -> Iterator[str]:
    """The same place by a name that is short enough."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def connected(path: Path) -> socket.socket:
    """A client's end. OSError when nobody listens."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with reachable(path) as name:
            made.connect(name)
    except BaseException:
        made.close()
        raise
    return made


def listening(path: Path, group: str) -> socket.socket:
    """The broker's end. What a broker that was killed left there goes: whoever has the data directory's lock is alone.

    Only then is it opened to a group, if there is one: mode 0600, or 0660 and that group's.
    """
    group_id = grp.getgrnam(group).gr_gid if group else -1
    if path.is_socket():
        path.unlink()
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        os.fchmod(made.fileno(), 0o600)  # the mode of the file that bind() makes, before anybody could see it
        with reachable(path) as name:
            made.bind(name)
        if group:
            os.chown(path, -1, group_id)
            os.chmod(path, 0o660)
        made.listen(128)
    except BaseException:
        made.close()
        raise
    return made


def may_connect(peer: socket.socket, group: str) -> bool:
    """Root, the broker's own user, and the members of the group, whatever the file's mode has become."""
    user_id, group_id = credentials(peer)
    if user_id in (0, os.geteuid()):
        return True
    return bool(group) and grp.getgrnam(group).gr_gid in (group_id, *groups_of(user_id, group_id))


def credentials(peer: socket.socket) -> tuple[int, int]:
    """User and group at the other end, as the kernel knows them."""
    _, user_id, group_id = CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    return int(user_id), int(group_id)


def groups_of(user_id: int, group_id: int) -> list[int]:
    try:
        return os.getgrouplist(pwd.getpwuid(user_id).pw_name, group_id)
    except KeyError:
        return []


def user_name(peer: socket.socket) -> str:
    """Whoever is at the other end, for the log."""
    user_id, _ = credentials(peer)
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return str(user_id)
