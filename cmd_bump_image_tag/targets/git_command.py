"""Runs git in a private repository, with a token that appears only in git's environment."""

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

from cicd_common import DEFAULT_REQUEST_TIMEOUT, DEFAULT_RETRY_FOR, cleaning
from cicd_common.errors import NotFoundError, UnavailableError, UsageError
from cicd_common.gitlab.addresses import origin, same_origin
from cicd_common.gitlab.tokens import TokenKind
from cicd_common.gitlab.transport import is_loopback
from cmd_bump_image_tag.targets.git_errors import error_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cicd_common.gitlab.tokens import Token

NOTHING: Mapping[str, str] = MappingProxyType({})
log = logging.getLogger("cicd_common.bump")

# A request can take this many times --request-timeout while its bytes keep arriving.
PATIENCE_FACTOR = 10

# How often a folder is removed that is not empty yet, and the seconds between.
REMOVALS = 20
REMOVAL_PAUSE = 0.05

# The names under which the credential helper finds the credential: git asks a helper on its
# stdin, and a shell's built-in `printf` has no arguments that others could see.
_HELPER = """!f() { [ "$1" != get ] || printf 'username=%s\\npassword=%s\\n' \
"$BUMP_GIT_USERNAME" "$BUMP_GIT_PASSWORD"; }; f"""

# https://docs.gitlab.com/topics/git/clone/#clone-using-a-token
_USERNAMES = {TokenKind.JOB: "gitlab-ci-token"}
_USERNAME = "oauth2"

# The list of `git rev-parse --local-env-vars`: they would lead git to another repository.
_LOCAL = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS", "GIT_DIR", "GIT_GRAFT_FILE", "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE", "GIT_NAMESPACE", "GIT_NO_REPLACE_OBJECTS", "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX", "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE", "GIT_WORK_TREE",
)  # fmt: skip
# Their output mixes with git's messages, which identify failures; it can hold the token.
_TRACES = ("GIT_TRACE", "GIT_TR2", "GIT_CURL_VERBOSE")
# `ext`, `fd` and other helpers of gitremote-helpers(7) run programs or wait forever.
_PROTOCOLS = "file:ftp:ftps:git:http:https:ssh"

# These are read from the configuration of the user and of the current checkout.
_OF_THE_USER = r"^(user\.(name|email)|commit\.gpgsign)$"
# Git strips these from both ends of a name: `crud` in its ident.c
_CRUD = "".join(map(chr, range(33))) + ".,:;<>\"\\'\x7f"


@dataclass(frozen=True)
class Remote:
    """A repository that git reads and writes.

    Attributes:
        url: Its address, without any credential.
        base_url: The only server that gets the token; empty for none.
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
        """Returns True if the repository is on the only server that gets the token."""
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
            arguments: The arguments after `git`.
            stdin: Its standard input.
            environment: Variables in addition to those of this process.

        Returns:
            Its standard output.

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
        """Runs git to read from the remote, and checks that the remote speaks git's protocol.

        Over HTTP, git treats any page as an empty repository of the old "dumb" protocol. GitLab
        does not use that protocol.

        Args:
            arguments: As for `run`.

        Raises:
            UnavailableError: The server does not speak git's protocol.
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
        """Creates the repository again, empty.

        Args:
            object_format: The hash of object names: `sha1` or `sha256`.

        Raises:
            CommandError: git failed.
        """
        for entry in self.folder.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        self.run("init", "--quiet", "--bare", "--template=", f"--object-format={object_format}")

    def identity(self) -> dict[str, str]:
        """Returns the committer and the author, as git's variables.

        The first of these that exists: git's own variables, the configuration of the current
        checkout, the user who started the job, the user's configuration, this command.
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
        """Returns the option that signs a commit, if git's configuration asks for it."""
        is_on = self._configured.get("commit.gpgsign", "").lower() in {"true", "yes", "on", "1"}
        return ["--gpg-sign"] if is_on else []

    @functools.cached_property
    def _configured(self) -> dict[str, str]:
        """Returns git's configuration in the current folder.

        A key with the prefix `local ` comes from the checkout in that folder.
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
        """Returns the settings that override the user's configuration; the rest of it is used."""
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
            # The empty helper prevents the user's helpers from answering and storing the token;
            # the address is mapped to itself, so that no `insteadOf` leads to another.
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
        """Returns the variables with the token for git; none for a repository elsewhere.

        The token is sent in each request's header, because libcurl would ask `~/.netrc` before the
        helper. With the helper, git can tell a wrong token from a missing one.
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
    """Returns this process's variables for git, without secrets and other repositories."""
    return {
        name: text
        for name, text in os.environ.items()
        if name not in _LOCAL and not name.startswith(_TRACES) and not _is_secret(name, text)
    }


def _is_secret(name: str, text: str) -> bool:
    """Returns True if a variable holds a secret that git does not need."""
    if name.lower() in cleaning.PROXY_VARIABLES:
        return False
    return name in cleaning.SECRET_VARIABLES or cleaning.redacted(text) != text


def repository_address(address: str, base_url: str) -> str:
    """Returns an address with `.git`, if it is on the GitLab server: GitLab redirects others.

    Args:
        address: The address as the user gave it.
        base_url: The GitLab server; empty for none.
    """
    if not base_url or not same_origin(address, base_url):
        return address
    return f"{address.rstrip('/').removesuffix('.git')}.git"


@contextmanager
def private_repository(remote: Remote) -> Iterator[Git]:
    """Creates a temporary empty repository, and removes it at the end.

    Raises:
        UsageError: git is not installed, or the repository cannot be created.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="bump-"))
    except OSError as error:
        raise UsageError(
            f"Cannot create a temporary repository: {error}",
            hint="In a read-only container, add a writable folder: docker run --tmpfs /tmp",
        ) from error
    try:
        git = Git(folder, remote)
        git.init()
        yield git
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Removes a folder; after a signal, git's own child processes can still write to it."""
    for _ in range(REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(REMOVAL_PAUSE)
