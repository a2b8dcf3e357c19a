"""What git prints, word for word, and the exit code that it comes to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cicd_common.errors import UnavailableError
from cicd_common.gitlab.responses import is_throttled
from cmd_bump_image_tag.targets import LostRaceError
from cmd_bump_image_tag.targets.git_errors import error_of

URL = "https://gitlab.example.com/group/k8s.git"
PARTS = [
    "fatal: ", "error: ", "remote: ", "ssh: ", "!\t", "\t", "\n", "\r", "\x1b[2J", "[rejected]",
    "(fetch first)", "The requested URL returned error: ", "403", "502", "Connection reset", "é",
]  # fmt: skip
PUSH = f"To {URL}\n!\t0123:refs/heads/main\t"


@pytest.mark.parametrize(
    "output",
    [
        f"{PUSH}[rejected] (fetch first)\nDone\nerror: failed to push some refs to '{URL}'",
        f"{PUSH}[rejected] (non-fast-forward)\nDone\n",
        f"{PUSH}[rejected] (stale info)\nDone\n",
        f"{PUSH}[remote rejected] (incorrect old value provided)\nDone\n",
        (
            f"{PUSH}[remote rejected] (failed to update ref)\nDone\n"
            "remote: error: cannot lock ref 'refs/heads/main': is at 4567 but expected 0123"
        ),
        f"{PUSH}[remote rejected] (reference already exists)\nDone\n",
    ],
)
def test_every_message_of_a_concurrent_push_is_recognized(output: str) -> None:
    assert isinstance(error_of(output), LostRaceError)


@pytest.mark.parametrize(
    ("output", "code", "words"),
    [
        (
            (
                "remote: GitLab: You are not allowed to push code to protected branches on this "
                f"project.        \n{PUSH}[remote rejected] (pre-receive hook declined)\nDone"
            ),
            6,
            "GitLab: You are not allowed to push code to protected branches on this project.",
        ),
        (f"{PUSH}[remote rejected] (pre-receive hook declined)\nDone", 6, "hook declined"),
        (
            f"remote: HTTP Basic: Access denied.\nfatal: Authentication failed for '{URL}/'",
            3,
            "HTTP Basic: Access denied.",
        ),
        (
            "fatal: could not read Username for 'https://x': terminal prompts disabled",
            3,
            "could not read Username",
        ),
        ("git@x: Permission denied (publickey).\nfatal: Could not read", 3, "Could not read"),
        (
            (
                f"remote: You are not allowed to upload code.\nfatal: unable to access '{URL}/': "
                "The requested URL returned error: 403"
            ),
            6,
            "You are not allowed to upload code.",
        ),
        (f"fatal: repository '{URL}/' not found", 4, "not found"),
        ("fatal: couldn't find remote ref refs/heads/nope", 4, "refs/heads/nope"),
        ("fatal: unable to access 'x': The requested URL returned error: 429", 7, "429"),
        ("fatal: unable to access 'x': The requested URL returned error: 502", 8, "502"),
        ("fatal: unable to access 'x': The requested URL returned error: 302", 8, "302"),
        ("fatal: unable to access 'x': Could not resolve host: nowhere", 8, "nowhere"),
        ("Host key verification failed.\nfatal: Could not read from remote", 8, "Could not"),
        ("error: Cannot access URL x, return code 22\nfatal: git-http-push failed", 8, "http-push"),
        ("something that nobody has seen", 8, "something that nobody has seen"),
        ("", 8, "git failed"),
    ],
)
def test_every_git_failure_has_an_exit_code_and_the_servers_message(
    output: str, code: int, words: str
) -> None:
    error = error_of(output)
    assert error.exit_code == code
    assert words in error.message


@pytest.mark.parametrize(
    ("output", "sent", "retryable"),
    [
        ("fatal: unable to access 'x': Failed to connect to x port 443: refused", False, True),
        ("ssh: connect to host x port 22: Connection timed out", False, True),
        ("error: RPC failed; curl 56 Recv failure: Connection reset by peer", True, True),
        ("error: Cannot access URL x, return code 22\nfatal: git-http-push failed", True, True),
        ("fatal: unable to access 'x': SSL certificate problem: self signed", False, False),
        ("fatal: unable to access 'x': CONNECT tunnel failed, response 502", False, True),
        (
            "fatal: unable to access 'x': Received HTTP code 504 from proxy after CONNECT",
            False,
            True,
        ),
        ("fatal: unable to access 'x': Proxy CONNECT aborted", False, True),
        ("fatal: unable to access 'x': CONNECT tunnel failed, response 407", False, False),
        (
            "fatal: unable to access 'x': Received HTTP code 403 from proxy after CONNECT",
            False,
            False,
        ),
    ],
)
def test_a_push_failure_says_if_the_push_can_have_happened(
    output: str, *, sent: bool, retryable: bool
) -> None:
    error = error_of(output)
    assert isinstance(error, UnavailableError)
    assert (error.sent, error.retryable) == (sent, retryable)


@given(st.text() | st.lists(st.sampled_from(PARTS)).map("".join))
def test_any_output_of_git_is_an_error_of_one_line(output: str) -> None:
    error = error_of(output)
    assert error.exit_code in range(3, 13)
    assert error.message.isprintable()
    assert error.message


def test_throttling_by_git_is_retried_as_for_the_api() -> None:
    answer = error_of("fatal: unable to access 'x': The requested URL returned error: 429").answer
    assert answer is not None
    assert is_throttled(answer)
