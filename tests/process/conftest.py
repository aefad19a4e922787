"""Certificates, made once for the tests that need them."""

import pytest

from tests.support.certificates import Authority, Files


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def server(authority: Authority) -> Files:
    return authority.for_server()
