"""Fields that no format knows: Flux's markers, and `--path`."""

from collections.abc import Callable

import pytest

from cicd_common.errors import CommandError, NotFoundError, RefusedError, UsageError
from cmd_bump_image_tag.images import Update
from cmd_bump_image_tag.plan import Plan
from cmd_bump_image_tag.yaml_text.keypaths import KeyPath
from tests.unit.cmd_bump_image_tag.conftest import plan, sides, texts

Check = Callable[..., Plan]

OLD = "sha256:" + "a" * 64
NEW = "sha256:" + "b" * 64


def mark(policy: str) -> str:
    return f'# {{"$imagepolicy": "{policy}"}}'


def test_fields_with_a_policy_marker_get_the_tag_of_its_image(check: Check) -> None:
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


def test_one_name_field_connects_a_policy_to_its_image(check: Check) -> None:
    check(
        f"a: docker.io/web {mark('flux:web:name')}\nb: v⟦1→2⟧ {mark('flux:web:tag')}\n"
        f"c: ⟦{OLD}→{NEW}⟧ {mark('flux:web:digest')}\n",
        f"web=v2@{NEW}",
    )


def test_a_policy_applies_in_every_file_of_the_run() -> None:
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


def test_a_mirror_with_a_marker_is_updated_and_loses_its_stale_digest(check: Check) -> None:
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


def test_a_field_with_a_marker_can_be_frozen(check: Check) -> None:
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
def test_a_comment_that_is_not_a_marker_of_one_value_changes_nothing(
    line: str, check: Check
) -> None:
    check(f"image: web:⟦v1→v2⟧ {mark('flux:web')}\n{line}\n", "web=v2")


@pytest.mark.parametrize(
    "line",
    [
        "APP_VERSION=1.9.0 {tag}",
        "--version=v1 {tag}",
        "long text here {tag}",
        "web:v1 {tag}",
        "--dig=x {digest}",
        "v1 {digest}",
        "other:v1 {reference}",
    ],
)
def test_a_marked_value_of_another_form_is_not_changed(line: str, check: Check) -> None:
    marks = {part: mark(f"flux:web:{part}") for part in ("tag", "digest")}
    value = line.format(reference=mark("flux:web"), **marks)
    result = check(f"image: web:⟦v1→v2⟧ {mark('flux:web')}\nlist:\n- {value}\n", "web=v2")
    (warning,) = texts(result)
    assert warning.startswith("app.yaml:3: Left alone: web has a marker")
    assert f"which is not its {line.rpartition('{')[2].rstrip('}')}" in warning


def test_an_update_that_leaves_a_separate_stale_digest_is_refused() -> None:
    text = f"image: web:v1 {mark('f:web')}\nd: {OLD} {mark('f:web:digest')}\n".encode()
    with pytest.raises(RefusedError, match="would stay while its tag changes"):
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
        ("image: web⟦→:v2⟧", "image", "web=v2"),
    ],
)
def test_a_path_edits_its_key_in_addition_to_the_image_fields(
    template: str, path: str, update: str, check: Check
) -> None:
    check(template, update, paths=[path])


POD = """\
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - name: sidecar
    env: [{name: IMAGE, value: api:1}]
  - name: web
    env: [{name: IMAGE, value: 'web:⟦1→2⟧'}]
"""


@pytest.mark.parametrize(
    ("template", "path"),
    [
        (POD, "spec.containers[name=web].env[name=IMAGE].value"),
        (POD, "spec.containers[1].env[0].value"),
        ('a: v1\n---\na: ⟦v1→"2"⟧\n---\na: v1\n', "[1]:a"),
        (
            f"kind: Job\nmetadata: {{name: web}}\nspec: v1\n---\n{POD}",
            "Pod/web:spec.containers[1].env[0].value",
        ),
        ('values: |\n  image:\n    tag: ⟦v1→"2"⟧ # x\n  b: c\nd: e\n', "values:image.tag"),
        ('values: |\r\n  image:\r\n    tag: ⟦v1→"2"⟧\r\n', "values:image.tag"),
        ("a:\n  values: |2-\n     image: web:⟦1→2⟧", "a.values:image"),
        ('values: "image:\\n  tag: v⟦1→2⟧\\n  b: c\\n"\n', "values:image.tag"),
        ('values: \'{"image": {"tag": "v⟦1→2⟧"}}\'\n', "values:image.tag"),
        ("a: |\n  b: |\n    image: web:⟦1→2⟧\n", "a:b:image"),
        ("data:\n  values.yaml: |\n    image: web:⟦1→2⟧\n", "data.values\\.yaml:image"),
        ("a: web:⟦1→2⟧\n---\na: hello there\n", "a"),
    ],
)
def test_a_path_selects_items_documents_and_yaml_in_strings(
    template: str, path: str, check: Check
) -> None:
    check(template, "web=v2" if "v⟦" in template else "web=2", paths=[path])


def test_two_values_change_in_the_yaml_of_one_string() -> None:
    old = b"values: |\n  a:\n    tag: v1\n\n  b: v1\n"
    result = plan({"a.yaml": old}, [Update("web", "v2")], paths=["values:a.tag", "values:b"])
    assert result.contents["a.yaml"] == old.replace(b"v1", b"v2")
    assert [change.line for change in result.changes] == [3, 5]


@pytest.mark.parametrize("text", ["a: >\n  image:\n\n  b", "a: 'image: v1\n\n  b: c'", "a: [b"])
def test_yaml_in_a_string_that_cannot_be_edited_is_refused(text: str) -> None:
    with pytest.raises(CommandError):
        plan({"a.yaml": text.encode()}, [Update("web", "v2")], paths=["a:image"])


def test_a_path_that_matches_two_items_is_not_found() -> None:
    text = b"a: [{name: web, b: v1}, {name: web, b: v1}]"
    with pytest.raises(NotFoundError):
        plan({"a.yaml": text}, [Update("web", "v2")], paths=["a[name=web].b"])


@pytest.mark.parametrize(
    ("template", "path", "tag"),
    [
        ("appVersion: ⟦1.2.3→1.2.4⟧\nversion: 1.2.3\n", "appVersion", "1.2.4"),
        ("mod:\n  image: ⟦1.0.0→1.0.1⟧\n", "mod.image", "1.0.1"),
        ("spec: {image: 'web:⟦1→2⟧'}", "spec.image", "2"),
        ("note: web:⟦1→2⟧", "note", "2"),
        (f'image: {{repository: api, tag: v⟦1→2⟧, digest: ⟦{OLD}→""⟧}}', "image.tag", "v2"),
        ("include: [{project: a/b, ref: ⟦v1→v2⟧}]", "include[0].ref", "v2"),
        ('{"dependencies": {"web": "⟦^1.2.3→1.2.4⟧"}}', "dependencies.web", "1.2.4"),
    ],
)
def test_without_an_image_a_path_sets_its_value(template: str, path: str, tag: str) -> None:
    old, new = sides(template)
    result = plan({"a.yaml": old}, [], paths=[path], tag=tag)
    assert result.contents["a.yaml"] == new
    assert not plan({"a.yaml": new}, [], paths=[path], tag=tag).contents


@pytest.mark.parametrize(
    "other",
    [
        "image: web:1.0.0",
        "image: api:1.0.0",
        "image: web:$TAG",
        "{repository: web, tag: 1.0.0}",
        f"{{repository: web, digest: {OLD}}}",
    ],
)
def test_without_an_image_a_path_sets_no_other_value(other: str) -> None:
    old, new = sides(f"a: {{image: 'web:⟦1.0.0→2.0.0⟧'}}\nb:\n  {other}\n")
    assert plan({"a.yaml": old}, [], paths=["a.image"], tag="2.0.0").contents == {"a.yaml": new}


@pytest.mark.parametrize(
    ("text", "path", "images"),
    [
        (f"a: 1.0.0\n---\na: {OLD}", "a", []),
        (f"a: 1.0.0\n---\na: {OLD}", "a", [Update("web", "2.0.0")]),
        (f"a: {{repository: web, digest: {OLD}}}\n---\na: {{digest: 1.0.0}}", "a.digest", []),
    ],
)
def test_a_path_to_a_tag_here_and_a_digest_there_is_refused(
    text: str, path: str, images: list[Update]
) -> None:
    tag = None if images else "2.0.0"
    with pytest.raises(RefusedError, match="would stay while its tag changes"):
        plan({"a.yaml": text.encode()}, images, paths=[path], tag=tag)


@pytest.mark.parametrize("paths", [["a"], []], ids=["path", "marker"])
def test_a_reference_that_is_filled_in_later_is_left_alone_beside_others(paths: list[str]) -> None:
    tied = "" if paths else f" {mark('flux:web')}"
    old, new = sides(f"image: web:⟦v1→v2⟧{tied}\na: web:$TAG{tied}\n")
    result = plan({"a.yaml": old}, [Update("web", "v2")], paths=paths)
    assert result.contents == {"a.yaml": new}
    assert texts(result) == ("a.yaml:2: Left alone: web is filled in later: web:$TAG.",)


@pytest.mark.parametrize("text", ["a: two words", "a: ${TAG}", f"a: {OLD}", "a: 2.0.0"])
def test_without_an_image_a_value_that_is_not_a_version_is_refused(text: str) -> None:
    with pytest.raises(RefusedError):
        plan({"a.yaml": text.encode()}, [], paths=["a"], tag="1.0.0")


def test_without_an_image_a_value_that_is_filled_in_later_is_refused() -> None:
    for text, path in (("a: {image: 'web:$TAG'}", "a.image"), ("{image: web, tag: $TAG}", "tag")):
        with pytest.raises(RefusedError):
            plan({"a.yaml": text.encode()}, [], paths=[path], tag="1.0.0")


def test_a_bare_tag_below_image_is_set_by_its_path(check: Check) -> None:
    check("mod:\n  image: ⟦1.0.0→1.0.1⟧\n", "mod=1.0.1", paths=["mod.image"])


@pytest.mark.parametrize(
    "path",
    [
        "image.tog",
        "image.tag.x",
        "image[0]",
        "images[1].tag",
        "images[name=api].tag",
        "images.name.tag",
        "[1]:image.tag",
        "Pod/web:image.tag",
        "image.tag:x",
    ],
)
def test_a_path_without_a_matching_key_is_not_found(path: str) -> None:
    text = b"image: {tag: v1, x: y, name: z}\nimages: [{name: web, tag: v1}]\n"
    with pytest.raises(NotFoundError, match="No file has the key") as caught:
        plan({"a.yaml": text}, [Update("web", "v2")], paths=[path])
    assert path in caught.value.message


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


@pytest.mark.parametrize(
    "text", ["", "a.", "a..b", "a[x]", "a[", "a[1", "a\\", "[1]a", "a:", ":a", "a[=b]"]
)
def test_an_invalid_path_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        KeyPath.parse(text)


def test_a_path_selects_the_last_of_repeated_keys() -> None:
    result = plan({"a.yaml": b"a: v1\na: v1\n"}, [Update("web", "v2")], paths=["a"])
    assert result.contents["a.yaml"] == b"a: v1\na: v2\n"


def test_without_an_image_a_value_that_two_images_share_is_refused() -> None:
    text = b"x: &t v1\na: {repository: web, tag: *t}\nb: {repository: api, tag: *t}\n"
    with pytest.raises(RefusedError, match="belongs to more than one image"):
        plan({"a.yaml": text}, [], paths=["a.tag"], tag="v2")


def test_a_path_to_a_reference_that_is_filled_in_later_is_refused() -> None:
    with pytest.raises(RefusedError, match="cannot be set"):
        plan({"a.yaml": b"a: web:${TAG}"}, [Update("web", "v2")], paths=["a"])


def test_a_path_sets_a_reference_with_a_variable_in_its_name(check: Check) -> None:
    check("a: $REG/web:⟦v1→v2⟧", "$REG/web=v2", paths=["a"])


def test_a_path_in_a_frozen_string_is_not_changed(check: Check) -> None:
    template = "image: web:⟦v1→v2⟧\nvalues: | # bump: ignore\n  tag: v1\n"
    result = check(template, "web=v2", paths=["values:tag"])
    assert texts(result) == ("app.yaml:3: Left alone, as '# bump: ignore' asks.",)


def test_a_path_selects_the_first_of_several_documents_in_a_string(check: Check) -> None:
    check("a: |\n  b: ⟦v1→v2⟧\n  ---\n  b: v1\n", "web=v2", paths=["a:b"])


def test_an_image_gets_its_own_update_with_any_marker_on_its_tag() -> None:
    text = f"a: web:v1 {mark('f:web')}\nb:\n  repository: api\n  tag: v1 {mark('f:web:tag')}\n"
    result = plan({"a.yaml": text.encode()}, [Update("web", "v2"), Update("api", "v3")])
    assert f"tag: v3 {mark('f:web:tag')}".encode() in result.contents["a.yaml"]
