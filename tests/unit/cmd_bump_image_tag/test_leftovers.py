"""The old reference in text: it is named, with the path that sets it, and never edited."""

from __future__ import annotations

import re

import pytest

from cicd_common.errors import NotFoundError, RefusedError
from cmd_bump_image_tag.images import Update
from cmd_bump_image_tag.result import BumpResult, Skipped
from tests.unit.cmd_bump_image_tag.conftest import plan, texts

WEB = "registry.example.com/shop/web"
UPDATE = Update(WEB, "v2")
POD = f"""\
apiVersion: v1
kind: Pod
metadata:
  name: web
  annotations: {{was: "{WEB}:v1"}}
spec:
  containers:
  - image: {WEB}:v1
    args: ["--image={WEB}:v1", "{WEB}:v0"] # {WEB}:v1
    env:
    - {{name: IMAGE, value: "{WEB}:v1"}}
"""
CONFIG = f"""\
apiVersion: v1
kind: ConfigMap
metadata: {{name: web}}
data:
  app: "{WEB}:v1"
  values.yaml: |
    # of the chart
    image:
      repository: {WEB}
      tag: v1
    job: {{image: "{WEB}:v1"}}
  script: |
    run {WEB}:v1, then
    run {WEB}:v10 and x{WEB}:v1
"""


def test_every_mention_is_shown_with_the_path_that_sets_it() -> None:
    result = plan({"pod.yaml": POD.encode()}, [UPDATE])
    assert len(result.changes) == 1
    assert texts(result) == (
        f"pod.yaml:5: Left behind: {WEB}:v1; --path 'metadata.annotations.was' sets it.",
        f"pod.yaml:9: Left behind: {WEB}:v1; it is a part of a longer text.",
        f"pod.yaml:11: Left behind: {WEB}:v1; --path 'spec.containers[0].env[0].value' sets it.",
    )


def test_yaml_in_a_string_and_longer_texts_are_searched_too() -> None:
    result = plan({"pod.yaml": POD.encode(), "config.yaml": CONFIG.encode()}, [UPDATE])
    assert [text for text in texts(result) if text.startswith("config")] == [
        f"config.yaml:5: Left behind: {WEB}:v1; --path 'data.app' sets it.",
        f"config.yaml:10: Left behind: {WEB}:v1; --path 'data.values\\.yaml:image.tag' sets it.",
        f"config.yaml:11: Left behind: {WEB}:v1; --path 'data.values\\.yaml:job.image' sets it.",
        f"config.yaml:13: Left behind: {WEB}:v1; it is a part of a longer text.",
    ]


def test_a_key_that_reads_like_its_value_is_not_a_second_mention() -> None:
    text = f"image: {WEB}:v1\na: |\n  b: 1\n  ? {WEB}:v1\n  : 1\n  {WEB}:v1: {WEB}:v1\n"
    assert [each.split(": ")[0] for each in texts(plan({"a.yaml": text.encode()}, [UPDATE]))] == [
        "a.yaml:4",
        "a.yaml:6",
    ]


def test_the_shown_paths_set_all_mentions() -> None:
    files = {"all.yaml": f"{POD}---\n{CONFIG}".encode()}
    found = texts(plan(files, [UPDATE]))
    paths = [path for text in found for path in re.findall("--path '(.*)'", text)]
    assert paths[:2] == [
        "Pod/web:metadata.annotations.was",
        "Pod/web:spec.containers[0].env[0].value",
    ]
    result = plan(files, [UPDATE], paths=paths)
    assert len(result.changes) == 1 + len(paths)
    assert all("longer text" in text for text in texts(result))


@pytest.mark.parametrize("path", [".env", "web.env", "a/Dockerfile", "Dockerfile.dev", "x.tpl"])
def test_a_file_that_is_not_yaml_is_searched_line_by_line(path: str) -> None:
    text = f"# FROM {WEB}:v1\nFROM {WEB}:v1\nIMAGE={WEB}:v1\nA: [b\nOTHER={WEB}-admin:v1\n"
    result = plan({path: text.encode(), "pod.yaml": f"image: {WEB}:v1".encode()}, [UPDATE])
    lines = [each.line for each in result.skipped if each.path == path and "Left" in each.why]
    assert lines == [2, 3]
    assert list(result.contents) == ["pod.yaml"]


@pytest.mark.parametrize(
    "text",
    [
        f"a: x{WEB}:v1",
        f"a: {WEB}:v10",
        f"a: {WEB}-admin:v1",
        f"a: {WEB}/x:v1",
        f"a: {WEB}:v2",
        f"a: {WEB}",
        "a: other.example.com/shop/web:v1",
        f"# {WEB}:v1",
    ],
)
def test_other_references_are_not_mentions(text: str) -> None:
    files = {"a.yaml": f"{text}\n".encode(), "pod.yaml": f"image: {WEB}:v1".encode()}
    assert texts(plan(files, [UPDATE], strict=True)) == ()


@pytest.mark.parametrize(
    "text",
    [f"a: docker://{WEB}:v1", f"a: ${{IMAGE:-{WEB}:v1}}", f"a: See {WEB}:v1.", f"a: x,{WEB}:v1,y"],
)
def test_mentions_within_a_text_are_found(text: str) -> None:
    files = {"a.yaml": text.encode(), "pod.yaml": f"image: {WEB}:v1".encode()}
    assert len(texts(plan(files, [UPDATE]))) == 1


def test_a_stale_digest_in_text_is_found() -> None:
    old = "sha256:" + "a" * 64
    text = f"image: {WEB}@{old}\nenv: [{{name: IMAGE, value: '{WEB}@{old}'}}]\n"
    new = Update(WEB, None, "sha256:" + "b" * 64)
    (found,) = texts(plan({"a.yaml": text.encode()}, [new]))
    assert found.endswith("--path 'env[0].value' sets it.")


def test_strict_refuses_an_edit_that_leaves_a_mention() -> None:
    with pytest.raises(RefusedError, match="3 mentions of the old reference") as caught:
        plan({"pod.yaml": POD.encode()}, [UPDATE], strict=True)
    assert all(f"pod.yaml:{line}: " in caught.value.why for line in (5, 9, 11))
    (result,) = caught.value.results
    assert isinstance(result, BumpResult)
    assert [each.line for each in result.skipped] == [5, 9, 11]
    plan({"pod.yaml": f"image: {WEB}:v1 # bump: ignore".encode()}, [UPDATE], strict=True)
    with pytest.raises(RefusedError, match=r"^1 mention of the old reference"):
        plan({"pod.yaml": f"image: {WEB}:v1\nargs: ['{WEB}:v1']".encode()}, [UPDATE], strict=True)


def test_the_error_names_the_text_that_mentions_the_image() -> None:
    text = f"params: [{{name: image, default: '{WEB}:v1'}}]"
    with pytest.raises(NotFoundError) as caught:
        plan({"task.yaml": text.encode()}, [UPDATE])
    assert "task.yaml:1" in caught.value.why
    assert "--path 'params[0].default' sets it" in caught.value.why


def test_the_error_for_a_missing_image_names_the_images_in_the_files() -> None:
    with pytest.raises(NotFoundError) as caught:
        plan({"a.yaml": b"image: redis:7"}, [UPDATE])
    assert "redis" in caught.value.why


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("image: shop/web-admin:1\nb: {image: redis:7}\n", "The nearest: shop/web-admin."),
        ("image: registry.exampel.com/shop/wep:1\nb: {image: redis:7}\n", "shop/wep."),
        ("image: redis:7\nb: {image: nginx:1}\n", "The nearest: nginx, redis."),
        ("a: b\n", "The files name no image."),
        ("a: $X\nimage: redis:$X\n", "The files name no image."),
        ("image: ${X:-redis:7}\nb: {image: $Y}\n", "The files name no image."),
    ],
)
def test_the_nearest_names_are_shown_else_some_else_none(text: str, why: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        plan({"a.yaml": text.encode()}, [UPDATE])
    assert caught.value.why.endswith(why)
    assert ("redis" in caught.value.why) == (why == "The nearest: nginx, redis.")


def test_in_yaml_in_a_string_only_the_old_reference_is_named() -> None:
    text = (
        f"image: {WEB}:v1\nvalues: |\n  image: {{repository: {WEB}, tag: v0}}\n"
        f"  job: {{image: '{WEB}:v2'}}\n  web: {{image: {{repository: {WEB}}}}}\n"
        f"  old: {{image: {{repository: {WEB}, tag: v1}}}}\n"
    )
    (found,) = texts(plan({"a.yaml": text.encode()}, [UPDATE]))
    assert found == f"a.yaml:6: Left behind: {WEB}:v1; --path 'values:old.image.tag' sets it."


def test_excluded_files_are_not_read() -> None:
    files = {
        path: f"image: {WEB}:v1".encode()
        for path in ("a.yaml", "old/b.yaml", "old/c/d.yaml", "x/e.yaml", "x/node_modules/f.yaml")
    }
    result = plan(files, [UPDATE], exclude=("old", "**/node_modules", "x/e.*"))
    assert list(result.contents) == ["a.yaml"]


@pytest.mark.parametrize("path", [".env", "Dockerfile"])
def test_a_named_file_without_any_key_is_not_yaml(path: str) -> None:
    with pytest.raises(RefusedError, match="is not YAML"):
        plan({path: f"FROM {WEB}:v1".encode()}, [UPDATE], named=[path])


def test_a_hostile_file_name_is_shown_on_one_line() -> None:
    assert Skipped("a\n::error::\x1b[2J\u202e.yaml", 1, "Left.").text().isprintable()


def test_a_named_file_can_start_with_a_document_of_text() -> None:
    text = f"text\n---\nimage: {WEB}:v1\n".encode()
    assert plan({"a.yaml": text}, [UPDATE], named=["a.yaml"]).changes


@pytest.mark.parametrize(
    "text",
    [
        "a: [" + f"'{WEB}:v1', " * 5_000 + "]\n",
        f"a: '{WEB}:v1'\n" * 5_000,
        "a: |\n" + f"  - {WEB}:v1\n" * 5_000,
        f"a: {'a/' * 50_000}{WEB}:v1\n",
        "".join(f"--- {{a: '{WEB}:v1'}}\n" for _ in range(2_000)),
    ],
    ids=["list", "keys", "block", "name", "documents"],
)
@pytest.mark.timeout(20)
def test_many_mentions_take_linear_time(text: str) -> None:
    plan({"a.yaml": text.encode(), "b.yaml": f"image: {WEB}:v1\n".encode()}, [UPDATE])


PAIRS = {
    "Helm parameters": (
        (
            "helm:\n  parameters:\n  - {name: image.tag, value: v1}\n"
            f"  - {{name: image.repository, value: {WEB}}}\n"
            "  - {name: api.image.tag, value: v1}\n"
        ),
        "3: --path 'helm.parameters[0].value'",
    ),
    "with a registry": (
        (
            "helm:\n  parameters:\n  - {name: web.image.registry, value: registry.example.com}\n"
            "  - {name: web.image.name, value: shop/web}\n  - {name: web.image.tag, value: v1}\n"
        ),
        "5: --path 'helm.parameters[2].value'",
    ),
    "OpenShift parameters": (
        f"parameters:\n- {{name: WEB_IMAGE, value: {WEB}}}\n- {{name: WEB_IMAGE_TAG, value: v1}}\n",
        "3: --path 'parameters[1].value'",
    ),
    "Tekton parameters": (
        f"params:\n- {{name: image, default: {WEB}}}\n- {{name: tag, default: v1}}\n",
        "3: --path 'params[1].default'",
    ),
    "JSON patch": (
        f"patches:\n- patch: |-\n    - op: replace\n      value: {WEB}:v1\n",
        "4: --path 'patches[0].patch:[0].value'",
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_name_and_a_tag_in_a_list_of_parameters_are_named_and_the_path_sets_them(
    name: str,
) -> None:
    text, expected = PAIRS[name]
    files = {"a.yaml": text.encode(), "pod.yaml": f"image: {WEB}:v1\n".encode()}
    result = plan(files, [UPDATE], named=["a.yaml"])
    line, _, path = expected.partition(": ")
    assert texts(result) == (f"a.yaml:{line}: Left behind: {WEB}:v1; {path} sets it.",)

    path = path.removeprefix("--path '").removesuffix("'")
    result = plan(files, [UPDATE], paths=[path], named=["a.yaml"])
    assert {change.path for change in result.changes} == {"a.yaml", "pod.yaml"}
    assert texts(result) == ()


@pytest.mark.parametrize(
    "items",
    [
        f"{{name: a.repository, value: {WEB}}}, {{name: b.tag, value: v1}}",
        f"{{name: a.repository, value: {WEB}}}, {{name: a.tag, value: v2}}",
        f"{{name: a.repository, value: {WEB}-admin}}, {{name: a.tag, value: v1}}",
        f"{{name: a.repository, value: {WEB}}}, {{name: a.tag, value: 'no tag'}}",
        f"{{name: a.repository, value: {WEB}}}, {{name: a.tag}}",
    ],
)
def test_parameters_of_another_image_are_not_named(items: str) -> None:
    files = {"a.yaml": f"params: [{items}]\n".encode(), "pod.yaml": f"image: {WEB}:v1\n".encode()}
    assert texts(plan(files, [UPDATE], strict=True)) == ()
