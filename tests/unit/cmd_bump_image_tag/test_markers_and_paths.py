"""Fields that no format knows: Flux's markers, and `--path`."""

from collections.abc import Callable

import pytest

from cicd_common.errors import NotFoundError, RefusedError, UsageError
from cmd_bump_image_tag.images import Update
from cmd_bump_image_tag.plan import Plan
from cmd_bump_image_tag.yaml_text.keypaths import KeyPath
from tests.unit.cmd_bump_image_tag.conftest import plan

Check = Callable[..., Plan]

OLD = "sha256:" + "a" * 64
NEW = "sha256:" + "b" * 64


def mark(policy: str) -> str:
    return f'# {{"$imagepolicy": "{policy}"}}'


def test_fields_that_follow_a_policy_follow_its_image(check: Check) -> None:
    check(
        f"""\
apiVersion: v1
kind: ConfigMap
metadata:
  labels:
    version: "⟦1.0→2.0⟧" {mark("flux:web:tag")}
data:
  image: web:⟦1.0→2.0⟧ {mark("flux:web")}
  name: web {mark("flux:web:name")}
  tag: ⟦1.0→"2.0"⟧ {mark("flux:web:tag")}
  other: 1.0 {mark("flux:other:tag")}
  words: web:1.0
""",
        "web=2.0",
    )


def test_a_name_alone_ties_its_policy(check: Check) -> None:
    check(
        f"a: docker.io/web {mark('flux:web:name')}\nb: v⟦1→2⟧ {mark('flux:web:tag')}\n"
        f"c: ⟦{OLD}→{NEW}⟧ {mark('flux:web:digest')}\n",
        f"web=v2@{NEW}",
    )


def test_a_policy_is_followed_in_every_file_of_the_run() -> None:
    files = {
        "a.yaml": f"version: v1 {mark('flux:web:tag')}\n".encode(),
        "b.yaml": f"image: web:1 {mark('flux:web')}\n".encode(),
        "c.yaml": f"version: v1 {mark('other:web:tag')}\n".encode(),
    }
    result = plan(files, [Update("web", "v2")])
    assert result.contents == {
        "a.yaml": f"version: v2 {mark('flux:web:tag')}\n".encode(),
        "b.yaml": f"image: web:v2 {mark('flux:web')}\n".encode(),
    }


def test_a_mirror_follows_by_its_marker_and_loses_its_stale_digest(check: Check) -> None:
    check(
        f"""\
a: {{image: web:⟦v1→v2⟧}} {mark("flux:other")}
b:
  image: web:⟦v1→v2⟧ {mark("flux:web")}
mirror:
  repository: mirror.example.com/web
  tag: ⟦v1→v2⟧ {mark("flux:web:tag")}
  digest: ⟦{OLD}→""⟧
""",
        "web=v2",
    )


def test_a_marked_field_may_be_frozen(check: Check) -> None:
    template = f"""\
image: web:⟦v1→v2⟧ {mark("flux:web")}
a: v1 {mark("flux:web:tag")} # bump: ignore
"""
    check(template, "web=v2")


@pytest.mark.parametrize(
    "line",
    [
        f"text: | {mark('flux:web:tag')}\n  v1",
        f"# {mark('flux:web:tag')}\na: v1",
        f"a: 'v1 {mark('flux:web:tag')}'",
        f"a: # nothing to see\n  v1\n{mark('flux:web:tag')}",
        f"t: &t v1\na: *t {mark('flux:web:tag')}",
        "a: v1 # $imagepolicy",
        'a: v1 # {"$imagepolicy": "flux"}',
        'a: v1 # {"$imagepolicy": "flux:web:size"}',
    ],
)
def test_what_is_no_marker_of_a_single_value_changes_nothing(line: str, check: Check) -> None:
    text = f"image: web:⟦v1→v2⟧ {mark('flux:web')}\n{line}\n"
    if line.startswith("text"):
        with pytest.raises(RefusedError, match=r"app.yaml:3"):
            check(text, "web=v2")
    else:
        check(text, "web=v2")


def test_a_digest_elsewhere_is_not_left_behind_its_tag() -> None:
    text = f"image: web:v1 {mark('f:web')}\nd: {OLD} {mark('f:web:digest')}\n".encode()
    with pytest.raises(RefusedError, match="would outlive its tag"):
        plan({"a.yaml": text}, [Update("web", "v2")])
    assert not plan({"a.yaml": text}, [Update("web", "v1")]).contents
    assert NEW.encode() in plan({"a.yaml": text}, [Update("web", "v2", NEW)]).contents["a.yaml"]


def test_a_policy_of_two_images_is_refused() -> None:
    text = f"a: web:1 {mark('f:web')}\nb: api:1 {mark('f:web')}\n".encode()
    with pytest.raises(RefusedError, match="tied to two images"):
        plan({"a.yaml": text}, [Update("web", "v2"), Update("api", "v2")])


@pytest.mark.parametrize(
    ("template", "path", "update"),
    [
        ("spec: {values: {image: {tag: ⟦1.0→v2⟧}}}", "spec.values.image.tag", "web=v2"),
        ("a: [{b: x}, {b: ⟦v1→v2⟧}]", "a[1].b", "web=v2"),
        ("a: [{b: x}, {b: ⟦v1→v2⟧}]", "a.1.b", "web=v2"),
        ("a: {b: ⟦v1→v2⟧}", ".a.b", "web=v2"),
        ("[a, ⟦v1→v2⟧]", "[1]", "web=v2"),
        ("a.b: {1: ⟦v1→v2⟧}", r"a\.b.1", "web=v2"),
        ("a: web:⟦v1→v2⟧", "a", "web=v2"),
        ("a: web⟦→:v2⟧", "a", "web=v2"),
        (f"a: v⟦1@{OLD}→2⟧", "a", "web=v2"),
        (f"a: v⟦1@{OLD}→2@{NEW}⟧", "a", f"web=v2@{NEW}"),
        (f"a: ⟦{OLD}→{NEW}⟧", "a", f"web=v2@{NEW}"),
        ("a:⟦→ v2⟧", "a", "web=v2"),
        ("a: ⟦v1→v2⟧\n---\na: ⟦v0→v2⟧\n---\nb: v1", "a", "web=v2"),
        ("image: web:⟦v1→v2⟧", "image", "web=v2"),
    ],
)
def test_a_path_edits_its_key_as_well(template: str, path: str, update: str, check: Check) -> None:
    check(template, update, paths=[path])


def test_a_path_that_leads_nowhere_is_not_found() -> None:
    with pytest.raises(NotFoundError, match=r"image\.tog"):
        plan({"a.yaml": b"image: {tag: v1}"}, [Update("web", "v2")], paths=["image.tog"])


@pytest.mark.parametrize("text", ["a: {b: c}", "a: api:1", "a: x y", "a: ${TAG}", f"a: {OLD}"])
def test_a_path_to_something_else_is_refused(text: str) -> None:
    with pytest.raises(RefusedError):
        plan({"a.yaml": text.encode()}, [Update("web", "v2")], paths=["a"])


def test_a_path_to_another_images_tag_is_refused() -> None:
    with pytest.raises(RefusedError, match="belongs to more than one image"):
        plan({"a.yaml": b"a: {repository: api, tag: v1}"}, [Update("web", "v2")], paths=["a.tag"])


def test_a_bare_tag_and_several_images_are_a_usage_error() -> None:
    files = {"a.yaml": b"a: v1"}
    with pytest.raises(UsageError):
        plan(files, [Update("web", "v2"), Update("api", "v2")], paths=["a"])


def test_in_a_scan_a_path_of_several_files_is_refused() -> None:
    files = {"a.yaml": b"image: {tag: v1}", "b.yaml": b"image: {tag: v1}"}
    with pytest.raises(RefusedError, match="2 files"):
        plan(files, [Update("web", "v2")], paths=["image.tag"], chosen=False)
    assert len(plan(files, [Update("web", "v2")], paths=["image.tag"]).contents) == 2


@pytest.mark.parametrize("text", ["", "a.", "a..b", "a[x]", "a[", "a[1", "a\\", "[1]a"])
def test_what_is_no_path_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        KeyPath.parse(text)
