from __future__ import annotations

import base64
import http.server
import json
import subprocess
import sys
import threading
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from sandbox import Sandbox
from tests.leaks import watching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sandbox.model import Project, Token, User

SPELLINGS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "for a URL": lambda secret: quote(secret, safe=""),
    "in JSON": lambda secret: json.dumps({"token": secret}),
    "in base64": lambda secret: base64.b64encode(f"oauth2:{secret}".encode()).decode(),
    "in base64 for a URL": lambda secret: base64.urlsafe_b64encode(f"a:{secret}".encode()).decode(),
}
# What a command could do with a secret.
CHANNELS = {
    "the argument of a child": "subprocess.run(['true', secret], check=True)",
    "a variable of a child": "subprocess.run(['true'], env={'A': secret}, check=True)",
    "a variable that a child inherits": "os.environ['A'] = secret; subprocess.run(['true'])",
    "the header of git for another server": (
        "subprocess.run(['git', 'version'], stdout=-3, env={'GIT_CONFIG_KEY_1': "
        "'http.http://localhost:1/a.git.extraHeader', 'GIT_CONFIG_VALUE_1': secret})"
    ),
    "a file": "pathlib.Path('a').write_text(secret)",
    "a file that is renamed": (
        "fd, name = tempfile.mkstemp(dir='.'); os.write(fd, secret.encode()); os.close(fd); "
        "os.replace(name, 'a')"
    ),
    "a file that is removed": ("p = pathlib.Path('a'); p.write_text(secret); p.unlink()"),
    "a folder that is removed": (
        "f = tempfile.TemporaryDirectory(); pathlib.Path(f.name, 'a').write_text(secret); "
        "f.cleanup()"
    ),
    "a log record": "logging.getLogger('cicd_common').warning('%s', secret)",
    "a log record for -v": "logging.getLogger('cicd_common.bump').debug('%s', secret)",
    "a request to another server": (
        "urllib.request.urlopen(urllib.request.Request(other, headers={'A': secret}))"
    ),
}
IMPORTS = "import logging, os, pathlib, subprocess, tempfile, urllib.request\n"


def as_a_command(code: str, **values: str) -> None:
    """Runs code as if it were of a command's module."""
    exec(IMPORTS + code, {"__name__": "cmd_of_a_test", **values})  # noqa: S102 - code of this file


@pytest.fixture
def other() -> Iterator[str]:
    """The address of another server."""
    with http.server.HTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Quiet(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_secret_is_noticed_in(
    channel: str, token: Token, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("A", "1")
    with watching() as found:
        as_a_command(CHANNELS[channel], secret=token.secret, other=other)

    assert len(set(found.found)) == 1, found.found
    assert found.found[0].endswith("has an access token")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_secret_is_noticed_that_is_spelled(
    spelling: str, gitlab: Sandbox, project: Project, executor: User, token: Token
) -> None:
    secrets = {
        "an access token": token.secret,
        "a trigger token": gitlab.add_trigger_token(project, executor).secret,
        "a job token": gitlab.add_running_job(project, executor).token,
        "COMMANDS_API_TOKEN": "a 'secret\\with/other\"characters",
    }
    for name, secret in secrets.items():
        with watching() as found:
            found.know(
                {"COMMANDS_API_TOKEN": secrets["COMMANDS_API_TOKEN"], "HOME": "/root-folder"}
            )
            found.check("stdout", f"a {SPELLINGS[spelling](secret)} b /root-folder")
        assert found.found == [f"stdout has {name}"]


def test_a_secret_is_noticed_in_the_output_of_a_process(token: Token) -> None:
    for stream in ("stdout", "stderr"):
        code = f"import sys; sys.{stream}.write(sys.argv[1])  # cmd_of_a_test"
        with watching() as found:
            subprocess.run(
                [sys.executable, "-c", code, token.secret], capture_output=True, check=True
            )
        assert found.found == ["the output of a process has an access token"]


def test_a_secret_is_noticed_at_another_sandbox(token: Token) -> None:
    with watching() as found, Sandbox(run_jobs=False) as theirs:
        subprocess.run(
            ["git", "-c", f"http.extraHeader=PRIVATE-TOKEN: {token.secret}",
             "ls-remote", f"{theirs.url}/a/b.git"],
            capture_output=True, check=False, env={"GIT_TERMINAL_PROMPT": "0"},
        )  # fmt: skip

    assert set(found.found) == {f"a request to {theirs.url} has an access token"}
    theirs.requests.clear()  # this test has seen it


def test_its_own_server_gets_a_secret(gitlab: Sandbox, token: Token) -> None:
    with watching() as found:
        as_a_command(
            "request = urllib.request.Request(url, headers={'PRIVATE-TOKEN': secret})\n"
            "urllib.request.urlopen(request).close()",
            url=f"{gitlab.url}/api/v4/version", secret=token.secret,
        )  # fmt: skip

    assert found.found == []
