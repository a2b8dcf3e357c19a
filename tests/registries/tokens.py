"""A token service for a real registry: it signs JSON Web Tokens with a certificate's key.

https://distribution.github.io/distribution/spec/auth/jwt/ says what they hold.
"""

from __future__ import annotations

import base64
import json
import subprocess
import time
from typing import TYPE_CHECKING, Any

from tests.registries.server import Certificate, Reply, Request, basic, json_reply

if TYPE_CHECKING:
    from cicd_common.registry.logins import Login

ISSUER = "tests"
SERVICE = "registry"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(claims: dict[str, Any], certificate: Certificate) -> str:
    """A token with claims, signed by RSA and SHA-256."""
    lines = certificate.path.read_text().splitlines()
    header = {"typ": "JWT", "alg": "RS256", "x5c": ["".join(lines[1:-1])]}
    text = ".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
    signature = subprocess.run(
        ["openssl", "dgst", "-sha256", "-sign", certificate.key],
        input=text.encode(), check=True, capture_output=True,
    )  # fmt: skip
    return f"{text}.{_encoded(signature.stdout)}"


class TokenService:
    """Grants tokens for what is asked for: all actions with the login, a pull if it is public.

    Args:
        login: The login that is accepted.
        certificate: The certificate that the registry trusts, and its key.
    """

    def __init__(self, login: Login, certificate: Certificate) -> None:
        self.public: set[str] = set()
        self._login = login
        self._certificate = certificate

    def __call__(self, request: Request) -> Reply:
        known = request.authorization == basic(self._login)
        if request.authorization and not known:
            words = {"code": "UNAUTHORIZED", "message": "The token service knows no such login."}
            return json_reply(401, {"errors": [words]})
        scopes = request.query.get("scope", [])
        return json_reply(200, {"token": self.token(*scopes, known=known)})

    def token(self, *scopes: str, known: bool = True) -> str:
        """Grants what it allows of `repository:NAME:ACTION,…`."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": SERVICE,
            "sub": self._login.user if known else "",
            "nbf": now - 60,
            "exp": now + 300,
            "jti": str(now),
            "access": [self._access(each, known=known) for each in scopes],
        }
        return signed(claims, self._certificate)

    def _access(self, scope: str, *, known: bool) -> dict[str, Any]:
        kind, name, actions = scope.split(":")
        allowed = {"pull", "push"} if known else {"pull"} if name in self.public else set[str]()
        return {"type": kind, "name": name, "actions": sorted({*actions.split(",")} & allowed)}
