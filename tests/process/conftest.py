"""Certificates, made once for the tests that need them; and descriptors for many sockets."""

import resource

import pytest

from tests.support.certificates import Authority, Files

FILES = 3000


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def server(authority: Authority) -> Files:
    return authority.for_server()


@pytest.fixture
def many_files() -> None:
    """A test with a thousand sockets needs as many descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES:
        pytest.fail(f"this machine allows a process {hard} open files, {FILES} are needed")
    if soft != resource.RLIM_INFINITY and soft < FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, hard))
