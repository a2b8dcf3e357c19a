"""A corpus: hand-written documents of every format, each in every guise a file can have.

In the documents, `⟦1.4.0→1.5.0⟧` says what shall change; all else shall stay, byte by byte.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from cmd_bump_image_tag.images import Update
from tests.unit.cmd_bump_image_tag.conftest import plan

HERE = Path(__file__).parent / "documents"
WISH = Update("registry.example.com:5000/shop/web", "1.5.0")

TEMPLATES = {
    path.relative_to(HERE).as_posix(): path.read_bytes().decode()
    for path in sorted(HERE.rglob("*"))
    if path.is_file()
}


def indented(text: str) -> str:
    return re.sub(r"(?m)^(?!---|$)", "  ", text)


def commented(text: str) -> str:
    return re.sub(r"(?m)^(.*: .*⟧)$", r"\1  # ünï: image 😀", text)


def quoted(text: str) -> str:
    return re.sub(r"(?m)(image: )([a-z][^ \"'\n,}]*⟧)", r"\1'\2'", text)


def tabbed(text: str) -> str:
    return re.sub(r"(?m)^(.*: .*⟧)$", "\\1 \t", text)


def after_another(text: str) -> str:
    return f"%YAML 1.2\n---\nimage: other:1.4.0\n...\n--- # the next\n{text}"


def with_much_around(text: str) -> str:
    return f"{text.rstrip()}\n...\n---\nfiller:\n" + '  - {a: "b\\tc", d: [1, 2.0, ~]}\n' * 300


GUISES: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "byte-order mark": lambda text: "\ufeff" + text,
    "byte-order mark and CRLF": lambda text: "\ufeff" + text.replace("\n", "\r\n"),
    "no last line end": lambda text: text.rstrip("\n"),
    "empty lines at the end": lambda text: text + "\n\n  \n",
    "indented": indented,
    "with comments": commented,
    "with comments and CRLF": lambda text: commented(text).replace("\n", "\r\n"),
    "in quotes": quoted,
    "with tabs": tabbed,
    "after another document": after_another,
    "with much around": with_much_around,
}


def sides(template: str, edit: str = "⟦([^→⟧]*)→([^⟧]*)⟧") -> tuple[bytes, bytes]:
    return re.sub(edit, r"\1", template).encode(), re.sub(edit, r"\2", template).encode()


def assert_bumped(path: str, old: bytes, new: bytes) -> None:
    result = plan({path: old}, [WISH], allow_downgrade=True)
    assert result.contents[path].decode() == new.decode()
    assert not plan({path: new}, [WISH]).contents


CASES = [
    (path, guise)
    for path, text in TEMPLATES.items()
    for guise in GUISES
    # A directive may not follow what begins with a document's start itself.
    if guise != "after another document" or not text.startswith(("{", "---"))
]


@pytest.mark.parametrize(("path", "guise"), CASES)
def test_only_the_expected_places_of_a_file_change(path: str, guise: str) -> None:
    old, new = sides(GUISES[guise](TEMPLATES[path]))
    assert_bumped(path, old, new)


AS_JSON = [
    path
    for path, text in TEMPLATES.items()
    if not re.search(r"^---|^\? |# bump: ignore|imagepolicy|<<|\$", text, re.MULTILINE)
]


@pytest.mark.parametrize("indent", [None, 2, "\t"])
@pytest.mark.parametrize("path", AS_JSON)
def test_the_same_file_as_json_changes_in_the_same_places(
    path: str, indent: int | str | None
) -> None:
    node = yaml.load(TEMPLATES[path], Loader=yaml.CBaseLoader)  # noqa: S506 - strings alone
    text = json.dumps(node, indent=indent, ensure_ascii=False)
    for path_or_json in (path, f"{path}.json"):
        old, new = sides(text, r'⟦(?:\\"")?([^→⟧]*)→(?:\\"\\")?([^⟧]*)⟧')
        if "kustom" not in path:
            assert_bumped(path_or_json, old, new)


def test_the_corpus_has_a_few_hundred_files() -> None:
    assert len(CASES) + 3 * len(AS_JSON) > 300


@pytest.mark.parametrize("path", TEMPLATES)
def test_every_document_of_the_corpus_is_valid_yaml(path: str) -> None:
    old, new = sides(TEMPLATES[path])
    assert len(list(yaml.parse(old))) == len(list(yaml.parse(new)))
