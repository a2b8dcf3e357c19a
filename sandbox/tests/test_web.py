from __future__ import annotations

from email.message import Message

import pytest

from sandbox.routes import Route, Router
from sandbox.versions import Span, Version
from sandbox.web import ApiError, Params, Request, Response, read_params


def answer(_: object) -> Response:
    return Response(200)


VERSION = Version.parse("18.2")
ROUTER = Router(
    [
        Route("GET", "/projects/:id", answer, "read_project"),
        Route("GET", "/projects/:id/repository/tags/:tag_name", answer, "read_tag"),
        Route("POST", "/projects/:id/repository/tags", answer, "create_tag"),
        Route("GET", "/news", answer, "read_news", versions=Span((18, 9))),
    ]
)


def request(target: str = "/", body: bytes = b"", kind: str = "application/json") -> Request:
    headers = Message()
    headers["Content-Type"] = kind
    return Request("POST", target, headers, body)


def test_parameters_of_the_path_are_decoded() -> None:
    _, params = ROUTER.find("GET", "/projects/group%2Fname/repository/tags/release%2F1", VERSION)
    assert params == {"id": "group/name", "tag_name": "release/1"}


def test_head_uses_the_route_of_get() -> None:
    assert ROUTER.find("HEAD", "/projects/1", VERSION)[0].method == "GET"


def test_a_route_of_a_later_version_returns_404() -> None:
    assert ROUTER.find("GET", "/news", Version.parse("18.10"))[0].template == "/news"
    with pytest.raises(ApiError) as refused:
        ROUTER.find("GET", "/news", VERSION)
    assert refused.value.status == 404


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/projects/group/name", 404, "404 Not Found"),
        ("GET", "/nothing", 404, "404 Not Found"),
        ("PUT", "/projects/1", 405, "405 Not Allowed"),
    ],
)
def test_an_unknown_route_is_refused(method: str, path: str, status: int, text: str) -> None:
    with pytest.raises(ApiError) as refused:
        ROUTER.find(method, path, VERSION)
    assert (refused.value.status, refused.value.body) == (status, {"error": text})


@pytest.mark.parametrize(
    ("target", "body", "kind", "values"),
    [
        ("/?a=1&b=", b"", "text/plain", {"a": "1", "b": ""}),
        ("/?scope[]=failed&scope[]=canceled", b"", "", {"scope": ["failed", "canceled"]}),
        ("/", b"variables[A]=1", "application/x-www-form-urlencoded", {"variables": {"A": "1"}}),
        ("/?a=query", b'{"a":"body","b":[1]}', "application/json", {"a": "body", "b": [1]}),
        ("/?id=query", b"", "", {"id": "path"}),
    ],
)
def test_parameters_are_read_from_path_query_and_body(
    target: str, body: bytes, kind: str, values: dict[str, object]
) -> None:
    path_params = {"id": "path"} if "id" in values else {}
    params = read_params(request(target, body, kind), path_params)
    assert {name: params.any(name) for name in values} == values
    assert params.unread() == []


def test_unread_parameters_are_recorded() -> None:
    params = read_params(request("/?a=1&b=2&maps[]=", b'{"maps":[{"c":1,"d":2}]}'), {"id": "1"})
    params.text("a")
    params.maps("maps", ("c",))
    assert params.unread() == ["b", "maps[][d]"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"<xml/>", "application/xml", 415),
    ],
)
def test_an_unreadable_body_is_refused(body: bytes, kind: str, status: int) -> None:
    with pytest.raises(ApiError) as refused:
        read_params(request(body=body, kind=kind), {})
    assert refused.value.status == status


def test_one_error_names_all_missing_parameters() -> None:
    with pytest.raises(ApiError) as refused:
        Params({"ref": ""}).require("tag_name", "ref", "token")
    assert refused.value.body == {"error": "tag_name is missing, token is missing"}


def test_a_value_that_is_not_in_the_enumeration_is_refused() -> None:
    with pytest.raises(ApiError) as refused:
        Params({"status": "green"}).choice("status", ("success",))
    assert refused.value.body == {"error": "status does not have a valid value"}
