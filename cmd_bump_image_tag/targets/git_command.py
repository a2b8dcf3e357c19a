"""git, run in a private repository, with a token that appears nowhere but in its environment."""

from __future__ import annotations

import base64
import functools
import logging
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cicd_common import cleaning
from cicd_common.errors import NotFoundError, UnavailableError, UsageError
from cicd_common.gitlab.connection import DEFAULT_REQUEST_TIMEOUT, DEFAULT_RETRY_FOR
from cicd_common.gitlab.session import origin, same_origin
from cicd_common.gitlab.tokens import TokenKind
from cicd_common.gitlab.transport import is_loopback
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
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS", "GIT_DIR", "GIT_GRAFT_FILE", "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE", "GIT_NAMESPACE", "GIT_NO_REPLACE_OBJECTS", "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX", "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE", "GIT_WORK_TREE",
)  # fmt: skip
# Their output is among git's own words, by which failures are told apart; it can hold the token.
_TRACES = ("GIT_TRACE", "GIT_TR2", "GIT_CURL_VERBOSE")
# `ext`, `fd` and other helpers of gitremote-helpers(7) run programs or wait for ever.
_PROTOCOLS = "file:ftp:ftps:git:http:https:ssh"

# Of the configuration of the user and of the checkout that this runs in.
_OF_THE_USER = r"^(user\.(name|email)|commit\.gpgsign)$"
# What git itself takes away from both ends of a name: `crud` in its ident.c
_CRUD = "".join(map(chr, range(33))) + ".,:;<>\"\\'\x7f"


@dataclass(frozen=True)
class Remote:
    """A repository that git reaches.

    Attributes:
        url: Its address, without any credential.
        base_url: The one server that may get the token; empty for none.
        token: The token, if there is one.
        ca_file: A certificate authority to trust for that server.
        request_timeout: Seconds without a byte until a request counts as failed.
        retry_for: Seconds for which temporary failures are retried.
    """

    url: str
    base_url: str = ""
    token: Token | None = None
    ca_file: Path | None = None
    request_timeout: float = DEFAULT_REQUEST_TIMEOUT
    retry_for: float = DEFAULT_RETRY_FOR

    @property
    def gets_token(self) -> bool:
        """Whether this is a repository of the one server that may get the token."""
        return bool(self.token and self.base_url) and same_origin(self.url, self.base_url)


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
            environment: Variables in addition to those of this process.

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
                "git is not installed.",
                why="--via git runs the git command, which is not in PATH.",
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

    def ask(self, *arguments: str) -> bytes:
        """Runs git to read from the remote, and makes sure that the remote is git.

        Over HTTP, git takes any page for a repository without branches, of the old kind that it
        calls dumb. GitLab has no such repositories.

        Args:
            arguments: As for `run`.

        Raises:
            UnavailableError: What answered does not speak git's protocol.
            CommandError: It failed.
        """
        packets = self.folder / "packets"
        packets.unlink(missing_ok=True)
        nothing = UnavailableError(
            f"The server at {self.remote.url} does not speak git's protocol.",
            why="A proxy, or another server, can have answered.",
            hint="Check the address; see the server's status.",
        )
        try:
            answer = self.run(*arguments, environment={"GIT_TRACE_PACKET": str(packets)})
        except NotFoundError as error:
            if "remote ref" not in error.message or packets.exists():
                raise
            raise nothing from error
        if not packets.exists():
            raise nothing
        return answer

    def init(self, object_format: str = "sha1") -> None:
        """Makes the repository anew, empty.

        Args:
            object_format: How objects are named: `sha1` or `sha256`.

        Raises:
            CommandError: git could not do it.
        """
        for entry in self.folder.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        self.run("init", "--quiet", "--bare", "--template=", f"--object-format={object_format}")

    def identity(self) -> dict[str, str]:
        """Returns who commits, as git's variables.

        That is whom git's variables name, or the checkout that this runs in; in a job else the
        user whose job it is; else whom the user's configuration names; else this command.
        """
        fallbacks = {"NAME": "cmd-bump-image-tag", "EMAIL": "cmd-bump-image-tag@localhost"}
        who = {}
        for field, fallback in fallbacks.items():
            key = f"user.{field.lower()}"
            of_the_checkout = self._configured.get(f"local {key}", "")
            of_the_job = os.environ.get(f"GITLAB_USER_{field}", "")
            of_the_user = self._configured.get(key, "")
            for role in ("AUTHOR", "COMMITTER"):
                given = os.environ.get(f"GIT_{role}_{field}", "")
                names = (given, of_the_checkout, of_the_job, of_the_user, fallback)
                who[f"GIT_{role}_{field}"] = next(name for name in names if name.strip(_CRUD))
        return who

    def signing(self) -> list[str]:
        """Returns the option that has a commit signed, if git's configuration says so."""
        is_on = self._configured.get("commit.gpgsign", "").lower() in {"true", "yes", "on", "1"}
        return ["--gpg-sign"] if is_on else []

    @functools.cached_property
    def _configured(self) -> dict[str, str]:
        """What git's configuration says in the folder that this runs in.

        A key with `local ` before it is of the checkout there.
        """
        listed = subprocess.run(
            ["git", "config", "-z", "--show-scope", "--get-regexp", _OF_THE_USER],
            capture_output=True,
            check=False,
            timeout=self.remote.request_timeout,
            env=self._environment(),
        ).stdout.decode(errors="replace")
        values: dict[str, str] = {}
        words = listed.split("\0")
        for scope, entry in zip(words[::2], words[1::2], strict=False):
            name, has_value, value = entry.partition("\n")
            keys = [name, f"local {name}"] if scope in {"local", "worktree"} else [name]
            values |= dict.fromkeys(keys, value if has_value else "true")
        return values

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
        if self.remote.gets_token:
            # The empty helper keeps the user's own ones from answering and from storing the token;
            # the address stands for itself, so that no `insteadOf` leads to another.
            where, url = origin(self.remote.base_url), self.remote.url
            settings += [
                f"credential.{where}.helper=",
                f"credential.{where}.helper={_HELPER}",
                f"url.{url}.insteadOf={url}",
                f"url.{url}.pushInsteadOf={url}",
            ]
            if self.remote.ca_file:
                settings.append(f"http.{where}.sslCAInfo={self.remote.ca_file}")
        server = urlsplit(self.remote.url)
        if is_loopback(server.hostname or ""):
            settings.append(f"http.{server.scheme}://{server.netloc}.proxy=")
        return settings

    def _environment(self) -> dict[str, str]:
        always = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "LC_ALL": "C"}
        return {
            "GIT_ALLOW_PROTOCOL": _PROTOCOLS,
            **inherited_environment(),
            **always,
            **self._credential(),
        }

    def _credential(self) -> dict[str, str]:
        """The token, for git and what speaks HTTP for it; empty for any other repository.

        It goes into each request's header: libcurl would ask `~/.netrc` before the helper, which
        is there for git to tell a wrong token from none.
        """
        token = self.remote.token
        if token is None or not self.remote.gets_token:
            return {}
        username = _USERNAMES.get(token.kind, _USERNAME)
        basic = base64.b64encode(f"{username}:{token.secret}".encode()).decode()
        # The whole address is the most specific that a configuration can name. The empty value
        # takes away the headers that the user's own configuration has for it.
        name = f"http.{self.remote.url}.extraHeader"
        return {
            "BUMP_GIT_USERNAME": username,
            "BUMP_GIT_PASSWORD": token.secret,
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_0": name,
            "GIT_CONFIG_VALUE_0": "",
            "GIT_CONFIG_KEY_1": name,
            "GIT_CONFIG_VALUE_1": f"Authorization: Basic {basic}",
        }


def inherited_environment() -> dict[str, str]:
    """Returns the variables of this process that git may have: no secret, no other repository."""
    return {
        name: text
        for name, text in os.environ.items()
        if name not in _LOCAL and not name.startswith(_TRACES) and not _is_secret(name, text)
    }


def _is_secret(name: str, text: str) -> bool:
    """Returns whether a variable holds a secret that is not meant for git."""
    if name.lower() in cleaning.PROXY_VARIABLES:
        return False
    return name in cleaning.SECRET_VARIABLES or cleaning.redacted(text) != text


def repository_address(address: str, base_url: str) -> str:
    """Returns an address as GitLab serves it: GitLab redirects one without `.git`.

    Args:
        address: What the user gave.
        base_url: The GitLab server; empty for none.
    """
    if not base_url or not same_origin(address, base_url):
        return address
    return f"{address.rstrip('/').removesuffix('.git')}.git"


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
            f"Cannot create a temporary repository: {error}",
            hint="In a read-only container, add a writable folder: docker run --tmpfs /tmp",
        ) from error
    with folder as path:
        git = Git(Path(path), remote)
        git.init()
        yield git
