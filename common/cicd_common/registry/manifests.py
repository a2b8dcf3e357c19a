"""Reads manifests of images and their digests.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from cicd_common.errors import RefusedError, UnavailableError

if TYPE_CHECKING:
    import requests

# Including indexes: the digest to pin must work on every platform.
MANIFEST_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
# Old registries send it without being asked. Its digest is not the digest of the sent bytes.
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1"
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128}")


def json_object(response: requests.Response) -> dict[str, Any]:
    """Returns the JSON object of a response; an empty object if there is none."""
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _kind(response: requests.Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def is_manifest(response: requests.Response) -> bool:
    """Returns whether the content type of a response is a manifest's."""
    return _kind(response) in MANIFEST_TYPES


def named_digest(response: requests.Response) -> str:
    """Returns the digest that a registry names, even twice, quoted or in capitals; else empty."""
    named = response.headers.get("Docker-Content-Digest", "").split(",")
    digests = {each.strip().strip('"').lower() for each in named}
    digest = digests.pop() if len(digests) == 1 else ""
    return digest if _DIGEST.fullmatch(digest) else ""


def read_digest(response: requests.Response, wanted: str = "") -> str:
    """Returns the digest of a manifest that was read completely.

    Args:
        response: The response to a GET.
        wanted: The digest that was asked for; empty if it was a tag.

    Raises:
        RefusedError: The manifest is of schema 1.
        UnavailableError: It is not a manifest, or its digest is another one.
    """
    if _kind(response).startswith(SCHEMA_1):
        raise RefusedError(
            "The image's manifest is of schema 1.",
            why="Its digest does not match the content that the registry sends.",
            hint="Push the image again with a current tool, or leave out --pin-digest.",
        )
    if not is_manifest(response) or not json_object(response):
        raise UnavailableError(
            "The registry did not send a manifest.",
            why=f"It sent {_kind(response) or 'something without a type'}.",
            retryable=False,
        )
    computed = {
        f"{name}:{hashlib.new(name, response.content).hexdigest()}"
        for name in ("sha256", "sha384", "sha512")
    }
    digest = wanted or named_digest(response)
    if not digest and "Docker-Content-Digest" not in response.headers:
        return next(each for each in computed if each.startswith("sha256:"))
    if digest not in computed:
        raise UnavailableError(
            "The digest that the registry sent does not match its manifest.",
            retryable=False,
        )
    return digest
