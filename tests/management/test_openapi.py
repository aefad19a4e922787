"""The description of the API is a right one, and no request that it allows ends in a server error."""

import os
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.support.broker import Broker
from tests.support.http import WITH_HTTP, Api, api_of

pytestmark = pytest.mark.flowmq_only
EXAMPLES = int(os.environ.get("FLOWMQ_TEST_EXAMPLES", "2"))  # of each route
# The broker of this file is its own; still, who asks must be there until the end.
KEPT = {("DELETE", "/api/users/{name}"), ("PUT", "/api/users/{name}"), ("POST", "/api/users/bulk-delete")}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    started = Broker(tmp_path_factory.mktemp("asked"), WITH_HTTP)
    try:
        yield started
        started.stop()
    finally:
        started.kill()


@pytest.fixture(scope="module")
def own_api(asked: Broker) -> Api:
    return api_of(asked)


def test_the_description_is_a_right_one(own_api: Api) -> None:
    description = own_api.get("openapi.json")
    OpenAPIV31SpecValidator(description).validate()
    assert len(description["paths"]) > 60


@pytest.mark.timeout(240)
def test_no_request_is_a_server_error(own_api: Api) -> None:
    schema = schemathesis.openapi.from_dict(own_api.get("openapi.json"))
    asked_for = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        if (operation.method.upper(), operation.path) in KEPT:
            continue
        asked_for += 1

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy())
        def ask(case: schemathesis.Case) -> None:
            response = case.call(base_url=f"http://127.0.0.1:{own_api.port}", auth=("guest", "guest"), timeout=60)
            # 503 is how RabbitMQ's health checks say that something is not as it should be.
            said_no = response.status_code == 503 and case.path.startswith("/api/health/checks/")
            assert response.status_code < 500 or said_no, (case.method, case.path, response.status_code, response.text)

        ask()
    assert asked_for > 80
