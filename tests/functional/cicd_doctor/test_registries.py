"""The doctor's check of a registry's login, with the registries that users have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.functional.cicd_doctor.conftest import below, line
from tests.registries.products import PRODUCTS, Product
from tests.registries.server import Host, Reply, json_reply, serving

if TYPE_CHECKING:
    from sandbox import Sandbox
    from tests.functional.cicd_doctor.conftest import Doctor
    from tests.functional.conftest import Ending
    from tests.registries.server import Request
    from tests.registries.stage import Stage

each_product = pytest.mark.parametrize("kind", PRODUCTS, ids=lambda kind: kind.__name__)


def examine(doctor: Doctor, stage: Stage, product: Product) -> Ending:
    ending = doctor("--registry", product.host, *stage.ca_file, project=False)
    assert product.login.password not in ending.stdout + ending.stderr
    return ending


@each_product
def test_the_right_login_is_accepted(kind: type[Product], doctor: Doctor, stage: Stage) -> None:
    product = kind()
    login = stage.log_in(product)
    with stage.play(product) as host:
        ending = examine(doctor, stage, product)
    verdict, text = line(ending, "registry")
    assert (ending.code, verdict) == (0, "ok"), ending.stdout
    who = login.user or "an identity token"
    assert text.startswith(f"{product.host} accepts the login of {who} from ")
    assert [each.credential for each in host.asked][-2:] != ["-", "-"]


@each_product
def test_a_wrong_login_is_refused_in_the_registrys_words(
    kind: type[Product], doctor: Doctor, stage: Stage
) -> None:
    product = kind()
    stage.log_in(product, "wrong-password")
    with stage.play(product):
        ending = examine(doctor, stage, product)
    verdict, text = line(ending, "registry")
    assert (ending.code, verdict) == (3, "FAIL"), ending.stdout
    assert text.startswith(f"{product.host} refuses the login of ")
    assert product.refused in text
    assert "wrong-password" not in ending.stdout + ending.stderr


@each_product
def test_without_a_login_nothing_is_sent(kind: type[Product], doctor: Doctor, stage: Stage) -> None:
    product = kind()
    with stage.play(product) as host:
        ending = examine(doctor, stage, product)
    assert line(ending, "registry") == ("FAIL", f"There is no login for {product.host}.")
    assert below(ending, "registry")[-1].endswith(f"docker login {product.host}")
    assert host.asked == []


def check(request: Request) -> Reply:
    """A registry with an account."""
    if request.authorization:
        return json_reply(200, {}, Docker_Distribution_Api_Version="registry/2.0")
    return Reply(401, challenges=('Basic realm="x"',))


def named(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    auths = {host.name: {"username": "me", "password": "right-password"}}
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"auths": auths}))


@pytest.mark.usefixtures("stage")
@pytest.mark.parametrize("authorized", [False, True], ids=["at once", "after the login"])
@pytest.mark.parametrize(
    ("reply", "code", "text"),
    [
        (Reply(429), 7, "accepts no more requests now"),
        (Reply(503), 8, "does not answer as it should: 503 Service Unavailable"),
        (Reply(200, {"Content-Type": "text/html"}, b"<p>Sign in</p>"), 8, "is not JSON"),
        (Reply(404), 8, ""),
    ],
    ids=["limit", "busy", "page", "404"],
)
def test_a_server_that_cannot_tell_is_not_reported_as_a_wrong_login(
    reply: Reply,
    code: int,
    text: str,
    *,
    authorized: bool,
    doctor: Doctor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answer(request: Request) -> Reply:
        return check(request) if bool(request.authorization) is not authorized else reply

    with serving(answer) as host:
        named(host, monkeypatch)
        ending = doctor("--registry", host.name, project=False)
    printed = " ".join([line(ending, "registry")[1], *below(ending, "registry")])
    assert ending.code == code, ending.stdout
    assert text in printed
    assert host.name in printed
    assert "GitLab" not in printed
    assert "--base-url" not in printed
    assert "login of me" not in printed


@pytest.mark.usefixtures("stage")
def test_a_registry_without_tls_is_checked_if_it_is_named(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "registry.internal:5000"
    with serving(check, is_proxy=True) as host:
        for variable in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(variable, host.url)
        named(Host(name, []), monkeypatch)
        ending = doctor("--registry", name, project=False)
        assert ending.code == 8
        assert below(ending, "registry")[-1].endswith(f"--insecure-registry {name}")
        assert host.asked == []
        ending = doctor("--registry", name, "--insecure-registry", name, project=False)
    assert ending.code == 0, ending.stdout
    assert line(ending, "registry")[1].startswith(f"{name} accepts the login of me from ")


@pytest.mark.parametrize("option", ["--registry", "--insecure-registry"])
@pytest.mark.parametrize("host", ["$CI_REGISTRY", "registry.example.com:99999"])
def test_what_is_not_a_registry_is_refused_before_anything_is_sent(
    option: str, host: str, doctor: Doctor, gitlab: Sandbox
) -> None:
    ending = doctor(option, host)
    assert ending.code == 2
    assert f"This is not the host of a registry: '{host}'" in ending.stderr
    assert not gitlab.requests
