"""A corpus of documents as the projects of the field write them, a third of which must not change.

In `kinds/*.txt` a line `#### PATH` begins a document. `WEB` is the image, `«»` its tag, which
changes; `⟦old→new⟧` is any other change. All else stays, byte by byte. What each document comes to
is read from it here, without the command's own reader.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from cmd_bump_image_tag.images import Update
from tests.unit.cmd_bump_image_tag.conftest import plan, sides

WEB = "registry.example.com/shop/web"
UPDATE = Update(WEB, "1.5.0")
HEX = "3b1c" * 16
BESIDE = {"~/beside.yaml": f"image: {WEB}:1.4.0\n".encode()}  # so that each run finds the image
EDIT = re.compile("⟦([^→⟧]*)→([^⟧]*)⟧")


class Document(NamedTuple):
    kind: str
    path: str
    template: str

    @property
    def changes(self) -> int:
        return len(EDIT.findall(self.template))


def read(file: Path) -> list[Document]:
    text = file.read_text()
    for short, long in (("«»", "⟦1.4.0→1.5.0⟧"), ("OLD", f"sha256:{HEX}")):
        text = text.replace(short, long)
    text = re.sub(r"(?<![\w$])WEB(?!\w)", WEB, text).replace("HEX", HEX)
    parts = re.split(r"^#### (.*)\n", text, flags=re.MULTILINE)[1:]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [Document(file.stem, path, template) for path, template in pairs]


DOCUMENTS = [
    document
    for file in sorted((Path(__file__).parent / "kinds").glob("*.txt"))
    for document in read(file)
]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda each: f"{each.kind}/{each.path}")
def test_only_the_expected_bytes_change(document: Document, line_end: str) -> None:
    before, after = sides(document.template.replace("\n", line_end))
    result = plan({document.path: before, **BESIDE}, [UPDATE])
    assert result.contents.get(document.path, before).decode() == after.decode()
    assert len([each for each in result.changes if each.path == document.path]) == document.changes
    again = plan({document.path: after, **BESIDE}, [UPDATE])
    assert document.path not in again.contents


def test_the_corpus_is_large_and_a_third_of_it_does_not_change() -> None:
    untouched = [document for document in DOCUMENTS if not document.changes]
    assert len(DOCUMENTS) >= 200
    assert len({document.kind for document in DOCUMENTS}) >= 25
    assert len(untouched) >= len(DOCUMENTS) / 3


def test_a_simple_search_for_images_fails_on_the_corpus() -> None:
    careless = re.compile(rf"(image\w*\W+){re.escape(WEB)}:1\.4\.0")
    wrong = [
        document
        for document in DOCUMENTS
        if careless.sub(r"\1x", sides(document.template)[0].decode()).count(":1.4.0")
        != sides(document.template)[1].decode().count(":1.4.0")
    ]
    assert len(wrong) > len(DOCUMENTS) / 4
