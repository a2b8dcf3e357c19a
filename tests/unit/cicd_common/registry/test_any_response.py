"""Whatever a registry and its token service send, there is a result or a clear error."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cicd_common.errors import CommandError
from cicd_common.registry.access import RegistrySettings
from cicd_common.registry.check import check_login
from cicd_common.registry.client import Repository
from cicd_common.registry.logins import FoundLogins, Login
from cicd_common.registry.manifests import MANIFEST_TYPES
from tests.registries.server import MANIFEST, Reply, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.registries.server import Host, Request

LOGINS = (
    Login("me", "config.json", "pässword-1"),
    Login("", "config.json", "identity-token-1", is_identity_token=True),
)
TEXT = st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=12)


def header(*values: str) -> st.SearchStrategy[str | None]:
    return st.none() | st.sampled_from(values) | TEXT


HEADERS = st.fixed_dictionaries(
    {
        "WWW-Authenticate": header(
            *('Basic realm="x"', 'Bearer realm="/token"', "Bearer", 'Bearer realm="http://["'),
            *('Bearer realm="http://HOST/token?a=,service=x', 'Bearer realm="http://HOST/token"'),
            'Basic realm="x", Bearer realm="http://HOST/token",service="x"',
        ),
        "Location": header("/other", "http://HOST/v2/", "//", "http://[", "http://h:99999/"),
        "Content-Type": header(MANIFEST_TYPES[0], "application/json", "text/html"),
        "Docker-Content-Digest": header(f"sha256:{'0' * 64}"),
        "Docker-Distribution-Api-Version": header("registry/2.0"),
        "Link": header('<http://[>; rel="next"', '</v2/?n=1&last=x>; rel="next"', "<;>;="),
        "Retry-After": header("0", "-1", "9" * 30),
        "Content-Encoding": header("gzip"),
    }
)
REPLIES = st.builds(
    Reply,
    st.sampled_from([200, 204, 206, 302, 304, 307, 400, 401, 401, 403, 404, 407, 429, 500]),
    HEADERS,
    st.sampled_from(
        [b"", b"{}", b"[]", b"null", MANIFEST, b'{"token": "x"}', b'{"tags": [1, "v1"]}']
    )
    | st.binary(max_size=20),
)


class Script:
    """Replies in turn, again and again."""

    def __init__(self) -> None:
        self.replies = [Reply(200)]
        self._count = 0

    def __call__(self, request: Request) -> Reply:
        reply = self.replies[self._count % len(self.replies)]
        self._count += 1
        headers = {
            name: value.replace("HOST", request.host)
            for name, value in reply.headers.items()
            if value is not None
        }
        return Reply(reply.status, headers, reply.body)


@pytest.fixture(scope="module")
def script() -> Script:
    return Script()


@pytest.fixture(scope="module")
def host(script: Script) -> Iterator[Host]:
    with serving(script) as running:
        yield running


@settings(max_examples=settings().max_examples // 5)
@given(replies=st.lists(REPLIES, min_size=1, max_size=5), reference=st.sampled_from(["v1", "x:y"]))
def test_any_responses_are_a_result_or_a_clear_error(
    script: Script, host: Host, replies: list[Reply], reference: str
) -> None:
    script.replies = replies
    limits = RegistrySettings(5, 0, insecure=(host.name,))
    repository = Repository(host.name, "group/web", FoundLogins(LOGINS), limits)
    with suppress(CommandError):
        repository.digest_of(reference)
    with suppress(CommandError):
        assert all(isinstance(tag, str) for tag in repository.tags())
    for login in LOGINS:
        with suppress(CommandError):
            check_login(host.name, login, limits)
