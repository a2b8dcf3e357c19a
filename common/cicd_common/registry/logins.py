"""Finds the logins for a container registry where Docker, Podman and GitLab store them.

Sources: https://docs.docker.com/reference/cli/docker/login/ for config.json and its helpers,
https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md for auth.json,
https://docs.gitlab.com/ci/variables/predefined_variables/ and
https://docs.gitlab.com/ci/docker/using_docker_images/ for the variables of a job. The `docker`
library's reader is not used: it has no time limit for a helper, supports no keys with a path, and
fails if the entry of another registry is broken.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cicd_common import cleaning
from cicd_common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

log = logging.getLogger(__name__)

HELPER_SECONDS = 30
# Docker's own names of Docker Hub: https://github.com/moby/moby/blob/master/registry/config.go
DOCKER_HUB = "docker.io"
HUB_SERVER = "registry-1.docker.io"
_HUB_KEY = "https://index.docker.io/v1/"
_HUB_NAMES = frozenset({DOCKER_HUB, "index.docker.io", HUB_SERVER})
# The message of a helper that has no login: docker-credential-helpers/credentials/error.go
_NO_CREDENTIALS = "credentials not found"
# The user name that a helper returns if the secret is an identity token.
_TOKEN_USER = "<token>"  # noqa: S105 - a mark, not a secret
# As in the names of images: https://github.com/distribution/reference
_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-f0-9:]+\])(?::[0-9]+)?")
# Paths in a key that do not name a repository.
_API_PATHS = frozenset({"", "v1", "v2"})

# The logins of a job: its variables for host, user name and password.
_JOB_LOGINS = (
    ("CI_REGISTRY", "CI_REGISTRY_USER", "CI_REGISTRY_PASSWORD"),
    (
        "CI_DEPENDENCY_PROXY_SERVER",
        "CI_DEPENDENCY_PROXY_USER",
        "CI_DEPENDENCY_PROXY_PASSWORD",
    ),
)
_DEPLOY_TOKEN = ("CI_REGISTRY", "CI_DEPLOY_USER", "CI_DEPLOY_PASSWORD")
# What no helper gets: the commands' own tokens, and the other logins. It gets the other variables
# of the job: with GITLAB_TOKEN or CI_JOB_TOKEN, `glab auth docker-helper` logs in.
_NOT_FOR_HELPERS = frozenset(
    {"COMMANDS_API_TOKEN", "TRIGGER_TOKEN", "DOCKER_AUTH_CONFIG"}
    | {password for *_, password in (*_JOB_LOGINS, _DEPLOY_TOKEN)}
)


@dataclass(frozen=True)
class Login:
    """Holds a login for one registry.

    Attributes:
        user: The user name; empty with an identity token.
        source: Where it came from, for messages.
        password: The password or the identity token; never part of the representation.
        is_identity_token: Whether it is exchanged for a token (OAuth 2.0) and not sent as a
            password; `az acr login` stores one.
    """

    user: str
    source: str
    password: str = field(repr=False)
    is_identity_token: bool = False

    def __post_init__(self) -> None:
        """Hides the password in everything that this process writes."""
        cleaning.hide(self.password)

    def __str__(self) -> str:
        """Returns the user name and the source of the login."""
        return f"{self.user or 'an identity token'} from {self.source}"


@dataclass(frozen=True)
class FoundLogins:
    """Holds the logins that were found for one repository.

    Attributes:
        logins: The logins, in the order in which to try them.
        problems: Why other logins could not be read, in words.
    """

    logins: tuple[Login, ...] = ()
    problems: tuple[str, ...] = ()


class Logins:
    """Finds the logins in the environment of this process; threads can share it safely.

    The order is: the job's own variables for its registry and its dependency proxy, config.json
    (a helper before the file), DOCKER_AUTH_CONFIG, Podman's auth.json, and a deploy token's
    variables. Each is for the hosts that it names, and for no other.

    Args:
        environ: The environment variables.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._lock = threading.Lock()
        self._helped: dict[tuple[str, str], Login | str | None] = {}

    def find(self, registry: str, repository: str | None = None) -> FoundLogins:
        """Finds the logins for a repository, or all logins for a registry.

        Args:
            registry: `host[:port]`.
            repository: Its path in the registry; None for the logins of all paths.
        """
        host = host_of(registry)
        logins: list[Login] = []
        problems: list[str] = []
        for found in self._candidates(host, repository):
            if isinstance(found, str):
                problems.append(found)
            elif (found.user, found.password) not in {
                (each.user, each.password) for each in logins
            }:
                logins.append(found)
        return FoundLogins(tuple(logins), tuple(problems))

    def _candidates(self, host: str, repository: str | None) -> Iterator[Login | str]:
        """Yields the logins, and a text for each login that could not be read."""
        for names in _JOB_LOGINS:
            yield from self._of_variables(host, *names)
        for source, text in self._configurations():
            yield from self._configured(host, repository, source, text)
        yield from self._of_variables(host, *_DEPLOY_TOKEN)

    def _of_variables(self, host: str, server: str, user: str, password: str) -> Iterator[Login]:
        given = self._environ.get(server, "")
        name, secret = self._environ.get(user), self._environ.get(password)
        if given and host_of(given) == host and name and secret:
            yield Login(name, user, secret)

    def _configurations(self) -> Iterator[tuple[str, str | OSError]]:
        """Yields the source and the text of each configuration that exists, in order."""
        environ = self._environ
        home = environ.get("HOME", "")
        folder = environ.get("DOCKER_CONFIG") or (home and f"{home}/.docker")
        if folder:
            yield from _text_of(Path(folder, "config.json"))
        if text := environ.get("DOCKER_AUTH_CONFIG"):
            yield "DOCKER_AUTH_CONFIG", text
        if named := environ.get("REGISTRY_AUTH_FILE"):
            yield from _text_of(Path(named))
            return
        if run := environ.get("XDG_RUNTIME_DIR"):
            yield from _text_of(Path(run, "containers/auth.json"))
        settings = environ.get("XDG_CONFIG_HOME") or (home and f"{home}/.config")
        if settings:
            yield from _text_of(Path(settings, "containers/auth.json"))

    def _configured(
        self, host: str, repository: str | None, source: str, text: str | OSError
    ) -> Iterator[Login | str]:
        """Yields the logins of one configuration: a helper's before those in the file itself."""
        config = _parsed(text)
        if config is None:
            why = "it is not a Docker configuration"
            if isinstance(text, OSError):
                why = text.strerror or type(text).__name__
            log.warning("%s is ignored: %s.", source, why)
            return
        helpers = config.get("credHelpers")
        helper = next(
            (name for key, name in _items(helpers) if host_of(key) == host),
            config.get("credsStore"),
        )
        if helper and isinstance(helper, str):
            answer = self._ask_helper(helper, host)
            if answer is not None:
                yield answer
        for key, entry in _matching(_items(config.get("auths")), host, repository):
            login = _stored(entry, source)
            if login is None and entry:
                log.warning("%s has a broken entry for %s.", source, cleaning.one_line(key))
            if login is not None:
                yield login

    def _ask_helper(self, helper: str, host: str) -> Login | str | None:
        """Returns the login of a helper, or a text if it fails; it runs once for each host."""
        with self._lock:
            known = (helper, host)
            if known not in self._helped:
                self._helped[known] = _run_helper(helper, _HUB_KEY if host == DOCKER_HUB else host)
            return self._helped[known]


def host_of(address: str) -> str:
    """Returns the host, with its port if there is one, of a registry's address in any form.

    Args:
        address: `host[:port]`, maybe with a scheme before it and a path after it.

    Returns:
        The host in lower case; all names of Docker Hub are `docker.io`.
    """
    host = re.sub(r"^\w+://", "", address.strip()).partition("/")[0].lower()
    return DOCKER_HUB if host in _HUB_NAMES else host


def checked_host(address: str) -> str:
    """Returns the host of a registry's address that a user gave.

    Args:
        address: As for `host_of`; a path is ignored.

    Raises:
        UsageError: It is not the address of a registry.
    """
    host = host_of(address)
    try:
        is_host = bool(_HOST.fullmatch(host)) and urlsplit(f"//{host}").port != 0
    except ValueError:  # of the port, or of an IPv6 address
        is_host = False
    if not is_host:
        shown = cleaning.one_line(address.rpartition("@")[2])
        raise UsageError(
            f"This is not the host of a registry: '{shown}'",
            hint="Give host[:port], as in the names of images: registry.example.com:5000",
        )
    return host


def _text_of(path: Path) -> Iterator[tuple[str, str | OSError]]:
    try:
        if not path.is_file():
            return
        yield str(path), path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:  # another user's file, which Docker also skips
        yield str(path), error


def _parsed(text: str | OSError) -> dict[str, Any] | None:
    """Returns the parsed configuration; None if it is not valid; an empty text is valid."""
    if isinstance(text, OSError):
        return None
    if not text.strip():
        return {}
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return config if isinstance(config, dict) else None


def _items(value: object) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _matching(
    entries: list[tuple[str, Any]], host: str, repository: str | None
) -> list[tuple[str, dict[str, Any]]]:
    """Returns the entries that match a repository, those with the longest path first."""
    found = []
    for key, entry in entries:
        path = re.sub(r"^\w+://", "", key).partition("/")[2].strip("/")
        if host_of(key) != host or not isinstance(entry, dict):
            continue
        if path in _API_PATHS:
            found.append((0, key, entry))
        elif repository is None or f"{repository}/".startswith(f"{path}/"):
            found.append((len(path), key, entry))
    found.sort(key=lambda each: -each[0])
    return [(key, entry) for _, key, entry in found]


def _stored(entry: dict[str, Any], source: str) -> Login | None:
    """Returns the login of an entry; None if there is none or it is broken."""
    token = entry.get("identitytoken")
    if isinstance(token, str) and token:
        return Login("", source, token, is_identity_token=True)
    auth = entry.get("auth")
    if isinstance(auth, str) and auth:
        try:
            user, colon, password = base64.b64decode(auth.strip()).decode().partition(":")
        except ValueError:
            return None
        return Login(user, source, password.strip("\x00")) if colon else None
    name, secret = entry.get("username"), entry.get("password")
    if isinstance(name, str) and isinstance(secret, str) and name and secret:
        return Login(name, source, secret)
    return None


def _run_helper(helper: str, server: str) -> Login | str | None:
    """Runs a credential helper (https://github.com/docker/docker-credential-helpers)."""
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, "get"],
            input=server,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=HELPER_SECONDS,
            check=False,
            env={name: os.environ[name] for name in os.environ if name not in _NOT_FOR_HELPERS},
        )
    except FileNotFoundError:
        return f"{program} is not installed here"
    except subprocess.TimeoutExpired:
        return f"{program} did not respond within {HELPER_SECONDS} s"
    except (OSError, ValueError) as error:
        return f"{program} cannot be run: {getattr(error, 'strerror', None) or error}"
    if done.returncode != 0:
        words = cleaning.one_line((done.stdout or done.stderr).strip())
        return None if _NO_CREDENTIALS in words.lower() else f"{program} failed: {words}"
    try:
        found = json.loads(done.stdout)
        user, secret = found["Username"], found["Secret"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return f"{program} did not print a login"
    if not isinstance(user, str) or not isinstance(secret, str) or not secret:
        return None if secret == "" else f"{program} did not print a login"
    if user == _TOKEN_USER:
        return Login("", program, secret, is_identity_token=True)
    return Login(user, program, secret)
