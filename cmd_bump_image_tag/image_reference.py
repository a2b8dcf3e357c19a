"""Image references, by the grammar of https://github.com/distribution/reference."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

_DOCKER_HUB = "docker.io"

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_COMPONENT = r"[a-z0-9]+(?:(?:__|[._]|-+)[a-z0-9]+)*"
TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
# The algorithms that https://github.com/opencontainers/go-digest knows.
DIGEST = r"sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128}"
_TAG, _DIGEST = re.compile(TAG), re.compile(DIGEST)
_REMAINDER = re.compile(
    rf"(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)(?::(?P<tag>{TAG}))?(?:@(?P<digest>{DIGEST}))?"
)
# An image's id, which Docker accepts instead of a name.
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")
_MAX_PATH_LENGTH = 255


@dataclass(frozen=True)
class ImageReference:
    """A reference in its normal form: `nginx` is `docker.io/library/nginx`.

    Attributes:
        domain: The registry's host, with its port if it has one.
        path: The repository within the registry.
        tag: The tag, if the reference has one.
        digest: The digest with its algorithm, if the reference has one.
    """

    domain: str
    path: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    @lru_cache(maxsize=1024)  # a repository repeats few images
    def parse(cls, text: str) -> ImageReference | None:
        """Reads a reference as Docker does (`reference.ParseNormalizedNamed`).

        Args:
            text: The reference; its path can have 255 characters, its tag 128.

        Returns:
            The reference; None if the text is not a reference.
        """
        domain, remainder = _split_domain(text)
        found = _REMAINDER.fullmatch(remainder)
        if found is None or not _DOMAIN.fullmatch(domain) or _IDENTIFIER.fullmatch(text):
            return None
        path = found["path"]
        if domain == _DOCKER_HUB and "/" not in path:
            path = f"library/{path}"
        if len(path) > _MAX_PATH_LENGTH:
            return None
        return cls(domain, path, found["tag"], found["digest"])

    @cached_property
    def repository(self) -> str:
        """Returns the normal name without tag and digest; all spellings give the same.

        Hosts are compared without regard to case (RFC 4343).
        """
        return f"{self.domain.lower()}/{self.path}"

    @cached_property
    def familiar(self) -> str:
        """Returns the short name without tag and digest: `nginx`, `ghcr.io/x/y`."""
        if self.domain != _DOCKER_HUB:
            return f"{self.domain}/{self.path}"
        namespace, _, name = self.path.partition("/")
        return name if namespace == "library" and "/" not in name else self.path

    @property
    def last_component(self) -> str:
        """Returns the last part of the path, which each spelling of the name contains."""
        return self.path.rpartition("/")[2]

    @cached_property
    def suffix(self) -> str:
        """Returns the text after the name: `:tag`, `@digest`, both or nothing."""
        return suffix_of(self.tag, self.digest)


def suffix_of(tag: str | None, digest: str | None) -> str:
    """Returns the text after a name: `:tag`, `@digest`, both or nothing."""
    return (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")


def is_tag(text: str) -> bool:
    """Returns True if the text can be a tag."""
    return _TAG.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Returns True if the text is a digest with its algorithm."""
    return _DIGEST.fullmatch(text) is not None


def _split_domain(text: str) -> tuple[str, str]:
    """Splits a registry's host from a name, as Docker does (`splitDockerDomain`)."""
    head, slash, rest = text.partition("/")
    is_host = head == "localhost" or "." in head or ":" in head or head.lower() != head
    if not slash or not is_host:
        return _DOCKER_HUB, text
    return (_DOCKER_HUB if head == "index.docker.io" else head), rest


# Shells, Compose and GitLab (`$X`, `${X:-1}`), make-like `$(X)`, GitLab's and GitHub's
# `$[[ inputs.x ]]` and `${{ x }}`, Helm and Jinja (`{{ .Values.x }}`).
_VARIABLE = re.compile(
    r"\$\{\{.*?\}\}|\$\[\[.*?\]\]|\$\{(?:[^{}]|\{[^{}]*\})*\}|\$\([^()]*\)|\$\w+|\{\{.*?\}\}"
)
# Takes a variable's place while the rest is parsed: a valid component, tag and host.
_MASK = "0variable"
_MASKED = re.compile(rf"{_MASK}([0-9]+)z")


def has_variable(text: str) -> bool:
    """Returns True if the text has a variable, which is filled in later."""
    return "$" in text or "{{" in text


@lru_cache(maxsize=1024)
def parse_template(text: str) -> ImageReference | None:
    """Reads a reference whose parts can be variables, such as `$CI_REGISTRY/web:v1`.

    Args:
        text: The reference.

    Returns:
        The reference, with each variable written as `${NAME}`; None if the text is not a
        reference, whatever its variables are.
    """
    if not has_variable(text):
        return ImageReference.parse(text)
    variables: list[str] = []

    def mask(found: re.Match[str]) -> str:
        variables.append(re.sub(r"^\$(\w+)$", r"${\1}", re.sub(r"\s+", "", found[0])))
        return f"{_MASK}{len(variables) - 1}z"

    def unmask(part: str) -> str:
        return _MASKED.sub(lambda found: variables[int(found[1])], part)

    if _MASK in text:
        return None

    masked, at, digest = _VARIABLE.sub(mask, text).partition(f"@{_MASK}")
    reference = ImageReference.parse(masked)
    if reference is None:
        return None
    return ImageReference(
        unmask(reference.domain),
        unmask(reference.path),
        unmask(reference.tag) if reference.tag else None,
        unmask(_MASK + digest) if at else reference.digest,
    )


def can_become(name: ImageReference, other: ImageReference) -> bool:
    """Returns True if a name with variables can become another name."""
    last = name.last_component
    return has_variable(name.repository) and not has_variable(last) and last == other.last_component
