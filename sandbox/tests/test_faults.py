from __future__ import annotations

from email.message import Message

import pytest

from sandbox import Fault
from sandbox.web import Request


def request(method: str = "POST", target: str = "/api/v4/projects/1/repository/tags") -> Request:
    return Request(method, target, Message(), b"")


@pytest.mark.parametrize(
    ("fault", "met"),
    [
        (Fault(), [True, True, True]),
        (Fault(nth=2), [False, True, False]),
        (Fault(first=2), [True, True, False]),
        (Fault(method="GET"), [False, False, False]),
        (Fault(path=r"/tags$"), [True, True, True]),
        (Fault(path=r"/branches$"), [False, False, False]),
    ],
)
def test_a_fault_rule_applies_to_the_requests_that_it_names(fault: Fault, met: list[bool]) -> None:
    assert [fault.meets(request()) for _ in met] == met
    assert fault.fired == sum(met)


def test_only_matching_requests_are_counted() -> None:
    fault = Fault(method="POST", nth=1)
    assert not fault.meets(request("GET"))
    assert fault.meets(request("POST"))


@pytest.mark.parametrize(
    ("fault", "status", "kind", "body"),
    [
        (Fault(status=503, body={"message": "x"}), 503, "application/json", b'{"message": "x"}'),
        (Fault(status=429, body="Retry later"), 429, "text/html; charset=utf-8", b"Retry later"),
        (
            Fault(status=429, body="Retry later", headers={"Content-Type": "text/plain"}),
            429,
            "text/plain",
            b"Retry later",
        ),
    ],
)
def test_a_fault_rule_responds_in_place_of_the_server(
    fault: Fault, status: int, kind: str, body: bytes
) -> None:
    response = fault.response()
    assert response is not None
    assert (response.status, response.headers["Content-Type"], response.body) == (
        status,
        kind,
        body,
    )


def test_a_fault_rule_without_a_status_lets_the_server_respond() -> None:
    assert Fault(reset="after").response() is None
