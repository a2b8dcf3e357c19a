"""What a bump will not do, and what it says instead."""

from collections.abc import Mapping
from typing import Any

import pytest

from cicd_common.errors import CommandError, NotFoundError, RefusedError, UsageError
from cmd_bump_image_tag.images import Update
from tests.unit.cmd_bump_image_tag.conftest import plan

OLD = "sha256:" + "a" * 64


def failure(files: Mapping[str, str | bytes], *updates: str, **options: Any) -> CommandError:
    contents = {p: d.encode() if isinstance(d, str) else d for p, d in files.items()}
    with pytest.raises(CommandError) as caught:
        plan(contents, [Update.parse(update) for update in updates], **options)
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        "a: {repository: web, tag: &t v1}\nb: {repository: other, tag: *t}",
        "x: &t v1\na: {repository: web, tag: *t}\nb: {repository: other, tag: *t}",
        "a: &a {repository: web, tag: v1}\nb: {<<: *a, repository: other}",
        "a: &a {repository: web, tag: v1}\nb: {<<: [{c: d}, *a], repository: other}",
        "a: {repository: web, tag: &t v1}\nb:\n  repository: web\n  tag: *t # bump: ignore",
    ],
)
def test_an_anchor_that_another_image_shares_is_refused(text: str) -> None:
    error = failure({"app.yaml": text}, "web=v2")
    assert isinstance(error, RefusedError)
    assert str(error).startswith("app.yaml:1: ")
    assert "shared" in error.why


def test_two_images_that_share_an_anchor_cannot_get_different_tags() -> None:
    text = "t: &t v1\na: {repository: web, tag: *t}\nb: {repository: api, tag: *t}"
    assert isinstance(failure({"app.yaml": text}, "web=v2", "api=v3"), RefusedError)


@pytest.mark.parametrize(
    "text",
    [
        "image: {repository: web, tag: !!float 1.0}",
        "image: !Join web:1",
        "repository: web\ntag: |\n  v1\n  v2\n",
        "{image: {repository: web, tag}}",
        'image: {repository: web, tag: "1\\\n  .0"}',
        "image:\n  repository: web\n  tag: a\n    b",
    ],
)
def test_a_value_that_cannot_be_edited_safely_is_refused_and_named(text: str) -> None:
    error = failure({"app.yaml": text}, "web=v2")
    assert isinstance(error, RefusedError)
    assert str(error).startswith("app.yaml")
    assert error.why


def test_nothing_is_written_if_one_place_is_refused() -> None:
    files = {"a.yaml": "image: web:1", "b.yaml": "image: !Join web:1"}
    assert isinstance(failure(files, "web=2"), RefusedError)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        *(("1.2.3", "1.2.2"), ("v1.10.0", "1.9.0"), ("2.0.0-rc.2", "v1.0.0"), ("1.9.0", "1.8")),
        *(
            ("1.9.3", "1.8"),
            ("v1.4.0-9-gabc1234", "v1.3.9-10-gdef5678"),
            ("1.25.3-alpine", "1.24.9"),
        ),
        *(
            ("1.0.0-rc.2", "1.0.0-rc.1"),
            ("1.4.0-rc10", "1.4.0-rc9"),
            ("2.0.0-beta.1.2", "2.0.0-beta.1.1"),
        ),
    ],
)
@pytest.mark.parametrize(
    "text",
    [
        "image: web:{}",
        f"image: web:{{}}@{OLD}",
        "image:\n  repository: web\n  tag: {}",
        "image: web:0\nx: {} # {{'imagepolicy'",
    ],
)
def test_a_downgrade_to_a_lower_version_is_refused(text: str, old: str, new: str) -> None:
    if "imagepolicy" in text:
        mark = '# {"$imagepolicy": "ns:web'
        text = f'image: web:0 {mark}"}}\nx: {old} {mark}:tag"}}'
    else:
        text = text.format(old)
    error = failure({"app.yaml": text}, f"web={new}")
    assert isinstance(error, RefusedError)
    assert old in str(error)
    assert "--allow-downgrade" in error.hint


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("image: web-admin:1", ["web-admin"]),
        ("image: registry.example.com/group/web:1", ["registry.example.com/group/web"]),
        ("image: {repository: wob, tag: v1}", ["wob"]),
        ("a: b", []),
    ],
)
def test_the_error_for_no_match_suggests_similar_images(text: str, names: list[str]) -> None:
    error = failure({"app.yaml": text}, "web=2")
    assert isinstance(error, NotFoundError)
    assert "web" in str(error)
    assert all(name in error.why for name in names)
    assert ("The nearest" in error.why) == bool(names)


def test_the_error_for_no_match_names_the_files_that_could_not_be_read() -> None:
    error = failure({"app.yaml": "image: [web:1"}, "web=2")
    assert isinstance(error, NotFoundError)
    assert "app.yaml:2: Skipped" in error.why


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("image: web:1".encode("utf-16"), "is not UTF-8"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:a\n", "Git LFS"),
    ],
)
def test_the_error_for_no_match_names_an_unreadable_file_with_any_content(
    data: bytes, why: str
) -> None:
    error = failure({"app.yaml": data}, "web=2")
    assert isinstance(error, NotFoundError)
    assert why in error.why


def test_every_image_must_match_at_least_one_place() -> None:
    error = failure({"app.yaml": "image: web:1"}, "web=2", "api=2")
    assert isinstance(error, NotFoundError)
    assert "api" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "image: web:${TAG}",
        "image: {repository: web}",
        f"image: {{repository: web, digest: {OLD}}}",
    ],
)
def test_a_match_without_a_place_for_the_tag_is_refused(text: str) -> None:
    error = failure({"app.yaml": text}, "web=v2")
    assert isinstance(error, RefusedError)
    assert "app.yaml:1" in error.why


def test_a_name_with_a_variable_is_shown_as_in_the_file() -> None:
    error = failure({"app.yaml": "image: $REGISTRY/nginx:v1"}, "nginx=v2")
    assert "${REGISTRY}/nginx" in error.why
    assert error.hint == "Name the image as the file does: --image '${REGISTRY}/nginx'."
    assert "0variable" not in f"{error.message}{error.why}{error.hint}"


def test_a_path_to_the_same_name_in_another_registry_is_refused() -> None:
    text = "a: {image: 'a.example.com/group/web:1'}\nnote: b.example.com/group/web:1"
    error = failure({"app.yaml": text}, "a.example.com/group/web=2", paths=["note"])
    assert isinstance(error, RefusedError)
    assert "b.example.com" in str(error)


def test_an_anchor_that_a_place_without_a_tag_shares_is_refused() -> None:
    text = (
        "a: {repository: web, tag: &t '${TAG}', digest: &d x}\n"
        "b: {repository: web, tag: v1, digest: *d}"
    )
    error = failure({"app.yaml": text}, "web=v2")
    assert isinstance(error, RefusedError)
    assert "another use of web" in error.why


def test_a_digest_needs_a_tag_to_follow() -> None:
    text = "image: {repository: web, tag: ''}"
    assert isinstance(failure({"app.yaml": text}, f"web=@{OLD}"), RefusedError)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"image: web:1\n\xff", "Line 2: is not UTF-8"),
        (b"image: web:1\n\x00", "Line 2: control characters"),
        (b"image: [web:1\n", "Line 2: did not find"),
        (b"image: web:1\na: *b\n", "Line 2: undefined alias"),
        (b"\xff\xfei\x00", "Line 1: is not UTF-8"),
        (b"[" * 1000 + b"]" * 1000, "Line 1: nests deeper than 256"),
    ],
)
def test_a_file_that_was_named_must_be_yaml(data: bytes, why: str) -> None:
    error = failure({"app.yaml": data, "b.yaml": "image: web:1"}, "web=2", named=["app.yaml"])
    assert isinstance(error, RefusedError)
    assert str(error) == "app.yaml is not YAML."
    assert error.why.startswith(why)


@pytest.mark.parametrize(
    "update", ["Web=1", "web:1=2", "web=1:2", "web=", "web", f"web@{OLD}=1", "web=1@sha256:a", "=1"]
)
def test_an_invalid_image_argument_is_a_usage_error(update: str) -> None:
    with pytest.raises(UsageError):
        Update.parse(update)


def test_two_tags_for_one_image_are_a_usage_error() -> None:
    error = failure({"app.yaml": "image: web:1"}, "web=1", "docker.io/library/web=2")
    assert isinstance(error, UsageError)
    error = failure({"app.yaml": "image: web:1"}, "web=1", f"web=1@{OLD}")
    assert isinstance(error, UsageError)


def test_a_name_without_a_tag_gets_the_tag_of_the_option() -> None:
    assert Update.parse("web", "1", OLD) == Update("web", "1", OLD)
    assert Update.parse("web=2", "1", OLD) == Update("web", "2")
    assert Update.parse(f"web=@{OLD}") == Update("web", None, OLD)
