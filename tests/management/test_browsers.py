"""Pages from elsewhere cannot use the HTTP API through the browser of somebody who has logged in."""

import base64
import json

import pytest

from tests.support.http import Answer, Api, fetch

pytestmark = pytest.mark.flowmq_only


def ask(api: Api, verb: str, path: str, origin: str | None) -> Answer:
    """As a browser sends it, without asking before: the password that it knows, and a body that is called text."""
    headers = {
        "Authorization": f"Basic {base64.b64encode(b'guest:guest').decode()}",
        "Content-Type": "text/plain",
        "Host": f"mq.example.org:{api.port}",
    }
    body = json.dumps({"properties": {}, "routing_key": "x", "payload": "x", "payload_encoding": "string"})
    return fetch(api.port, verb, path, body, headers if origin is None else {**headers, "Origin": origin})


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://mq.example.org", "http://mq.example.org:1"])
def test_a_page_from_elsewhere_changes_nothing(api: Api, origin: str) -> None:
    answer = ask(api, "POST", "/api/exchanges/%2F/amq.default/publish", origin)
    assert (answer.status, answer.json["error"]) == (403, "forbidden")
    answer = ask(api, "GET", "/api/overview", origin)
    assert answer.status == 200
    assert "access-control-allow-origin" not in answer.headers  # so that the page does not get to see it


def test_who_is_no_page_or_one_of_our_own_is_answered(api: Api) -> None:
    for origin in (None, f"http://mq.example.org:{api.port}"):
        answer = ask(api, "POST", "/api/exchanges/%2F/amq.default/publish", origin)
        assert (answer.status, answer.json) == (200, {"routed": False})
