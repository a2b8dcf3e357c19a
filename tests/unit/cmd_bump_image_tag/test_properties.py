"""What holds for every document: generated ones, and any bytes at all."""

import json
import re
import time
from collections.abc import Callable
from typing import TypeAlias

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cicd_common.errors import CommandError
from cmd_bump_image_tag.images import Update
from tests.unit.cmd_bump_image_tag.conftest import plan

Sides: TypeAlias = Callable[[str], tuple[bytes, bytes]]
NAME = "registry.example.com:5000/shop/web"
OLD = "sha256:" + "a" * 64

tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
words = st.text("abcdefgh-é😀 ", min_size=1, max_size=12)
quotes = st.sampled_from(["'", '"'])


@st.composite
def whole(draw: st.DrawFn, old: str, new: str) -> str:
    """A scalar with the whole reference, in one of the ways that YAML has."""
    digest = draw(st.sampled_from(["", f"@{OLD}"])) if old != new else ""
    text = f"{NAME}:⟦{old}{digest}→{new}⟧"
    if draw(st.booleans()):
        return draw(st.sampled_from(["", "&a ", "!!str "])) + text
    quote = draw(quotes)
    return f"{quote}{text}{quote}"


def alone(old: str, new: str, quote: str) -> str:
    """A scalar with the tag alone, in quotes: what YAML makes of it is tested elsewhere."""
    return f"{quote}⟦{old}→{new}⟧{quote}"


# By path; `{whole}`, `{tag}` and `{noise}` are drawn.
DOCUMENTS = {
    "pod.yaml": """\
apiVersion: v1
kind: Pod
spec:
  containers:
  - image: {whole}
  - x: {noise}
  volumes: [{image: {reference: {whole}}}]
""",
    "shop.yaml": """\
apiVersion: example.org/v1
kind: Shop
spec:
  a:
  - b: {noise}
    workerImage: {whole}
""",
    "kustomization.yaml": f"""\
images:
- name: {{noise}}
  newName: {NAME}
  newTag: {{tag}}
- newTag: {{noise}}
""",
    "values.yaml": f"""\
a: {{noise}}
image:
  tag: {{tag}}
  repository: {NAME}
  note: {{noise}}
""",
    "release.yaml": """\
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
spec:
  values:
    image: {registry: 'registry.example.com:5000', repository: shop/web, tag: {tag}}
""",
    "compose.yaml": """\
services:
  a:
    image: {whole}
    command: {noise}
""",
    ".gitlab-ci.yml": """\
variables: {image: {noise}}
job:
  image: {name: {whole}, x: {noise}}
  services: [{whole}]
""",
    "marked.yaml": """\
a: {whole} # {"$imagepolicy": "f:web"}
b: {tag} # {"$imagepolicy": "f:web:tag"}
""",
}


@st.composite
def documents(draw: st.DrawFn, old: str, new: str) -> tuple[str, str]:
    """A document of a random format, with its path, in a random guise."""
    path = draw(st.sampled_from(sorted(DOCUMENTS)))
    makers = {
        "whole": whole(old, new),
        "tag": st.builds(alone, st.just(old), st.just(new), quotes),
        "noise": words.map(lambda text: json.dumps(text, ensure_ascii=False)),
    }
    text = re.sub(r"\{(whole|tag|noise)\}", lambda found: draw(makers[found[1]]), DOCUMENTS[path])
    lines = [line + draw(st.sampled_from(["", "", " # é 😀", "\t"])) for line in text.splitlines()]
    if "imagepolicy" in text:
        lines = text.splitlines()
    end = draw(st.sampled_from(["\n", "\r\n"]))
    text = end.join([*lines, draw(st.sampled_from(["", "# end", "..."]))])
    before = draw(st.sampled_from(["", f"---{end}", f"# a{end}{end}", f"%YAML 1.1{end}---{end}"]))
    return path, draw(st.sampled_from(["", "\ufeff"])) + before + text


@settings(
    max_examples=3 * settings().max_examples,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(data=st.data(), old=tags, new=tags)
def test_an_edit_changes_only_the_selected_scalars(
    sides: Sides, data: st.DataObject, old: str, new: str
) -> None:
    path, template = data.draw(documents(old, new))
    before, after = sides(template)
    update = [Update(NAME, new)]
    result = plan({path: before}, update, allow_downgrade=True)
    assert result.contents.get(path, before).decode() == after.decode()
    assert not plan({path: after}, update).contents


FRAGMENTS = [
    *("image: ", "web:1", "web", "tag: ", "v1", "repository: ", "digest: ", OLD, "@", ":", "~"),
    *("- ", "{", "}", "[", "]", ", ", "? ", ": ", "&a ", "*a", "<<: ", "!!str ", "!x ", "|", "#"),
    *(">-\n", "\n", "\n  ", "\n    ", "\r\n", "\r", "\t", "'", '"', "\\", "\\x77eb", "=web"),
    *("name: ", "services: ", "images: ", "newTag: ", "---\n", "...\n", "%YAML 1.2\n", "${X}"),
    *("# bump: ignore", ' # {"$imagepolicy": "a:b"}', ' # {"$imagepolicy": "a:b:tag"}'),
    *("hub: ", "host: ", "image_tag: ", "image: $X/web:1", "useDigest: true", OLD[7:], "a: |\n  "),
    *(
        "images: {",
        "valuesInline: ",
        "env: ",
        "args:\n  ",
        "# bump: ignore\n",
        "web:1-rc.1",
        "apps/",
    ),
    *("\ufeff", "\u2028", "\x85", "😀", "\x00", "apiVersion: v1\nkind: X\n"),
]
fragments = st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join)


def scalars(data: bytes) -> list[str]:
    events = yaml.parse(data, Loader=yaml.CBaseLoader)
    return [event.value for event in events if isinstance(event, yaml.ScalarEvent)]


PATHS = ("a.tag", "a:image", "a", "[0]:a", "X/web:a.b", "a[name=web].image", "image", "a:b:c")


def hold(path: str, data: bytes, key_path: str = "a.tag") -> None:
    """Bump a file that may be anything, and hold the outcome against what must be true."""
    update = [Update("web", "v2")]
    paths = [key_path] if b"a:" in data else []
    try:
        result = plan({path: data}, update, paths=paths)
    except CommandError:
        return
    after = result.contents.get(path, data)
    assert plan({path: after}, update, paths=paths).contents == {}
    if result.contents:
        old, new = scalars(data), scalars(after)
        changed = [pair for pair in zip(old, new, strict=True) if pair[0] != pair[1]]
        assert all("v2" in text or text == "" for _, text in changed)
        assert len(changed) <= len(result.changes)


@settings(max_examples=10 * settings().max_examples)
@given(
    st.sampled_from(["a.yaml", "kustomization.yaml", ".gitlab-ci.yml", ".argocd-source-a.yaml"]),
    fragments,
    st.sampled_from(PATHS),
)
def test_an_edit_of_any_text_is_correct_or_a_clear_error(
    path: str, text: str, key_path: str
) -> None:
    hold(path, text.encode(), key_path)


@settings(max_examples=3 * settings().max_examples)
@given(st.text("ab.[]=:\\/0A'\"\n", max_size=12), fragments)
def test_an_edit_of_any_path_is_correct_or_a_clear_error(key_path: str, text: str) -> None:
    hold("a.yaml", f"a: b\n{text}".encode(), key_path)


@settings(max_examples=3 * settings().max_examples)
@given(st.binary(max_size=100), st.binary(max_size=100))
def test_an_edit_of_any_bytes_is_correct_or_a_clear_error(before: bytes, after: bytes) -> None:
    hold("a.yaml", before + b"\nimage: web:1\n" + after)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "- " * 100_000,
        "{a: " * 50_000,
        "? " * 100_000,
        "&a " * 100_000,
        "!a " * 100_000,
        "a: &a\n" + "".join(f"  <<: *a # {index}\n" for index in range(15_000)),
        "".join(f"x{n}: &x{n} {{<<: *x{max(n - 1, 0)}}}\n" for n in range(1, 8_000)),
        "x0: &x {labels: 1}\nlabels:\n"
        + "".join(f"  a{n}: &x {{<<: *x}}\n" for n in range(8_000))
        + "y: {<<: *x}\n",
        "h: &h {<<: ["
        + ", ".join("{a: b}" for _ in range(8_000))
        + "]}\n"
        + "".join(f"m{n}: {{<<: *h}}\n" for n in range(8_000)),
        'a: "' + "\\x41" * 200_000 + '"\n',
        "a: " + "é" * 300_000 + "\n",
        "#" * 300_000 + "\n",
        "image: " + "a/" * 200_000 + "\n",
        "image: " + "${" * 100_000 + "\n",
        "image: " + "{{" * 100_000 + "\n",
        "image: " + "$(" * 100_000 + "\n",
        "a: b # bump: ignore\n" * 15_000,
        'a: b # {"$imagepolicy": "a:b:tag"}\n' * 50_000,
        '{"a": "bump: ignore"' + ', "b": "bump: ignore"' * 15_000 + "}",
    ],
    ids=lambda text: f"{text[:12]!r}",
)
def test_a_text_of_any_form_takes_linear_time(text: str) -> None:
    began = time.process_time()
    hold("a.yaml", f"{text}\n---\nimage: web:1\n".encode())
    hold("a.yaml", f"image: web:1\n---\n{text}".encode())
    assert time.process_time() - began < 20  # seconds of this process alone
