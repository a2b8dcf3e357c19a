"""Pushes images to a real registry, byte by byte as given."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import requests

OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


class Pusher(requests.Session):
    """Pushes to one repository, as `docker push` does.

    Args:
        address: `host:port` of the registry.
        authorization: The header for every request.
    """

    def __init__(self, address: str, authorization: str) -> None:
        super().__init__()
        self.trust_env = False
        self.headers["Authorization"] = authorization
        self.name = f"{address}/group/web"
        self.url = f"http://{address}/v2/group/web"

    def blob(self, data: bytes) -> dict[str, Any]:
        digest = digest_of(data)
        started = self.post(f"{self.url}/blobs/uploads/", timeout=10)
        done = self.put(
            started.headers["Location"], params={"digest": digest}, data=data, timeout=10
        )
        assert done.status_code == 201, done.text
        return {"digest": digest, "size": len(data)}

    def manifest(self, tag: str, kind: str, **content: Any) -> dict[str, Any]:
        data = json.dumps({"schemaVersion": 2, "mediaType": kind, **content}).encode()
        done = self.put(
            f"{self.url}/manifests/{tag}", data=data, headers={"Content-Type": kind}, timeout=10
        )
        assert done.status_code == 201, done.text
        return {"mediaType": kind, "digest": digest_of(data), "size": len(data)}

    def image(self, tag: str, architecture: str = "amd64", kind: str = OCI_IMAGE) -> dict[str, Any]:
        config = json.dumps({"architecture": architecture, "os": "linux"}).encode()
        media = "application/vnd.oci.image.config.v1+json"
        if kind == DOCKER_IMAGE:
            media = "application/vnd.docker.container.image.v1+json"
        pushed = self.manifest(
            tag, kind, config={"mediaType": media, **self.blob(config)}, layers=[]
        )
        return pushed | {"platform": {"architecture": architecture, "os": "linux"}}


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
