"""Decides which server to use, with which token and which time limits."""

from __future__ import annotations

import configparser
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict
from urllib.parse import urlsplit

from cicd_common import DEFAULT_REQUEST_TIMEOUT, DEFAULT_RETRY_FOR, cleaning
from cicd_common.errors import UsageError
from cicd_common.gitlab.tokens import Token, TokenKind, read_token_file, token_of

if TYPE_CHECKING:
    from gitlab.config import GitlabConfigParser


@dataclass(frozen=True)
class Connection:
    """Holds what a client needs to know before its first request.

    Attributes:
        base_url: The server, without a slash at the end.
        token: The token; None without one.
        ca_file: A certificate authority to trust in addition to the usual ones.
        request_timeout: Seconds that one request can take.
        retry_for: Seconds for which temporary failures are retried.
        retry_for_given: Whether the user set `retry_for`; otherwise a wait retries until its limit.
    """

    base_url: str
    token: Token | None = None
    ca_file: Path | None = None
    request_timeout: float = DEFAULT_REQUEST_TIMEOUT
    retry_for: float = DEFAULT_RETRY_FOR
    retry_for_given: bool = False


class ConnectionOptions(TypedDict, total=False):
    """Lists the keyword arguments with which the packages' functions accept a connection.

    Every function that needs a server requires `base_url`. Only one token is used: if an access
    token and a job token are given, the access token. `gitlab` names a section of a python-gitlab
    configuration file.
    """

    base_url: str
    api_access_token: str | None
    api_access_token_file: Path | None
    job_token: str | None
    gitlab: str | None
    ca_file: Path | None
    request_timeout: float
    retry_for: float


def connection_from(options: ConnectionOptions, *, needs_server: bool = True) -> Connection:
    """Makes a connection from keyword arguments.

    Args:
        options: The arguments.
        needs_server: Whether there must be a base URL; else it may be empty.

    Raises:
        UsageError: There is no base URL, or a value is wrong.
    """
    if needs_server and not options.get("gitlab"):
        parse_base_url(options.get("base_url", ""))
    return connection_of(
        base_url=options.get("base_url", ""),
        token=_token_from(options),
        section=options.get("gitlab"),
        ca_file=options.get("ca_file"),
        request_timeout=options.get("request_timeout", DEFAULT_REQUEST_TIMEOUT),
        retry_for=options.get("retry_for"),
    )


def _token_from(options: ConnectionOptions) -> Token | None:
    if access_token := options.get("api_access_token"):
        return token_of(TokenKind.ACCESS, access_token, "api_access_token")
    if path := options.get("api_access_token_file"):
        return read_token_file(path, "api_access_token_file")
    if job_token := options.get("job_token"):
        return token_of(TokenKind.JOB, job_token, "job_token")
    return None


def connection_of(
    *,
    base_url: str,
    token: Token | None,
    section: str | None,
    ca_file: Path | None,
    request_timeout: float,
    retry_for: float | None,
) -> Connection:
    """Chooses one server and at most one token: given values first, then the configuration file.

    Args:
        base_url: The server; empty if none was given.
        token: The token; None if none was given.
        section: A section of a python-gitlab configuration file.
        ca_file: An extra certificate authority.
        request_timeout: Seconds that one request can take.
        retry_for: Seconds for which temporary failures are retried; None if nothing was given.

    Raises:
        UsageError: The URL is not valid, the section cannot be used, or its token is for another
            server.
    """
    found = read_section(section) if section else None
    base_url = parse_base_url(base_url) if base_url else found.base_url if found else ""
    if found and found.token and not token:
        token = found.token
        if base_url != found.base_url:
            raise UsageError(
                f"The token of section {section!r} is for {found.base_url}, not for {base_url}.",
                hint="Leave out --base-url (and GITLAB_SERVER_BASE_URL, CI_SERVER_URL), "
                "or give a token for that server.",
            )
    return Connection(
        base_url=base_url,
        token=token,
        ca_file=ca_file or (found.ca_file if found else None),
        request_timeout=request_timeout,
        retry_for=DEFAULT_RETRY_FOR if retry_for is None else retry_for,
        retry_for_given=retry_for is not None,
    )


def parse_base_url(text: str) -> str:
    """Checks a server's URL and returns it in a standard form.

    Args:
        text: `http://` or `https://`, a host, maybe a port and GitLab's relative root; a trailing
            slash and a trailing `/api/v4` are removed.

    Raises:
        UsageError: It is not such a URL.
    """
    text = text.strip()
    if not text:
        raise UsageError(
            "No GitLab server was given.",
            why="There is no default: a token is never sent to a server that you did not name.",
            hint="Give --base-url, or pass CI_SERVER_URL on (docker run -e CI_SERVER_URL).",
        )
    problem = _problem_of(text)
    if problem:
        raise UsageError(
            f"The base URL {cleaning.without_credentials(text)!r} {problem}.",
            hint="Write it as https://gitlab.example.com",
        )
    return re.sub(r"/api/v4$", "", text.rstrip("/")).rstrip("/")


def _problem_of(text: str) -> str:
    if text.startswith(("--", "$")):
        return "looks like an option or a variable that was not expanded"
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        return "has characters that a URL cannot have"
    try:
        parts = urlsplit(text)
        port_is_wrong = parts.port == 0
    except ValueError:
        return "is not a URL"
    if parts.scheme not in {"http", "https"}:
        return "does not start with http:// or https://"
    if not parts.hostname or port_is_wrong:
        return "has no host"
    if parts.username is not None:
        return "has a user name or password; use a token option for it"
    if parts.query or parts.fragment:
        return "has a query or a fragment"
    return ""


@dataclass(frozen=True)
class ConfigSection:
    """Holds what a section of the configuration file says about a server.

    Attributes:
        base_url: The server.
        token: The token, if the section has one.
        ca_file: The file that `ssl_verify` names, if it names one.
    """

    base_url: str
    token: Token | None
    ca_file: Path | None


def read_section(name: str) -> ConfigSection:
    """Reads a section of the file that `PYTHON_GITLAB_CFG` names, or of the usual files.

    Args:
        name: The section.

    Raises:
        UsageError: There is no such file or section, or it cannot be used.
    """
    # It is slow to import, and only this option needs it.
    from gitlab.config import ConfigError, GitlabConfigParser  # noqa: PLC0415

    try:
        section = GitlabConfigParser(gitlab_id=name)
    except (ConfigError, OSError, ValueError, configparser.Error) as error:
        raise UsageError(
            f"The section {name!r} cannot be read: {_config_problem(error)}",
            hint="--gitlab names a section of the file in PYTHON_GITLAB_CFG, "
            "of ~/.python-gitlab.cfg or of /etc/python-gitlab.cfg.",
        ) from error
    if section.ssl_verify is False:
        raise UsageError(
            f"The section {name!r} turns off ssl_verify.",
            why="A token is not sent to a server whose certificate is not checked.",
            hint="Name the authority's certificate instead: ssl_verify = /path/to/ca.pem",
        )
    return ConfigSection(
        base_url=parse_base_url(section.url or ""),
        token=_token_in(section, f"section {name!r}"),
        ca_file=Path(section.ssl_verify) if isinstance(section.ssl_verify, str) else None,
    )


def _config_problem(error: Exception) -> str:
    """Returns what is wrong with a configuration file, without its text, which holds tokens."""
    match error:
        case configparser.MissingSectionHeaderError():
            return f"{error.source}, line {error.lineno}: it is before the first [section]."
        case configparser.ParsingError():
            numbers = ", ".join(str(number) for number, _ in error.errors)
            return f"{error.source}, line {numbers}: it is not KEY = VALUE."
        case configparser.DuplicateSectionError() | configparser.DuplicateOptionError():
            return f"{error.source}, line {error.lineno}: it is a duplicate."
        case configparser.InterpolationError():
            return f"a value of section {error.section!r} has a single %; write %% for it."
        case UnicodeDecodeError():
            return "the file is not UTF-8 text."
        case OSError():
            return f"{error.strerror}."
        case ValueError():
            return "a value must be a number, or yes or no."
        case _:
            return str(error).partition("\n")[0]


def _token_in(section: GitlabConfigParser, source: str) -> Token | None:
    candidates = (
        (TokenKind.ACCESS, section.private_token),
        (TokenKind.OAUTH, section.oauth_token),
        (TokenKind.JOB, section.job_token),
    )
    for kind, secret in candidates:
        if secret:
            return token_of(kind, secret, source)
    return None
