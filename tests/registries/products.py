"""The registries that users have, each played by its own habits.

The challenges, bodies and habits are those of public reports; each class names its own.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import ClassVar
from urllib.parse import urlsplit

from cicd_common.registry.logins import Login
from cicd_common.registry.manifests import MANIFEST_TYPES
from tests.registries.server import JSON, MANIFEST, Reply, Request, basic, json_reply

TAG = "v1.1.0"
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
OTHER_TAGS = ("latest", "v1.0.0")
API = {"Docker-Distribution-Api-Version": "registry/2.0"}
# Who a request is from: nobody, someone with another password, or the one with the right one.
ANONYMOUS, WRONG, RIGHT = "anonymous", "wrong", "right"


def errors(status: int, code: str, message: str, challenge: str = "") -> Reply:
    """A refusal in the form of the specification."""
    body = {"errors": [{"code": code, "message": message, "detail": None}]}
    reply = json_reply(status, body, **API)
    return replace(reply, challenges=(challenge,) if challenge else ())


@dataclass
class Product:
    """A registry with a token service, as https://distribution.github.io/distribution has it.

    Attributes:
        public: Whether everyone can pull.
        limited: Whether it accepts no more requests for now.
        expired: Whether the right login has expired.
    """

    public: bool = False
    limited: bool = False
    expired: bool = False
    _granted: dict[str, str] = field(default_factory=dict)

    host: ClassVar[str] = ""  # as images name it
    server: ClassVar[str] = ""  # the host that is asked, if it is another one
    realm: ClassVar[str] = ""
    service: ClassVar[str] = ""
    repository: ClassVar[str] = "shop/web"
    login: ClassVar[Login] = Login("ci", "tests", "right-password")
    # The registry's own words, which a user has to see.
    denied: ClassVar[str] = "authentication required"
    refused: ClassVar[str] = ""
    unknown: ClassVar[tuple[str, str]] = ("MANIFEST_UNKNOWN", "manifest unknown")
    limit_words: ClassVar[str] = "too many requests"

    @property
    def image(self) -> str:
        return f"{self.host}/{self.repository}"

    def __call__(self, request: Request) -> Reply:
        asked = f"https://{request.host}{request.path}"
        if self.realm and asked == self.realm.partition("?")[0]:
            return self.token(request)
        if request.host != (self.server or self.host) or not request.path.startswith("/v2/"):
            return self.elsewhere(request)
        refusal = self.check(request)
        if refusal is not None:
            return refusal
        name, _, what = request.path.removeprefix("/v2/").rpartition("/")
        if not name:
            return json_reply(200, {}, **API)
        if name == f"{self.repository}/tags":
            return self.tags(request)
        if name != f"{self.repository}/manifests":
            return errors(404, "NAME_UNKNOWN", "repository name not known to registry")
        if self.limited:
            return errors(429, "TOOMANYREQUESTS", self.limit_words)
        return self.manifest(request) if what in {TAG, DIGEST} else errors(404, *self.unknown)

    def elsewhere(self, request: Request) -> Reply:
        """Replies as another host, or as a page beside the registry."""
        del request
        return Reply(404)

    def manifest(self, request: Request) -> Reply:
        assert "application/json" not in request.headers["Accept"]
        return Reply(200, self.digest() | {"Content-Type": MANIFEST_TYPES[0]}, MANIFEST)

    def digest(self) -> dict[str, str]:
        return {"Docker-Content-Digest": DIGEST}

    def tags(self, request: Request) -> Reply:
        del request
        return json_reply(200, {"name": self.repository, "tags": [*OTHER_TAGS, TAG]})

    def who(self, request: Request) -> str:
        """Whose login a request carries."""
        if not request.authorization:
            return ANONYMOUS
        right = request.authorization == basic(self.login) and not self.expired
        return RIGHT if right else WRONG

    # The token service.

    def token(self, request: Request) -> Reply:
        fields = {**request.query, **request.form}
        if fields.get("service", [""]) != [self.service]:
            return Reply(400)
        scope = fields.get("scope", [""])[0]
        match self.who(request):
            case "right":
                return self.issue(scope)
            case "wrong":
                return self.wrong_login()
            case _:
                return self.issue(scope) if self.public else self.nobody(scope)

    def issue(self, scope: str) -> Reply:
        """Grants a token."""
        token = f"{self.host}-{len(self._granted)}"
        self._granted[token] = scope
        return json_reply(200, {"token": token, "access_token": token, "expires_in": 300})

    def wrong_login(self) -> Reply:
        return errors(401, "UNAUTHORIZED", self.refused)

    def nobody(self, scope: str) -> Reply:
        """Replies to an anonymous request for a private image: a token without permissions."""
        del scope
        return self.issue("")

    # The registry.

    def check(self, request: Request) -> Reply | None:
        """Returns the refusal of a request; None if it is allowed."""
        name, _, what = request.path.removeprefix("/v2/").rpartition("/")
        granted = self._granted.get(request.authorization.removeprefix("Bearer "))
        repository = name.rpartition("/")[0]
        if granted is not None and (not repository or self.covers(granted, repository, what)):
            return None
        return errors(401, "UNAUTHORIZED", self.denied, self.challenge(repository, granted))

    def covers(self, granted: str, repository: str, what: str) -> bool:
        del what
        return granted.startswith(f"repository:{repository}:") and "pull" in granted

    def challenge(self, repository: str, granted: str | None) -> str:
        parts = [f'realm="{self.realm}"', f'service="{self.service}"']
        if repository:
            parts.append(f'scope="repository:{repository}:pull"')
        if granted is not None:
            parts.append('error="insufficient_scope"')
        return f"Bearer {','.join(parts)}"


class DockerHub(Product):
    """The token service is another host; pulls are limited; a HEAD is no pull.

    https://docs.docker.com/docker-hub/usage/pulls/ and docker-archive/docker-registry#1071.
    """

    host = "docker.io"
    server = "registry-1.docker.io"
    realm = "https://auth.docker.io/token"
    service = "registry.docker.io"
    repository = "library/web"
    refused = "incorrect username or password"
    limit_words = (
        "You have reached your unauthenticated pull rate limit. "
        "https://www.docker.com/increase-rate-limit"
    )

    def wrong_login(self) -> Reply:
        return json_reply(401, {"details": self.refused})


class GitLab(Product):
    """The token service is GitLab; who has no login and asks for nothing is refused with 403.

    `app/controllers/jwt_controller.rb` and
    `app/services/auth/container_registry_authentication_service.rb` of GitLab.
    """

    host = "registry.example.com"
    realm = "https://gitlab.example.com/jwt/auth"
    service = "container_registry"
    login = Login("gitlab-ci-token", "tests", "right-password")
    refused = "HTTP Basic: Access denied."

    def nobody(self, scope: str) -> Reply:
        return self.issue("") if scope else errors(403, "DENIED", "access forbidden")


class Ecr(Product):
    """The password goes to the registry itself; one that it cannot read is a 400 without words.

    fluxcd/image-reflector-controller#71, aws/containers-roadmap#2835.
    """

    host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
    login = Login("AWS", "tests", "right-password")
    denied = "Not Authorized"
    refused = "400 Bad Request"
    unknown = ("MANIFEST_UNKNOWN", "Requested image not found")
    expiry = "Your authorization token has expired. Reauthenticate and try again."

    def check(self, request: Request) -> Reply | None:
        match self.who(request):
            case "right":
                return None
            case "wrong" if self.expired:
                return errors(403, "DENIED", self.expiry)
            case "wrong":
                return Reply(400)
            case _ if self.public:
                return None
        challenge = f'Basic realm="https://{self.host}/",service="ecr.amazonaws.com"'
        text = {"Content-Type": "text/plain; charset=utf-8"}
        return Reply(401, API | text, b"Not Authorized\n", (challenge,))


class Acr(Product):
    """`az acr login` stores an identity token; tags need a permission of their own.

    https://github.com/Azure/acr/blob/main/docs/AAD-OAuth.md, renovatebot/renovate#14708.
    """

    host = "shop.azurecr.io"
    realm = "https://shop.azurecr.io/oauth2/token"
    service = "shop.azurecr.io"
    login = Login("", "tests", "right-identity-token", is_identity_token=True)
    denied = "authentication required, visit https://aka.ms/acr/authorization for more information."
    refused = "refresh token is invalid"

    def who(self, request: Request) -> str:
        if token := request.form.get("refresh_token"):
            assert request.form["grant_type"] == ["refresh_token"]
            return RIGHT if token == [self.login.password] else WRONG
        return super().who(request)

    def issue(self, scope: str) -> Reply:
        body = super().issue(scope).body.replace(b'"token"', b'"unused"')
        return Reply(200, JSON, body)

    def covers(self, granted: str, repository: str, what: str) -> bool:
        needed = "metadata_read" if what == "list" else "pull"
        return granted.startswith(f"repository:{repository}:") and needed in granted


class Gar(Product):
    """The root names no service; what a login must not see is refused by the token service.

    apple/container#2274, google-github-actions/auth#50.
    """

    host = "europe-docker.pkg.dev"
    realm = "https://europe-docker.pkg.dev/v2/token"
    service = "europe-docker.pkg.dev"
    repository = "shop/images/web"
    login = Login("_dcgcloud_token", "tests", "right-password")
    denied = "Unauthenticated request."
    refused = (
        'Permission "artifactregistry.repositories.downloadArtifacts" denied on resource '
        '"projects/shop/locations/europe/repositories/images" (or it may not exist)'
    )
    unknown = ("MANIFEST_UNKNOWN", "Failed to fetch the manifest")

    def token(self, request: Request) -> Reply:
        return super().token(replace(request, query={"service": [self.service]} | request.query))

    def challenge(self, repository: str, granted: str | None) -> str:
        if not repository:
            return f'Bearer realm="{self.realm}"'
        return super().challenge(repository, granted)

    def wrong_login(self) -> Reply:
        return errors(403, "DENIED", self.refused)

    def nobody(self, scope: str) -> Reply:
        del scope
        return errors(403, "DENIED", self.denied)


class Ghcr(Product):
    """The root names the scope of a repository that does not exist; a wrong login is `denied`.

    renovatebot/renovate#11446, alexjustesen/speedtest-tracker#566.
    """

    host = "ghcr.io"
    realm = "https://ghcr.io/token"
    service = "ghcr.io"
    denied = "requested access to the resource is denied"
    refused = "denied"

    def challenge(self, repository: str, granted: str | None) -> str:
        return super().challenge(repository or "user/image", granted)

    def wrong_login(self) -> Reply:
        return errors(403, "DENIED", self.refused)

    def nobody(self, scope: str) -> Reply:
        del scope
        return errors(401, "UNAUTHORIZED", self.denied)


class Quay(Product):
    """Robots have a `+` in their names; the root answers `true` as HTML; tags come in pages.

    GoogleContainerTools/skaffold#7048.
    """

    host = "quay.io"
    realm = "https://quay.io/v2/auth"
    service = "quay.io"
    login = Login("shop+ci", "tests", "right-password")
    denied = "access to the requested resource is not authorized"
    refused = "Could not find robot with specified username"
    unknown = ("TAG_EXPIRED", "Tag was deleted or has expired. To pull, revive via time machine")

    def wrong_login(self) -> Reply:
        return json_reply(401, {"error": self.refused})

    def check(self, request: Request) -> Reply | None:
        refusal = super().check(request)
        if refusal is None or request.path != "/v2/":
            return refusal
        return Reply(401, API | {"Content-Type": "text/html"}, b"true", refusal.challenges)

    def tags(self, request: Request) -> Reply:
        every = [*OTHER_TAGS, TAG]
        after = request.query.get("last", [""])[0]
        begin = every.index(after) + 1 if after else 0
        body = {"name": self.repository, "tags": every[begin : begin + 1]}
        if every[begin] == TAG:
            return json_reply(200, body)
        return json_reply(200, body, Link=f'<{request.path}?n=1&last={every[begin]}>; rel="next"')


class Harbor(Product):
    """Robots have a `$` in their names; a token that is not enough gets a challenge for Basic.

    goharbor/harbor#18856; a proxy in front of it can refuse a HEAD (crossplane/crossplane#3223).
    """

    host = "harbor.example.com"
    realm = "https://harbor.example.com/service/token"
    service = "harbor-registry"
    login = Login("robot$shop+ci", "tests", "right-pässword€")
    denied = "unauthorized to access repository: shop/web, action: pull"
    refused = "unauthorized"
    unknown = ("NOT_FOUND", "artifact shop/web:v1.1.1 not found")

    def challenge(self, repository: str, granted: str | None) -> str:
        if granted is not None:
            return 'Basic realm="harbor"'
        return super().challenge(repository, granted)

    def manifest(self, request: Request) -> Reply:
        return Reply(400) if request.verb == "HEAD" else super().manifest(request)


class Artifactory(Product):
    """Two challenges, a realm with a query, no digest, manifests in a signed storage.

    google/go-containerregistry#757, renovatebot/renovate#3078, containerd/containerd#6339.
    """

    host = "artifactory.example.com"
    realm = "https://artifactory.example.com/artifactory/api/docker/local/v2/token?host=shop"
    service = "artifactory.example.com"
    refused = "Bad credentials"
    unknown = ("MANIFEST_UNKNOWN", "The named manifest is not known to the registry.")
    storage = "storage.example.net"

    def check(self, request: Request) -> Reply | None:
        refusal = super().check(request)
        if refusal is None:
            return None
        other = 'Basic realm="Artifactory Realm"'
        return replace(refusal, challenges=(*refusal.challenges, other))

    def token(self, request: Request) -> Reply:
        if request.query.get("host") != ["shop"]:
            return Reply(400)
        return super().token(request)

    def wrong_login(self) -> Reply:
        return json_reply(401, {"errors": [{"status": 401, "message": self.refused}]})

    def manifest(self, request: Request) -> Reply:
        if request.verb == "HEAD":
            return Reply(200, {"Content-Type": MANIFEST_TYPES[0]})
        path = urlsplit(request.path).path
        return Reply(302, {"Location": f"https://{self.storage}{path}?signature=secret"})

    def elsewhere(self, request: Request) -> Reply:
        if request.host != self.storage:
            return Reply(404)
        # A storage refuses a request that carries more than its signature.
        if request.authorization or request.query != {"signature": ["secret"]}:
            return Reply(400)
        return Reply(200, {"Content-Type": MANIFEST_TYPES[0]}, MANIFEST)

    def tags(self, request: Request) -> Reply:
        if "manifest" in request.headers["Accept"]:
            return Reply(406)
        return super().tags(request)


class Nexus(Product):
    """`BASIC` in capitals, a port for each repository, and a 404 for every HEAD.

    sonatype/nexus-public#921, crazy-max/diun#1614.
    """

    host = "nexus.example.com:8083"
    denied = "access to the requested resource is not authorized"
    refused = denied

    def check(self, request: Request) -> Reply | None:
        if self.who(request) == RIGHT or (self.public and self.who(request) == ANONYMOUS):
            return None
        challenge = 'BASIC realm="Sonatype Nexus Repository Manager"'
        return errors(401, "UNAUTHORIZED", self.denied, challenge)

    def manifest(self, request: Request) -> Reply:
        return Reply(404) if request.verb == "HEAD" else super().manifest(request)


PRODUCTS: tuple[type[Product], ...] = (
    DockerHub, GitLab, Ecr, Acr, Gar, Ghcr, Quay, Harbor, Artifactory, Nexus,
)  # fmt: skip
HOSTS = sorted(
    {
        urlsplit(address if "://" in address else f"//{address}").hostname or ""
        for each in PRODUCTS
        for address in (each.server or each.host, each.realm, getattr(each, "storage", ""))
        if address
    }
)
