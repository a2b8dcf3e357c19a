"""git, run in a private repository, with a token that appears nowhere but in its environment."""

from __future__ import annotations

import logging
import os
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from cicd_common.errors import UnavailableError, UsageError
from cicd_common.gitlab.connection import DEFAULT_REQUEST_TIMEOUT, DEFAULT_RETRY_FOR
from cicd_common.gitlab.session import origin
from cicd_common.gitlab.tokens import TokenKind
from cmd_bump_image_tag.targets.git_errors import error_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cicd_common.gitlab.tokens import Token

NOTHING: Mapping[str, str] = MappingProxyType({})
log = logging.getLogger("cicd_common.bump")

# A request may take this many times --request-timeout as long as its bytes keep coming.
PATIENCE_FACTOR = 10

# The names under which the credential helper finds the credential: git asks a helper on its
# stdin, and a shell's built-in `printf` has no arguments that others could see.
_HELPER = """!f() { [ "$1" != get ] || printf 'username=%s\\npassword=%s\\n' \
"$BUMP_GIT_USERNAME" "$BUMP_GIT_PASSWORD"; }; f"""

# https://docs.gitlab.com/topics/git/clone/#clone-using-a-token
_USERNAMES = {TokenKind.JOB: "gitlab-ci-token"}
_USERNAME = "oauth2"

# What `git rev-parse --local-env-vars` lists: they would lead git to another repository.
_LOCAL = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_DIR", "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_NAMESPACE", "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)  # fmt: skip


@dataclass(frozen=True)
class Remote:
    """A repository that git reaches.

    Attributes:
        url: Its address, without any credential.
        base_url: The one server that may get the token; empty for none.
        token: The token, if there is one.
        ca_file: A certificate authority to trust for that server.
        request_timeout: Seconds without a byte until a request counts as failed.
        retry_for: Seconds that failures which may pass are ridden out.
    """

    url: str
    base_url: str = ""
    token: Token | None = None
    ca_file: Path | None = None
    request_timeout: float = DEFAULT_REQUEST_TIMEOUT
    retry_for: float = DEFAULT_RETRY_FOR


@dataclass(frozen=True)
class Git:
    """A private bare repository.

    Attributes:
        folder: Where it is.
        remote: The repository that it fetches from and pushes to.
    """

    folder: Path
    remote: Remote

    def run(
        self, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] = NOTHING
    ) -> bytes:
        """Runs git.

        Args:
            arguments: What follows `git`.
            stdin: What it reads.
            environment: Variables beside those of this process.

        Returns:
            What it printed to stdout.

        Raises:
            CommandError: It failed.
        """
        limit = PATIENCE_FACTOR * self.remote.request_timeout
        settings = [word for setting in self._settings() for word in ("-c", setting)]
        started = time.monotonic()
        try:
            done = subprocess.run(
                ["git", *settings, "--git-dir", str(self.folder), *arguments],
                input=stdin,
                capture_output=True,
                check=False,
                timeout=limit,
                env={**self._environment(), **environment},
            )
        except FileNotFoundError as error:
            raise UsageError(
                "There is no git here.",
                why="--via git runs the git command, and PATH leads to none.",
                hint="Install git, or use --via api.",
            ) from error
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(
                f"git {arguments[0]} did not end within {limit:g} s.",
                hint="Allow more with --request-timeout.",
            ) from error
        milliseconds = (time.monotonic() - started) * 1000
        log.debug("git %s %d %.0f ms", arguments[0], done.returncode, milliseconds)
        if done.returncode:
            raise error_of((done.stdout + b"\n" + done.stderr).decode(errors="replace"))
        return done.stdout

    def identity(self) -> dict[str, str]:
        """Who commits: the user whose job it is, else whom git knows, else this command."""
        fallbacks = {"NAME": "cmd-bump-image-tag", "EMAIL": "cmd-bump-image-tag@localhost"}
        who = {}
        for field, fallback in fallbacks.items():
            configured = self.run("config", "--default", fallback, "--get", f"user.{field.lower()}")
            value = os.environ.get(f"GITLAB_USER_{field}") or configured.decode().strip()
            for role in ("AUTHOR", "COMMITTER"):
                who[f"GIT_{role}_{field}"] = os.environ.get(f"GIT_{role}_{field}") or value
        return who

    def _settings(self) -> list[str]:
        """What must hold whatever the user's own configuration says; the rest of it counts."""
        settings = [
            f"core.hooksPath={os.devnull}",
            "fetch.recurseSubmodules=false",
            "gc.auto=0",
            "http.followRedirects=false",
            "http.lowSpeedLimit=1",
            f"http.lowSpeedTime={self.remote.request_timeout:.0f}",
            "maintenance.auto=false",
            "push.followTags=false",
            "push.gpgSign=false",
        ]
        if self._credential():
            # Scoped to the server, so that git gives the token to no other; the empty one keeps
            # the user's own helpers from storing it.
            where = origin(self.remote.base_url)
            settings += [f"credential.{where}.helper=", f"credential.{where}.helper={_HELPER}"]
            if self.remote.ca_file:
                settings.append(f"http.{where}.sslCAInfo={self.remote.ca_file}")
        return settings

    def _environment(self) -> dict[str, str]:
        inherited = {name: text for name, text in os.environ.items() if name not in _LOCAL}
        never_ask = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": ""}
        return inherited | never_ask | self._credential() | {"LC_ALL": "C"}

    def _credential(self) -> dict[str, str]:
        token = self.remote.token
        if token is None or not self.remote.base_url:
            return {}
        return {
            "BUMP_GIT_USERNAME": _USERNAMES.get(token.kind, _USERNAME),
            "BUMP_GIT_PASSWORD": token.secret,
        }


@contextmanager
def private_repository(remote: Remote) -> Iterator[Git]:
    """Makes an empty repository, which is removed in the end.

    Raises:
        UsageError: There is no git, or no place for the repository.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="bump-")
    except OSError as error:
        raise UsageError(
            f"There is no place for a temporary repository: {error}",
            hint="In a read-only container, give it one: docker run --tmpfs /tmp",
        ) from error
    with folder as path:
        git = Git(Path(path), remote)
        git.run("init", "--quiet", "--bare", "--template=")
        yield git
