"""What a bump changes: the wanted bytes, and no others."""

from collections.abc import Callable

import pytest

from cicd_common.errors import CommandError, RefusedError
from cmd_bump_image_tag import matching
from cmd_bump_image_tag.images import Update
from cmd_bump_image_tag.plan import Plan, plan_bump
from cmd_bump_image_tag.request import BumpRequest
from cmd_bump_image_tag.result import Change
from cmd_bump_image_tag.targets import Snapshot
from tests.unit.cmd_bump_image_tag.conftest import plan, texts

Check = Callable[..., Plan]

OLD = "sha256:" + "a" * 64
NEW = "sha256:" + "b" * 64

BYTES = {
    "line ends": "a: 1\r\nimage: web:⟦1→2⟧\r\nb: 2\r\n",
    "old line ends": "a: 1\rimage: web:⟦1→2⟧\rb: 2\r",
    "byte-order mark": "\ufeffimage: web:⟦1→2⟧\n",
    "two byte-order marks": "\ufeff\ufeffimage: web:⟦1→2⟧\n",
    "byte-order mark of each document": "\ufeffimage: web:⟦1→2⟧\n---\n\ufeffimage: web:⟦1→2⟧\n",
    "tab after a value": "image: web:⟦1→2⟧\t\nb: c\t# d\n",
    "no last newline": "image: web:⟦1→2⟧",
    "directives": "%YAML 1.2\n---\nimage: web:⟦1→2⟧\n...\n%TAG ! x:\n---\nimage: web:⟦1→2⟧\n...\n",
    "comments": "# image: web:1\nimage:   web:⟦1→2⟧   # web:1\n",
    "single quotes": "image: 'web:⟦1→2⟧'\n",
    "double quotes": 'image: "web:⟦1→2⟧"\n',
    "escapes in the name": r'image: "w\u0065\x62:⟦\x31→2⟧"' + "\n",
    "escaped line end in the name": 'image: "w\\\n  eb:⟦1→2⟧"\n',
    "escaped slash": r'image: "docker.io\/library\/web:⟦1→2⟧"' + "\n",
    "flow style": "{image: web:⟦1→2⟧, b: [c, {image: web:⟦1→2⟧}]}\n",
    "one-line JSON": '{"image":"web:⟦1→2⟧","a":{"image":"web:⟦1→2⟧"}}',
    "tabs in JSON": '{\n\t"image": "web:⟦1→2⟧"\n}\n',
    "anchor": "image: &web web:⟦1→2⟧\nother: {image: *web}\nenv: *web\n",
    "anchor and tag": "image: &web !!str web:⟦1→2⟧\nb: {image: ! web:⟦1→2⟧}\n",
    "anchor on a line of its own": "image: &web # why\n  web:⟦1→2⟧\n",
    "folded block": "image: >-\n  web:⟦1→2⟧\nb: c\n",
    "literal block": "image: |-\n  web:⟦1→2⟧\n\n# end\n",
    "block of text": "text: |\n  image: web:1\nimage: web:⟦1→2⟧\n",
    "complex key": "? [a, b]\n: image: web:⟦1→2⟧\n? image\n: web:⟦1→2⟧\n",
    "Unicode": "ключ: 😀\nimage: web:⟦1→2⟧ # ünï\nz: \u2028\n",
    "repeated key": "image: web:⟦1→2⟧\nimage: web:⟦1→2⟧\n",
    "alias in a circle": "a: &a\n  b: *a\n  <<: *a\n  image: web:⟦1→2⟧\n",
    "empty tag": "image: {repository: web, tag: ⟦→2.x⟧}\n",
    "empty tag and a comment": "image:\n  repository: web\n  tag:⟦→ 2.x⟧ # of the chart\n",
    "empty tag with an anchor": "image:\n  repository: web\n  tag: &tag⟦→ 2.x⟧\n",
}


@pytest.mark.parametrize("name", BYTES)
def test_every_byte_except_the_tag_is_kept(name: str, check: Check) -> None:
    check(BYTES[name], "web=2.x" if "2.x" in BYTES[name] else "web=2")


@pytest.mark.parametrize(
    ("template", "update"),
    [
        ("image: {repository: web, tag: ⟦1.0→1.1-rc⟧}", "web=1.1-rc"),
        ('image: {repository: web, tag: ⟦1.0→"1.1"⟧}', "web=1.1"),
        ('image: {repository: web, tag: ⟦v1→"1234e56"⟧}', "web=1234e56"),
        ('image: {repository: web, tag: ⟦v1→"2024-01-02"⟧}', "web=2024-01-02"),
        ('image: {repository: web, tag: ⟦v1→"0x1F"⟧}', "web=0x1F"),
        ('image: {repository: web, tag: ⟦v1→"0o17"⟧}', "web=0o17"),
        ('image: {repository: web, tag: ⟦v1→"017"⟧}', "web=017"),
        ('image: {repository: web, tag: ⟦v1→"1_000"⟧}', "web=1_000"),
        ('image: {repository: web, tag: ⟦v1→"on"⟧}', "web=on"),
        ('image: {repository: web, tag: ⟦v1→"null"⟧}', "web=null"),
        ("image: {repository: web, tag: ⟦v1→1.2.3⟧}", "web=1.2.3"),
        ("image: {repository: web, tag: ⟦v1→deadbeef⟧}", "web=deadbeef"),
        ("image: {repository: web, tag: '⟦1.0→1.1⟧'}", "web=1.1"),
        ('image: {repository: web, tag: !!str ⟦1.0→"1.1"⟧}', "web=1.1"),
        ('{"image": {"repository": "web", "tag": ⟦1→"v2"⟧}}', "web=v2"),
        ('{"image": {"repository": "web", "tag": ⟦null→"v2"⟧}}', "web=v2"),
        ('image: ⟦12:v→"12:30"⟧', "12=30"),
        ('image: {repository: web, tag: ⟦1.10→"1.10"⟧}', "web=1.10"),
    ],
)
def test_a_tag_that_yaml_would_not_read_as_a_string_is_quoted(
    template: str, update: str, check: Check
) -> None:
    check(template, update)


@pytest.mark.parametrize(
    ("template", "update"),
    [
        (f"image: web:⟦1@{OLD}→2⟧", "web=2"),
        (f"image: web:⟦1@{OLD}→2@{NEW}⟧", f"web=2@{NEW}"),
        (f"image: web⟦@{OLD}→:2⟧", "web=2"),
        (f"image: web⟦@{OLD}→@{NEW}⟧", f"web=@{NEW}"),
        (f"image: web:1⟦@{OLD}→@{NEW}⟧", f"web=@{NEW}"),
        (f"image: web:1@{OLD}", "web=1"),
        (f'image: {{repository: web, tag: v⟦1→2⟧, digest: ⟦{OLD}→""⟧}}', "web=v2"),
        (f"image: {{repository: web, tag: v1, digest: {OLD}}}", "web=v1"),
        (f"image: {{repository: web, tag: v⟦1→2⟧, digest: ⟦{OLD}→{NEW}⟧}}", f"web=v2@{NEW}"),
        (f"image: {{repository: web, tag: v1, digest: '⟦→{NEW}⟧'}}", f"web=@{NEW}"),
        (f"image: {{repository: web, tag: 1.0, digest: ⟦null→{NEW}⟧}}", f"web=@{NEW}"),
        ("image: {repository: web, tag: v⟦1→2⟧, digest: null}", "web=v2"),
        (f"image: {{repository: web, tag: v⟦1@{OLD}→2⟧}}", "web=v2"),
        (f"image: {{repository: web, tag: v⟦1→2@{NEW}⟧}}", f"web=v2@{NEW}"),
        (f"image: {{repository: web, tag: v1⟦@{OLD}→@{NEW}⟧}}", f"web=@{NEW}"),
        (f"image: {{repository: web, tag: v⟦1→2⟧, sha: '⟦{OLD[7:]}→⟧'}}", "web=v2"),
        (f"image: {{repository: web, tag: v⟦1→2⟧, sha: '⟦→{NEW[7:]}⟧'}}", f"web=v2@{NEW}"),
        (f'images: [{{name: web, newTag: v⟦1→2⟧, digest: ⟦{OLD}→""⟧}}]', "web=v2"),
        (f"images: [{{name: web, digest: ⟦{OLD}→{NEW}⟧}}]", f"web=v2@{NEW}"),
    ],
)
def test_a_stale_digest_is_removed_with_its_tag(template: str, update: str, check: Check) -> None:
    check(template, update, path="kustomization.yaml" if "images" in template else "app.yaml")


def test_a_kustomize_entry_with_only_a_digest_keeps_that_form(check: Check) -> None:
    template = f"images: [{{name: web, digest: {OLD}}}, {{name: web, newTag: v⟦1→2⟧}}]"
    result = check(template, "web=v2", path="kustomization.yaml")
    assert texts(result) == (
        "kustomization.yaml:1: Left alone: web is pinned by its digest alone; give --digest.",
    )


@pytest.mark.parametrize(
    ("ref", "why"),
    [
        ("{semver: 1.x}", "is set by a `semver` beside it"),
        ("{semver: 1.x, tag: v1}", "is set by a `semver` beside it"),
        ('{tag: "${VERSION}"}', "is filled in later: ${VERSION}"),
        ("{}", "has no tag here"),
    ],
)
def test_an_oci_repository_without_a_tag_to_set_is_reported(
    ref: str, why: str, check: Check
) -> None:
    template = (
        "apiVersion: source.toolkit.fluxcd.io/v1\nkind: OCIRepository\n"
        f"spec: {{url: 'oci://x.io/web', ref: {ref}}}\n"
        "---\nimage: x.io/web:v⟦1→2⟧\n"
    )
    result = check(template, "x.io/web=v2")
    assert texts(result) == (f"app.yaml:3: Left alone: x.io/web {why}.",)


def test_a_comment_freezes_its_line(check: Check) -> None:
    template = """\
image: web:1 # bump: ignore
a: {image: web:1}   # a mirror; bump:ignore
b: {image: web:⟦1→2⟧} # bump: ignored
c: {image: "web:⟦1→2⟧", note: "x # bump: ignore"}
d:
  repository: web # bump: ignore
  tag: v1
e:
  image: >- # bump: ignore
    web:1
text: |
  # bump: ignore
g: {image: web:⟦1→2⟧}
"""
    result = check(template, "web=2")
    assert [each.line for each in result.skipped] == [1, 2, 7, 10]


@pytest.mark.parametrize(
    "template",
    [
        "# bump: ignore\nf: {image: web:1}\ng: {image: web:⟦1→2⟧}\n",
        "# bump: ignore\n# as the owner asks\nf: {image: web:1}\ng: {image: web:⟦1→2⟧}\n",
        "# bump: ignore\n\nf: {image: web:⟦1→2⟧}\n",
        "a:\n  # bump: ignore\n  image: web:1\n  webImage: web:⟦1→2⟧\n",
        "image: # bump: ignore\n  repository: web\n  tag: v1\nb: {image: web:⟦1→2⟧}\n",
        "# bump: ignore\nimage:\n  repository: web\n  tag: v1\nb: {image: web:⟦1→2⟧}\n",
        "a: # bump: ignore\n- image: web:1\n- image: web:1\nb: {image: web:⟦1→2⟧}\n",
        "a:\n# bump: ignore\n- name: web\n  image: web:1\n- image: web:⟦1→2⟧\n",
        "a:\n- name: web # bump: ignore\n  image: web:⟦1→2⟧\n",
        "a: &a # bump: ignore\n  b: {image: web:1}\nc: {image: web:⟦1→2⟧}\nd: *a\n",
        "a: {image: web:⟦1→2⟧}\n# bump: ignore",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_comment_freezes_the_next_line_and_everything_under_its_key(
    template: str, end: str, check: Check
) -> None:
    check(template.replace("\n", end), "web=2")


def test_a_run_with_all_places_frozen_succeeds(check: Check) -> None:
    assert not check("image: web:1 # bump: ignore\n", "web=2").up_to_date


@pytest.mark.parametrize(
    "template",
    [
        "a: &t v⟦1→2⟧\nimage: {repository: web, tag: *t}\nb: {image: {repository: web, tag: *t}}",
        "x: &img {repository: web, tag: v⟦1→2⟧}\na: {image: *img}\nb: {image: {<<: *img, x: y}}",
        "x: &tag {tag: v⟦1→2⟧}\na: {image: {<<: *tag, repository: web}}",
        "x: [&tag {tag: v⟦1→2⟧}, &a {b: c}]\na: {image: {<<: [*a, *tag], repository: web}}",
        "x: &img {repository: web, tag: v⟦1→2⟧}\na: {image: {<<: *img, tag: v⟦0→2⟧}}",
        "x: &img {repository: web, tag: v⟦1→2⟧}\na: {image: {<<: *img, repository: api, tag: v3}}",
    ],
)
def test_an_anchor_that_only_this_image_uses_is_edited(template: str, check: Check) -> None:
    check(template, "web=v2")


def test_many_images_are_updated_in_one_run(check: Check) -> None:
    template = "a: {image: web:⟦1→2⟧}\nb: {image: x.io/db:⟦1→3⟧}\n"
    result = check(template, "web=2", "x.io/db=3")
    assert result.changes == (
        Change("app.yaml", 1, "web:1", "web:2", "web"),
        Change("app.yaml", 2, "x.io/db:1", "x.io/db:3", "x.io/db"),
    )


def test_two_images_that_share_an_anchor_can_be_updated_together(check: Check) -> None:
    template = """\
tag: &tag v⟦1→2⟧
a: {repository: web, tag: *tag}
b: {repository: api, tag: *tag}
"""
    check(template, "web=v2", "api=v2")


def test_the_result_names_the_places_that_already_have_the_value(check: Check) -> None:
    result = check("a: {image: web:2}\n\nb: {image: web:⟦1→2⟧}\n", "web=2")
    assert result.up_to_date == ("app.yaml:1",)
    assert [change.line for change in result.changes] == [3]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        *(("1.2.3", "1.2.4"), ("v1.2.3", "1.3.0"), ("latest", "1.0.0"), ("1.10.0", "main")),
        *(("9", "1"), ("1.9", "1.10"), ("1.9.3", "1.9"), ("1.9", "1.9.0")),
        *(("v1.4.0-9-gabc1234", "v1.4.0-10-gdef5678"), ("v1.4.0", "v1.4.0-1-gabc1234")),
        *(("16.1.0-debian-11-r9", "16.1.0-debian-11-r10"), ("1.4.0-rc9", "1.4.0-rc10")),
        *(("1.25.3", "1.25.3-alpine"), ("1.25.3-alpine", "1.25.3"), ("2.0.0", "2.0.0-ubi9")),
        *(("7.4.2-bookworm", "7.4.2-alpine"), ("1.4.0-SNAPSHOT", "1.4.0-9")),
        *(("1.0.0", "1.0.0-rc.1"), ("1.0.0-rc.1", "1.0.0-alpha.2"), ("1.0.0-rc.1", "1.0.0-rc.1.2")),
        *(("1.9.0-rc.2", "1.9-rc.1"), ("20240102", "20231231")),
        *(("1.2.3.4", "1.2.3.3"), ("x1.2.3", "x1.2.2")),
    ],
)
def test_a_higher_version_or_another_kind_of_tag_is_set(old: str, new: str, check: Check) -> None:
    check(f"image: {{repository: web, tag: '⟦{old}→{new}⟧'}}", f"web={new}")


def test_a_downgrade_can_be_allowed(check: Check) -> None:
    check("image: web:⟦1.2.3→1.2.2⟧", "web=1.2.2", allow_downgrade=True)


def test_files_without_the_image_are_not_read() -> None:
    result = plan({"a.yaml": b"\xff[", "b.yaml": b"image: web:1\n"}, [Update("web", "2")])
    assert result.contents == {"b.yaml": b"image: web:2\n"}
    assert not result.skipped


def test_a_scan_skips_files_that_are_not_yaml_with_a_warning() -> None:
    files = {"a.yaml": b"image: web:1\n", "b.yaml": b"{{ if x }}\nimage: web:1\n"}
    result = plan(files, [Update("web", "2")])
    assert list(result.contents) == ["a.yaml"]
    warning, leftover = texts(result)
    assert warning.startswith("b.yaml:2: Skipped")
    assert leftover == "b.yaml:2: Left behind: web:1, in a file that is not YAML."


def test_a_name_written_with_yaml_escapes_is_found() -> None:
    result = plan({"a.yaml": rb'image: "\x77eb:1"'}, [Update("web", "2")])
    assert result.contents == {"a.yaml": rb'image: "\x77eb:2"'}


@pytest.mark.parametrize(
    ("template", "update"),
    [
        ("image: $CI_REGISTRY/shop/web:⟦v1→v2⟧", "$CI_REGISTRY/shop/web=v2"),
        ("image: ${CI_REGISTRY}/shop/web:⟦v1→v2⟧", "$CI_REGISTRY/shop/web=v2"),
        ("image: $CI_REGISTRY/shop/web:⟦v1→v2⟧", "${CI_REGISTRY}/shop/web=v2"),
        ("image: ${PROXY}/node:⟦18→20⟧", "$PROXY/node=20"),
        ('image: "{{ registry }}/web:⟦v1→v2⟧"', "{{registry}}/web=v2"),
        ("image: $[[ inputs.registry ]]/web:⟦v1→v2⟧", "$[[ inputs.registry ]]/web=v2"),
        ("image: {repository: $REG/web, tag: ⟦v1→v2⟧}", "$REG/web=v2"),
        ("image: {registry: $REG, repository: web, tag: ⟦v1→v2⟧}", "$REG/web=v2"),
        ("image: $WEB_IMAGE:⟦v1→v2⟧", "$WEB_IMAGE=v2"),
    ],
)
def test_a_name_can_contain_variables_as_in_the_files(
    template: str, update: str, check: Check
) -> None:
    check(template, update)


@pytest.mark.parametrize(
    "text",
    ["image: $OTHER/shop/web:v1", "image: $CI_REGISTRY/shop/web:$TAG", "image: x.io/shop/web:v1"],
)
def test_a_name_with_another_variable_does_not_match(text: str) -> None:
    with pytest.raises(CommandError):
        plan({"a.yaml": text.encode()}, [Update("$CI_REGISTRY/shop/web", "v2")])


def test_the_same_version_can_be_pinned(check: Check) -> None:
    check(f"image: web:1.0.0⟦→@{NEW}⟧", f"web=1.0.0@{NEW}")


def test_an_image_with_markers_is_matched_once(check: Check) -> None:
    check(
        'repository: web # {"$imagepolicy": "f:web:name"}\n'
        f'tag: "⟦1.0→2.0@{NEW}⟧" # {{"$imagepolicy": "f:web:tag"}}\n',
        f"web=2.0@{NEW}",
    )


def test_a_file_that_is_too_large_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "LARGEST_FILE", 20)
    files = {"a.yaml": b"image: web:1\n", "b.yaml": b"image: web:1\n#" + b"x" * 20}
    result = plan(files, [Update("web", "2")])
    assert list(result.contents) == ["a.yaml"]
    assert "larger than" in texts(result)[0]
    with pytest.raises(RefusedError, match=r"b\.yaml is not YAML"):
        plan(files, [Update("web", "2")], named=["b.yaml"])


def test_a_folder_that_cannot_be_read_is_skipped_and_named() -> None:
    files, request = {"a.yaml": b"image: web:1\n"}, BumpRequest(image=("web=2",))
    result = plan_bump(Snapshot(files, frozenset(), {}, {"data/": "Permission denied"}), request)
    assert result.changes
    [skipped] = result.skipped
    assert (skipped.path, skipped.line) == ("data/", 1)
    assert "Permission denied" in skipped.why


@pytest.mark.parametrize(("exclude", "is_reported"), [((), True), (("da*",), False)])
def test_a_folder_that_cannot_be_read_is_reported_unless_it_is_excluded(
    exclude: tuple[str, ...], *, is_reported: bool
) -> None:
    unreadable = {"data/": "Permission denied"}
    snapshot = Snapshot({"a.yaml": b"image: web:1"}, frozenset(), {}, unreadable)
    result = plan_bump(snapshot, BumpRequest(image=("web=2",), exclude=exclude))
    assert any("data/:1: Skipped" in text for text in texts(result)) == is_reported
