"""The client over stubbed HTTP; a stub that no test uses fails the test."""

from __future__ import annotations

import itertools
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import requests
import requests_mock as requests_mock_module

from cicd_common.errors import AuthError, ForbiddenError, NotFoundError, UnavailableError
from cicd_common.gitlab.client import GitLab, quoted
from cicd_common.gitlab.connection import Connection
from cicd_common.gitlab.tokens import Token, TokenKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from requests_mock import Mocker

BASE = "https://gitlab.example.com"
API = f"{BASE}/api/v4"


@pytest.fixture
def http() -> Iterator[Mocker]:
    with requests_mock_module.Mocker() as mocker:
        yield mocker
        unused = [stub for stub in mocker._adapter._matchers if not stub.called]
        assert not unused, "stubs that no request met"


def client(kind: TokenKind | None = TokenKind.ACCESS, *, retry_for: float = 0) -> GitLab:
    token = Token(kind, "the test", "hush-hush") if kind else None
    return GitLab(Connection(BASE, token, retry_for=retry_for))


@pytest.mark.parametrize(
    ("kind", "header", "value"),
    [
        (TokenKind.ACCESS, "PRIVATE-TOKEN", "hush-hush"),
        (TokenKind.JOB, "JOB-TOKEN", "hush-hush"),
        (TokenKind.OAUTH, "Authorization", "Bearer hush-hush"),
    ],
)
def test_each_kind_of_token_has_its_header(
    http: Mocker, kind: TokenKind, header: str, value: str
) -> None:
    http.get(f"{API}/job", json={})
    client(kind).get("job")
    sent = http.request_history[-1].headers
    credentials = {"PRIVATE-TOKEN", "JOB-TOKEN", "Authorization"} & set(sent)
    assert credentials == {header}
    assert sent[header] == value
    assert "hush" not in http.request_history[-1].url
    assert sent["User-Agent"].startswith("ci-cd-commands/")


def test_netrc_is_not_used_for_credentials(
    http: Mocker, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    netrc = f"{tmp_path}/netrc"
    with open(netrc, "w", encoding="utf-8") as file:  # noqa: PTH123 - tmp_path is a plain text here
        file.write("machine gitlab.example.com login me password hush-netrc\n")
    monkeypatch.setenv("NETRC", netrc)
    http.get(f"{API}/projects/1", json={})
    client(None).get("projects/1")
    assert "Authorization" not in http.request_history[-1].headers


def numbered(*ids: int) -> list[dict[str, int]]:
    return [{"id": number} for number in ids]


def test_every_page_is_requested_from_the_address_of_the_first(http: Mocker) -> None:
    http.get(
        f"{API}/projects/1/pipelines",
        [
            {"json": numbered(1, 2), "headers": {"X-Next-Page": "2"}},
            {
                "json": numbered(3),
                "headers": {"Link": '<https://else.example/x?cursor=abc>; rel="next"'},
            },
            {"json": numbered(4), "headers": {"X-Next-Page": ""}},
        ],
    )
    answers = list(client().get_all("projects/1/pipelines", ref="main"))
    assert [answer["id"] for answer in answers] == [1, 2, 3, 4]
    queries = [request.qs for request in http.request_history]
    assert [query.get("page") for query in queries] == [None, ["2"], ["2"]]
    assert queries[2]["cursor"] == ["abc"]
    assert all(query["ref"] == ["main"] for query in queries)
    assert {request.hostname for request in http.request_history} == {"gitlab.example.com"}


@pytest.mark.parametrize(
    ("headers", "most"),
    [
        ([{"X-Next-Page": "2"}], 2),
        ([{"Link": '<https://h/x?cursor=abc>; rel="next"'}], 2),
        ([{"X-Next-Page": "2"}, {"X-Next-Page": "1"}], 3),
        ([{"X-Next-Page": str(number)} for number in range(2, 6000)], 5000),
    ],
    ids=["the same page", "the same cursor", "in circles", "without end"],
)
def test_endless_pages_are_an_error(http: Mocker, headers: list[dict[str, str]], most: int) -> None:
    numbers = itertools.count()
    turns = itertools.cycle(headers)

    def page(_: object, context: Any) -> list[dict[str, int]]:
        context.headers.update(next(turns))
        return numbered(next(numbers))

    http.get(f"{API}/projects/1/pipelines", json=page)
    with pytest.raises(UnavailableError, match="do not end"):
        list(client(retry_for=60).get_all("projects/1/pipelines"))
    assert http.call_count <= most


def test_a_page_repeated_under_another_number_is_an_error(http: Mocker) -> None:
    numbers = itertools.count(2)

    def page(_: object, context: Any) -> list[dict[str, int]]:
        context.headers["X-Next-Page"] = str(next(numbers))
        return numbered(1, 2)

    http.get(f"{API}/projects/1/pipelines", json=page)
    with pytest.raises(UnavailableError, match="do not end"):
        list(client(retry_for=60).get_all("projects/1/pipelines"))
    assert http.call_count == 2


@pytest.mark.parametrize("link", ["http://[::1", "http://[x]/?a=1"])
def test_an_invalid_address_of_the_next_page_is_an_error(http: Mocker, link: str) -> None:
    http.get(f"{API}/x", json=[], headers={"Link": f'<{link}>; rel="next"'})
    with pytest.raises(UnavailableError):
        list(client().get_all("x"))


WRONG: list[Any] = [None, 1, True, "text", float("inf"), [None], ["x"], [1], [[]]]


@pytest.mark.parametrize("answer", [*WRONG, {}, {"message": "x"}])
def test_a_list_response_must_be_a_list_of_objects(http: Mocker, answer: object) -> None:
    http.get(f"{API}/x", text=json.dumps(answer))
    with pytest.raises(UnavailableError):
        client().get_list("x")
    with pytest.raises(UnavailableError):
        list(client().get_all("x"))


@pytest.mark.parametrize("answer", [*WRONG, []])
def test_an_object_response_must_be_an_object(http: Mocker, answer: object) -> None:
    http.get(f"{API}/x", text=json.dumps(answer))
    with pytest.raises(UnavailableError):
        client().get("x")


@pytest.mark.parametrize("answer", [*WRONG, []])
def test_a_write_with_an_unexpected_response_is_checked(http: Mocker, answer: object) -> None:
    posts = http.post(f"{API}/projects/1/repository/tags", text=json.dumps(answer))
    made = client().write(
        "POST", "projects/1/repository/tags", {}, read=str, find=lambda: "found", check="the tags"
    )
    assert made == "found"
    assert posts.call_count == 1


def test_a_file_with_any_path_is_read_byte_for_byte(http: Mocker) -> None:
    http.get(f"{API}/raw?path=a", content=b"\xef\xbb\xbfa\r\n\xff")
    assert client().get_bytes("raw", path="a") == b"\xef\xbb\xbfa\r\n\xff"


def test_only_needed_pages_are_requested(http: Mocker) -> None:
    http.get(f"{API}/projects/1/pipelines", json=numbered(1, 2), headers={"X-Next-Page": "2"})
    assert next(client().get_all("projects/1/pipelines")) == {"id": 1}
    assert http.call_count == 1


def test_a_job_token_is_not_sent_to_routes_that_ignore_it(http: Mocker) -> None:
    with pytest.raises(AuthError, match="ignores a CI job token"):
        client(TokenKind.JOB).get("projects/1")
    assert http.call_count == 0


def test_a_401_error_contains_the_token_details_and_requests_them_once(http: Mocker) -> None:
    http.get(f"{API}/projects/1", status_code=401, json={"message": "401 Unauthorized"})
    tells = http.get(
        f"{API}/personal_access_tokens/self",
        json={"name": "reader", "scopes": ["read_registry"], "expires_at": "2027-01-01"},
    )
    gitlab = client()
    for _ in range(2):
        with pytest.raises(AuthError) as raised:
            gitlab.get("projects/1")
    assert "'reader'" in raised.value.why
    assert "read_registry" in raised.value.why
    assert "2027-01-01" in raised.value.why
    assert tells.call_count == 1


def test_a_403_without_a_job_token_names_the_token_and_the_role(http: Mocker) -> None:
    http.get(f"{API}/projects/1", status_code=403, json={"message": "403 Forbidden"})
    http.get(f"{API}/personal_access_tokens/self", status_code=500)
    with pytest.raises(ForbiddenError) as raised:
        client().get("projects/1")
    assert "role" in raised.value.why


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "403 Forbidden - Authentication by CI/CD job token not allowed from a/b to project #2.",
            "Job token permissions",
        ),
        (
            "403 Forbidden - The following token permission is required: read_pipelines.",
            "read_pipelines",
        ),
        ("403 Forbidden", "started this job"),
    ],
)
def test_a_403_to_a_job_token_names_the_setting(http: Mocker, text: str, said: str) -> None:
    http.get(f"{API}/projects/2/releases", status_code=403, json={"message": text})
    with pytest.raises(ForbiddenError) as raised:
        client(TokenKind.JOB).get("projects/2/releases")
    assert said in raised.value.why + raised.value.hint


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("repository/tags/v1", "18.8"),
        ("pipelines", "19.0"),
        ("pipelines/1", "19.0"),
        ("pipelines/1/bridges", "19.0"),
        ("pipelines/1/trigger_jobs", "19.0"),
        ("pipelines/1/jobs", "18.4"),
        ("merge_requests", "18.3"),
        ("repository/tags", ""),
        ("repository/commits/main", ""),
        ("releases/v1", ""),
    ],
)
@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize("kind", [TokenKind.JOB, TokenKind.ACCESS])
def test_the_error_names_the_server_versions_that_ignore_job_tokens(
    http: Mocker, kind: TokenKind, status: int, path: str, version: str
) -> None:
    http.get(f"{API}/projects/2/{path}", status_code=status, json={"message": "no"})
    if (kind, status) == (TokenKind.ACCESS, 403):
        http.get(f"{API}/personal_access_tokens/self", status_code=404)
    with pytest.raises(ForbiddenError if status == 403 else NotFoundError) as raised:
        client(kind).get(f"projects/2/{path}")
    is_named = "ignores job tokens" in raised.value.why
    assert is_named is bool(version and kind is TokenKind.JOB)
    if is_named:
        assert version in raised.value.why


@pytest.mark.parametrize(
    ("text", "why", "hint"),
    [
        (
            "Your Personal Access Token lacks the required permissions: [create_tag].",
            "This request needs a fine-grained token with the permission create_tag.",
            "Create a fine-grained token that has it",
        ),
        (
            (
                "This operation requires a fine-grained personal access token with the following "
                "project permissions: [Job: Read, Tag: Read]."
            ),
            "This request needs a fine-grained token with the permission Job: Read, Tag: Read.",
            "Create a fine-grained token that has it",
        ),
        (
            "This operation doesn't support fine-grained personal access tokens.",
            "GitLab accepts no fine-grained token for this request.",
            "Create a token with the api scope.",
        ),
        (
            "Fine-grained personal access tokens are not yet supported.",
            "GitLab accepts no fine-grained token for this request.",
            "Create a token with the api scope.",
        ),
    ],
)
def test_the_error_names_the_missing_permission_of_a_fine_grained_token(
    http: Mocker, text: str, why: str, hint: str
) -> None:
    body = {
        "error": "insufficient_granular_scope",
        "error_description": f"Access denied: {text}",
    }
    http.get(f"{API}/projects/1", status_code=403, json=body)
    http.get(f"{API}/personal_access_tokens/self", json={"name": "ci", "scopes": ["granular"]})
    with pytest.raises(AuthError) as raised:
        client().get("projects/1")
    assert raised.value.why == why
    assert raised.value.hint.startswith(hint)


def test_the_error_of_a_refused_job_token_names_the_setting_in_every_version(
    http: Mocker,
) -> None:
    text = "403 Forbidden - Authentication by CI/CD job token not allowed from a/b to project #2."
    http.get(f"{API}/projects/2/pipelines", status_code=403, json={"message": text})
    with pytest.raises(ForbiddenError) as raised:
        client(TokenKind.JOB).get("projects/2/pipelines")
    assert "Job token permissions" in raised.value.hint


def test_a_read_is_retried_and_a_write_is_not(http: Mocker) -> None:
    http.get(f"{API}/projects/1", [{"status_code": 502}, {"json": {"id": 1}}])
    posts = http.post(f"{API}/projects/1/repository/tags", exc=requests.ReadTimeout)
    gitlab = client(retry_for=5)
    assert gitlab.get("projects/1") == {"id": 1}
    with pytest.raises(UnavailableError):
        gitlab._request("POST", "projects/1/repository/tags", body={})
    assert posts.call_count == 1


def test_a_401_is_not_retried(http: Mocker) -> None:
    refused = http.get(f"{API}/job", status_code=404, json={"message": "404 Not found"})
    with pytest.raises(NotFoundError):
        client(TokenKind.JOB, retry_for=5).get("job")
    assert refused.call_count == 1


def test_a_request_to_another_server_is_not_sent(http: Mocker) -> None:
    with pytest.raises(UnavailableError, match="elsewhere"):
        client()._session.get("https://elsewhere.example/api/v4/x")
    assert http.call_count == 0


def test_requests_are_logged_without_a_token(
    http: Mocker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("cicd_common"), "propagate", True)
    http.get(f"{API}/projects/1", json={})
    with caplog.at_level(logging.DEBUG, "cicd_common"):
        client().get("projects/1", search="x")
    assert "GET /api/v4/projects/1 200" in caplog.text
    assert "hush" not in caplog.text


def test_a_name_is_encoded_as_one_segment_of_the_path() -> None:
    assert quoted("group/sub name%") == "group%2Fsub%20name%25"
    assert quoted(7) == "7"
