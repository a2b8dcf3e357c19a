"""Image references, by the examples of distribution/reference and their corner cases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmd_bump_image_tag.image_reference import ImageReference, is_digest, is_tag

SHA = "sha256:" + "0123456789abcdef" * 4
HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "domain", "path", "tag", "digest"),
    [
        ("nginx", "docker.io", "library/nginx", None, None),
        ("nginx:1.27", "docker.io", "library/nginx", "1.27", None),
        ("library/nginx", "docker.io", "library/nginx", None, None),
        ("docker.io/nginx", "docker.io", "library/nginx", None, None),
        ("index.docker.io/library/nginx:1", "docker.io", "library/nginx", "1", None),
        ("bitnami/nginx", "docker.io", "bitnami/nginx", None, None),
        ("host:5000", "docker.io", "library/host", "5000", None),
        ("host:5000/web", "host:5000", "web", None, None),
        ("host:5000/web:5000", "host:5000", "web", "5000", None),
        ("localhost/web", "localhost", "web", None, None),
        ("localhost:5000/g/web:1", "localhost:5000", "g/web", "1", None),
        ("127.0.0.1:5000/web:1", "127.0.0.1:5000", "web", "1", None),
        ("[::1]:5000/web:1", "[::1]:5000", "web", "1", None),
        ("[2001:db8::1]/web", "[2001:db8::1]", "web", None, None),
        ("Registry/web", "Registry", "web", None, None),
        ("REGISTRY.example.com/web:A", "REGISTRY.example.com", "web", "A", None),
        ("a.b-c.d/x__y/z---q/p.r:_.", "a.b-c.d", "x__y/z---q/p.r", "_.", None),
        (f"web:{'t' * 128}", "docker.io", "library/web", "t" * 128, None),
        (f"web@{SHA}", "docker.io", "library/web", None, SHA),
        (f"ghcr.io/g/web:1.0@{SHA}", "ghcr.io", "g/web", "1.0", SHA),
        (f"{HEX}:1", "docker.io", f"library/{HEX}", "1", None),
        (f"g/{HEX}", "docker.io", f"g/{HEX}", None, None),
        (f"x.io/{'p' * 255}", "x.io", "p" * 255, None, None),
    ],
)
def test_a_reference_is_parsed_as_docker_parses_it(
    text: str, domain: str, path: str, tag: str | None, digest: str | None
) -> None:
    assert ImageReference.parse(text) == ImageReference(domain, path, tag, digest)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/web",
        "web/",
        "g//web",
        "Web",
        "x.io/Web:1",
        "-web",
        "web-",
        "we___b",
        "we..b",
        "web:",
        "web:-1",
        "web:1:2",
        "web: 1",
        " web",
        "web\n",
        "wéb:1",
        "web:\u0661",
        f"web:{'t' * 129}",
        "web@sha256:abc",
        f"web@{SHA.upper()}",
        f"web@md5:{'a' * 32}",
        f"web:1@{SHA}x",
        f"web@{SHA}:1",
        HEX,
        "a b.io/web",
        "x_y.io/web",
        "x..io/web",
        "host:/web",
        "host:port/web",
        "[::1/web",
        "https://x.io/web",
        "${REGISTRY}/web:1",
        "{{ .Values.image }}",
        f"x.io/{'p' * 256}",
    ],
)
def test_a_reference_that_docker_refuses_returns_none(text: str) -> None:
    assert ImageReference.parse(text) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("nginx", "docker.io/library/nginx:1"),
        ("bitnami/nginx:2", "index.docker.io/bitnami/nginx"),
        ("Registry.Example.com/web", "registry.example.com/web:1"),
    ],
)
def test_all_spellings_of_one_repository_are_equal(one: str, other: str) -> None:
    assert _parsed(one).repository == _parsed(other).repository


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("web", "web-admin"),
        ("web", "x.io/web"),
        ("host/web", "host:5000/web"),
        ("library/nginx", "x.io/library/nginx"),
        ("localhost/web", "web"),
    ],
)
def test_different_repositories_are_not_equal(one: str, other: str) -> None:
    assert _parsed(one).repository != _parsed(other).repository


@pytest.mark.parametrize(
    ("text", "familiar"),
    [
        ("docker.io/library/nginx:1", "nginx"),
        ("docker.io/bitnami/nginx", "bitnami/nginx"),
        ("library/a/b", "library/a/b"),
        ("x.io/library/nginx", "x.io/library/nginx"),
    ],
)
def test_the_familiar_name_is_the_short_name(text: str, familiar: str) -> None:
    assert _parsed(text).familiar == familiar
    assert _parsed(familiar).repository == _parsed(text).repository


def test_the_suffix_is_the_text_after_the_name() -> None:
    assert _parsed(f"x.io:5000/web:1@{SHA}").suffix == f":1@{SHA}"
    assert _parsed("x.io:5000/web").suffix == ""
    assert _parsed("x.io:5000/g/web").last_component == "web"


def test_tags_and_digests_are_distinguished_from_other_text() -> None:
    assert is_tag("1.0_a-B")
    assert not is_tag("1.0\n")
    assert not is_tag("")
    assert is_digest(SHA)
    assert is_digest("sha512:" + "a" * 128)
    assert not is_digest(HEX)


@given(st.text(alphabet="ab.:/@[]-_A0$ é\n" + "sha256", max_size=200))
def test_a_parsed_reference_ends_with_its_suffix(text: str) -> None:
    reference = ImageReference.parse(text)
    if reference is not None:
        assert text.endswith(reference.suffix)
        assert ImageReference.parse(f"{reference.repository}{reference.suffix}") is not None


def test_a_long_text_is_parsed_in_linear_time() -> None:
    assert ImageReference.parse("a" * 1_000_000 + "!/web:1") is None
    assert ImageReference.parse("a-" * 500_000) is None


def _parsed(text: str) -> ImageReference:
    reference = ImageReference.parse(text)
    assert reference is not None
    return reference
