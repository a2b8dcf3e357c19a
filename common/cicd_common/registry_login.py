"""Logging in to a container registry, as `docker login` does, and with the credentials it left.

Sources: https://docs.docker.com/reference/cli/docker/login/ for the configuration file and its
helpers, https://distribution.github.io/distribution/spec/auth/token/ for the way to log in.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit, urlunsplit

import requests

from cicd_common import cleaning
from cicd_common.errors import AuthError, UnavailableError, UsageError
from cicd_common.gitlab.transport import Adapter

if TYPE_CHECKING:
    from collections.abc import Mapping

HELPER_SECONDS = 30
# What Docker has of its own for its Hub: https://github.com/moby/moby/blob/master/registry/config.go
DOCKER_HUB = "docker.io"
_HUB_SERVER = "registry-1.docker.io"
_HUB_LOGIN = "https://index.docker.io/v1/"
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Login:
    """A user name and a password for one registry.

    Attributes:
        user: The user name.
        source: Where they came from, for people.
        password: The password; never part of the representation.
    """

    user: str
    source: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        """Keeps the password out of everything that this process writes."""
        cleaning.hide(self.password)


def find_login(registry: str, environ: Mapping[str, str]) -> Login | None:
    """The credentials for a registry: a GitLab job's variables, else what `docker login` left.

    Args:
        registry: `host[:port]`.
        environ: The environment: `CI_REGISTRY` with `CI_REGISTRY_USER` and
            `CI_REGISTRY_PASSWORD`; `DOCKER_CONFIG`, the folder of `config.json`.

    Returns:
        The credentials; None where there are none.

    Raises:
        UsageError: The configuration file cannot be read.
        UnavailableError: A credential helper that it names fails.
    """
    user, password = environ.get("CI_REGISTRY_USER"), environ.get("CI_REGISTRY_PASSWORD")
    if environ.get("CI_REGISTRY") == registry and user and password:
        return Login(user, "CI_REGISTRY_USER", password)
    folder = environ.get("DOCKER_CONFIG") or Path.home() / ".docker"
    path = Path(folder, "config.json")
    config = _read(path)
    name = _HUB_LOGIN if registry == DOCKER_HUB else registry
    helper = config.get("credHelpers", {}).get(name) or config.get("credsStore")
    login = _ask(helper, name) if helper else None
    return login or _stored(config.get("auths", {}), name, str(path))


def registry_url(registry: str) -> str:
    """Where a registry's API is, without a slash at the end.

    Args:
        registry: `host[:port]`; one on this machine is asked over HTTP.
    """
    host = _HUB_SERVER if registry == DOCKER_HUB else registry
    return f"{'http' if is_here(registry) else 'https'}://{host}"


def log_in(registry: str, login: Login, *, timeout: float, ca_file: Path | None = None) -> None:
    """Makes sure that a registry takes a login; changes nothing.

    Args:
        registry: `host[:port]`.
        login: The credentials.
        timeout: Seconds that one request may take.
        ca_file: A certificate authority to trust beside the usual ones.

    Raises:
        AuthError: The registry refuses them.
        UnavailableError: It cannot be reached, or is none.
    """
    url = f"{registry_url(registry)}/v2/"
    once: dict[str, Any] = {"timeout": timeout, "allow_redirects": False}
    try:
        with requests.Session() as session:
            session.mount("https://", Adapter(ca_file))
            answer = session.get(url, auth=_anonymous, **once)
            if answer.status_code not in {requests.codes.ok, requests.codes.unauthorized}:
                raise UnavailableError(
                    f"{registry} answers {answer.status_code}: it is no container registry.",
                    hint="Name the registry as host[:port], as images are named.",
                )
            where = place_to_log_in(answer.headers.get("WWW-Authenticate", "")) or url
            answer = session.get(where, auth=(login.user, login.password), **once)
    except requests.RequestException as error:
        raise UnavailableError(
            f"The registry {registry} cannot be reached: {type(error).__name__}.",
            hint="Check CI_REGISTRY, the network and the registry's certificate.",
        ) from error
    if answer.status_code != requests.codes.ok:
        raise AuthError(
            f"{registry} refuses the login of {login.user} from {login.source} "
            f"({answer.status_code}).",
            hint=f"docker login {registry}, or pass CI_REGISTRY_USER and CI_REGISTRY_PASSWORD on.",
        )


def place_to_log_in(challenge: str, **query: str) -> str:
    """Where a registry wants the password: the address of its tokens, or nothing for itself.

    Args:
        challenge: Its `WWW-Authenticate`.
        query: What to ask for, such as the `scope`.

    Raises:
        UnavailableError: That address is not safe.
    """
    scheme, _, rest = challenge.partition(" ")
    if scheme.lower() != "bearer":
        return ""
    fields = dict(_CHALLENGE.findall(rest))
    realm = urlsplit(fields.get("realm", ""))
    if realm.scheme != "https" and not is_here(realm.netloc):
        raise UnavailableError(
            f"The registry asks for its password at {realm.scheme}://{realm.netloc}.",
            why="A password is not sent without TLS.",
            hint="Have the registry's administrator set an https:// realm.",
        )
    asked = urlencode({"service": fields.get("service", ""), **query})
    return urlunsplit((realm.scheme, realm.netloc, realm.path, asked, ""))


def is_here(host: str) -> bool:
    """Whether a host is this machine, where Docker asks for no TLS either."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {type(error).__name__}.") from error
    if not isinstance(config, dict):
        raise UsageError(f"{path} is no configuration of Docker's.")
    return config


def _stored(auths: Mapping[str, Any], registry: str, source: str) -> Login | None:
    """The credentials in the file itself: `user:password` in Base64."""
    entry = auths.get(registry) or auths.get(f"https://{registry}") or {}
    try:
        user, colon, password = (
            base64.b64decode(entry.get("auth", ""), validate=True).decode().partition(":")
        )
    except ValueError as error:
        raise UsageError(f"{source} has a broken entry for {registry}.") from error
    return Login(user, source, password) if colon else None


def _ask(helper: str, registry: str) -> Login | None:
    """The credentials that a helper keeps: https://github.com/docker/docker-credential-helpers."""
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, "get"],
            input=registry,
            capture_output=True,
            text=True,
            timeout=HELPER_SECONDS,
            check=False,
        )
        found = json.loads(done.stdout) if done.returncode == 0 else {}
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(
            f"{program}, which Docker's configuration names, failed: {type(error).__name__}.",
            hint="Install the helper, or pass CI_REGISTRY_USER and CI_REGISTRY_PASSWORD on.",
        ) from error
    if not found.get("Secret"):
        return None
    return Login(str(found.get("Username", "")), program, str(found["Secret"]))


def _anonymous(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keeps `requests` from looking for credentials in ~/.netrc."""
    return request
