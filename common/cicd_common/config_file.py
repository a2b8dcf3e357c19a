"""Sections of python-gitlab's own configuration files, read by python-gitlab itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gitlab.config import ConfigError, GitlabConfigParser

from cicd_common.connection import parse_base_url
from cicd_common.errors import UsageError
from cicd_common.tokens import Token, TokenKind, token_of


@dataclass(frozen=True)
class ConfigSection:
    """What a section says about a server.

    Attributes:
        base_url: The server.
        token: Its credential, if it has one.
        ca_file: From `ssl_verify`, where that names a file.
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
    try:
        section = GitlabConfigParser(gitlab_id=name)
    except (ConfigError, OSError, ValueError) as error:
        raise UsageError(
            f"The section {name!r} cannot be read: {error}",
            hint="--gitlab names a section of the file in PYTHON_GITLAB_CFG, "
            "of ~/.python-gitlab.cfg or of /etc/python-gitlab.cfg.",
        ) from error
    if section.ssl_verify is False:
        raise UsageError(
            f"The section {name!r} turns off ssl_verify.",
            why="A token is not sent to a server whose identity nobody checks.",
            hint="Name the authority's certificate instead: ssl_verify = /path/to/ca.pem",
        )
    return ConfigSection(
        base_url=parse_base_url(section.url or ""),
        token=_token_in(section, f"section {name!r}"),
        ca_file=Path(section.ssl_verify) if isinstance(section.ssl_verify, str) else None,
    )


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
