"""Images that several keys spell: which keys belong together, and what becomes of digests."""

from collections.abc import Callable

import pytest

from cicd_common.errors import CommandError, NotFoundError, RefusedError
from cmd_bump_image_tag.image_parts import part_of
from cmd_bump_image_tag.images import Update
from cmd_bump_image_tag.plan import Plan
from tests.unit.cmd_bump_image_tag.conftest import plan

Check = Callable[..., Plan]

WEB = "registry.example.com/shop/web"
HEX = "a" * 64
OLD = f"sha256:{HEX}"
NEW = "sha256:" + "b" * 64


@pytest.mark.parametrize(
    "template",
    [
        "{repository: WEB, tag: TAG}",
        "{image: WEB, tag: TAG}",
        "{repo: WEB, tag: TAG}",
        "{imageRepo: WEB, imageTag: TAG}",
        "{image_repository: WEB, image_tag: TAG}",
        "{image-name: WEB, image-tag: TAG}",
        "{imageName: WEB, imageTag: TAG}",
        "{image: WEB, imageTag: TAG}",
        "{image: WEB, version: TAG}",
        "{image: {repository: WEB, version: TAG}}",
        "{image: {name: WEB, tag: TAG}}",
        "{image: {repository: WEB}, tag: TAG}",
        "{image: {name: WEB}, imageTag: TAG}",
        "{image: {registry: registry.example.com, repository: shop/web}, tag: TAG}",
        "{initImage: WEB, initImageTag: TAG}",
        "{initImage: {repository: WEB}, initImageTag: TAG}",
        "{sidecarRepository: WEB, sidecarTag: TAG, repository: other, tag: v1}",
        "{dockerImage: WEB, dockerTag: TAG}",
        "{baseImage: WEB, tag: TAG}",
        "{defaultAirflowRepository: WEB, defaultAirflowTag: TAG}",
        "{hub: registry.example.com/shop, image: web, tag: TAG}",
        "{imageRegistry: registry.example.com, image: shop/web, tag: TAG}",
        "{imageRegistry: registry.example.com, repository: shop/web, tag: TAG}",
        "{registry: registry.example.com, imageRepository: shop/web, imageTag: TAG}",
        "{image: {host: registry.example.com, repository: shop/web, tag: TAG}}",
        "{host: shop.example.com, image: WEB, tag: TAG}",
        "{apiRegistry: other.example.com, image: WEB, tag: TAG}",
        "{repository: WEB, tag: TAG, imageRepository: other, imageTag: v1}",
        "{repository: other, tag: v1, imageRepository: WEB, imageTag: TAG}",
        "{image: WEB, tag: TAG, imageTag: v1}",
        "{imageName: WEB, tag: v1, imageTag: TAG}",
        "{image: {repository: WEB, tag: TAG}, tag: v1}",
        "{image: {repository: WEB, tag: TAG, version: v1}}",
        "images: [{name: WEB, tag: TAG}]",
        "images: {web: {repository: WEB, tag: TAG}}",
        "env: {staging: {image: {repository: WEB, tag: TAG}}}",
        "args: {web: {repository: WEB, tag: TAG}}",
    ],
)
def test_a_name_finds_its_tag(template: str, check: Check) -> None:
    text = template.replace("WEB", WEB).replace("TAG", "v⟦1→2⟧")
    check(text, f"{WEB}=v2")


@pytest.mark.parametrize(
    "text",
    [
        "{name: WEB, tag: v1}",
        "{repository: WEB, version: v1}",
        "{chart: WEB, tag: v1}",
        "{appImage: WEB, appVersion: v1}",
        "{baseImageRepository: WEB, tag: v1}",
        "{baseImageName: WEB, baseImageTag: v1}",
        "{webImage: WEB, apiTag: v1}",
        "{image: WEB, tag: v1, registry: other.example.com}",
        "env: {repository: WEB, tag: v1}",
        "env: [{repository: WEB, tag: v1}]",
        "labels: {web: {repository: WEB, tag: v1}}",
    ],
)
def test_keys_that_might_not_belong_together_are_refused(text: str) -> None:
    with pytest.raises(CommandError):
        plan({"a.yaml": text.replace("WEB", WEB).encode()}, [Update(WEB, "v2")])


@pytest.mark.parametrize(
    "text",
    [
        "{imageRegistry: registry.example.com, image: redis, tag: 7.0.0}",
        "image: {host: registry.example.com, repository: redis, tag: 7.0.0}",
        "{hub: registry.example.com/istio, image: redis, tag: 7.0.0}",
        "{host: registry.example.com, image: redis, tag: 7.0.0}",
    ],
)
def test_a_name_with_a_separate_registry_key_is_not_on_docker_hub(text: str) -> None:
    with pytest.raises((NotFoundError, RefusedError)):
        plan({"a.yaml": text.encode()}, [Update("redis", "7.2.0")])


@pytest.mark.parametrize(
    "template",
    [
        'image: {repository: WEB, tag: v⟦1→2⟧, digestChroot: ⟦OLD→""⟧}',
        'image: {repository: WEB, tag: v⟦1→2⟧, digest: ⟦OLD→""⟧, digestChroot: ⟦OLD→""⟧}',
        'image: {repository: WEB, tag: v⟦1→2⟧, genericDigest: ⟦OLD→""⟧, useDigest: false}',
        'image: {repository: WEB, tag: v⟦1→2⟧, aDigest: ⟦OLD→""⟧, bDigest: ⟦OLD→""⟧}',
        'image: {repository: WEB, tag: v⟦1→2⟧, imageDigest: ⟦OLD→""⟧}',
        'image: {repository: WEB, tag: v⟦1→2⟧, sha256: ⟦HEX→""⟧}',
        'image: {repository: WEB, tag: v⟦1→2⟧, imageSha: ⟦HEX→""⟧}',
        'image: {repository: WEB, tag: v⟦1→2⟧, hash: ⟦OLD→""⟧}',
        '{imageRepository: WEB, imageTag: v⟦1→2⟧, digest: ⟦OLD→""⟧}',
        "{image: 'WEB:v⟦1→2⟧', digest: ⟦OLD→\"\"⟧}",
        "{image: 'WEB:v⟦1→2⟧', imageDigest: ⟦OLD→\"\"⟧}",
        "{image: 'WEB:v⟦1→2⟧', sha: ⟦HEX→\"\"⟧}",
        "{image: 'WEB:v⟦1→2⟧', apiImage: 'api:v1', apiDigest: OLD}",
        '{aImage: WEB, aTag: v⟦1→2⟧, aDigest: ⟦OLD→""⟧, bImage: b, bTag: v1, bDigest: OLD}',
        "{image: 'WEB:v⟦1→2⟧', sha: abc1234, hash: x}",
        '{repository: WEB, image: other/api, tag: v⟦1→2⟧, digest: ⟦OLD→""⟧}',
        "{repository: WEB, image: 'other/api:v1', tag: v⟦1→2⟧, digest: ⟦OLD→\"\"⟧}",
    ],
)
def test_a_stale_digest_under_any_key_is_not_kept(template: str, check: Check) -> None:
    check(template.replace("WEB", WEB).replace("OLD", OLD).replace("HEX", HEX), f"{WEB}=v2")


@pytest.mark.parametrize(
    "template",
    [
        "image: {repository: WEB, tag: v⟦1→2⟧, genericDigest: ⟦OLD→NEW⟧, useDigest: true}",
        "{image: 'WEB:v⟦1→2⟧', digest: ⟦OLD→NEW⟧}",
        "{image: 'WEB:v⟦1→2⟧', digest: '⟦→NEW⟧'}",
        'image: {repository: WEB, tag: v⟦1→2⟧, digest: ⟦OLD→NEW⟧, digestChroot: ⟦OLD→""⟧}',
        "image: {repository: WEB, tag: v⟦1→2⟧, sha256: ⟦HEX→SHORT⟧}",
        "{image: 'WEB:v⟦1@OLD→2@NEW⟧'}",
    ],
)
def test_a_new_digest_replaces_the_old_one(template: str, check: Check) -> None:
    text = template.replace("WEB", WEB).replace("OLD", OLD).replace("HEX", HEX)
    check(text.replace("NEW", NEW).replace("SHORT", NEW[7:]), f"{WEB}=v2@{NEW}")


@pytest.mark.parametrize(
    "text",
    [
        "image: {repository: WEB, tag: v1, genericDigest: OLD, useDigest: true}",
        "image: {repository: WEB, tag: v1, aDigest: OLD, bDigest: OLD, useDigest: true}",
        "image: {repository: WEB, tag: v1, pin: OLD}",
        "image: {repository: WEB, tag: v1, checksum: HEX}",
        "{image: 'WEB:v1', lock: OLD}",
        "image: {repository: WEB, tag: v1, digests: [OLD]}",
        "image: {repository: WEB, tag: v1, digests: {amd64: OLD, arm64: OLD}}",
        "{image: 'WEB:v1', imageDigests: {amd64: OLD}}",
    ],
)
def test_a_digest_that_cannot_be_assigned_to_the_image_is_refused(text: str) -> None:
    files = {"a.yaml": text.replace("WEB", WEB).replace("OLD", OLD).replace("HEX", HEX).encode()}
    with pytest.raises(RefusedError, match="would stay while its tag changes") as refusal:
        plan(files, [Update(WEB, "v2")])
    assert ("--digest" in refusal.value.hint) == ("useDigest" in text), "where it would help"
    assert not plan(files, [Update(WEB, "v1")]).contents, "its tag stays"


def test_a_new_digest_with_several_places_for_it_is_refused() -> None:
    text = f"image: {{repository: {WEB}, tag: v1, aDigest: {OLD}, bDigest: {OLD}, useDigest: true}}"
    with pytest.raises(RefusedError, match="would stay while its tag changes") as refusal:
        plan({"a.yaml": text.encode()}, [Update(WEB, "v2", NEW)])
    assert refusal.value.hint == "Empty that value first."


def test_a_list_or_mapping_of_something_else_than_digests_is_not_refused(check: Check) -> None:
    other = f"digestChecker: {{image: x, tag: v1, digest: {OLD}}}, args: [{OLD[7:]}], digests: []"
    check(f"{{image: '{WEB}:v⟦1→2⟧', {other}}}", f"{WEB}=v2")


def test_a_reference_that_loses_its_digest_causes_a_warning() -> None:
    result = plan({"a.yaml": f"image: {WEB}@{OLD}".encode()}, [Update(WEB, "v2")])
    assert result.contents["a.yaml"] == f"image: {WEB}:v2".encode()
    (note,) = result.notes
    assert note.startswith(f"a.yaml:1: {WEB} was pinned by its digest alone")
    assert not plan({"a.yaml": f"image: {WEB}@{OLD}".encode()}, [Update(WEB, "v2", NEW)]).notes


@pytest.mark.parametrize(
    ("key", "kind", "prefix"),
    [
        ("tag", "tag", ""),
        ("image_tag", "tag", ""),
        ("initImageTag", "tag", "init"),
        ("newTag", "tag", "new"),
        ("imageRegistry", "registry", ""),
        ("genericDigest", "digest", "generic"),
        ("useDigest", "flag", "use"),
        ("SHA256", "digest", ""),
        ("repository", "name", ""),
    ],
)
def test_a_key_identifies_the_image_and_its_part(key: str, kind: str, prefix: str) -> None:
    part = part_of(key)
    assert part is not None
    assert (part.kind, part.prefix) == (kind, prefix)


@pytest.mark.parametrize("key", ["hostname", "username", "pullPolicy", "stage", "tags", "x" * 70])
def test_other_keys_are_not_image_parts(key: str) -> None:
    assert part_of(key) is None
