from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[2]
PICTURES = sorted(ROOT.glob("docs/pictures/*.svg"))
DOCUMENTS = [ROOT / "README.md", *ROOT.glob("docs/*.md")]


def text_of(picture: Path) -> str:
    return "".join(ET.parse(picture).getroot().itertext()).replace("\N{NO-BREAK SPACE}", " ")  # noqa: S314 - our own file


def test_every_picture_that_a_document_shows_is_there_and_no_other() -> None:
    shown = {
        (document.parent / target).resolve()
        for document in DOCUMENTS
        for target in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", document.read_text())
    }
    assert shown == {*PICTURES, *ROOT.glob("docs/plots/*.svg")}


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.stem)
def test_a_picture_loads_nothing_and_names_no_machine(picture: Path) -> None:
    text = picture.read_text()
    assert not re.search(r"url\(['\"]?http|href=|@import|<script", text)
    assert "127.0.0.1" not in text


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.stem)
def test_a_picture_keeps_its_indentation_in_every_viewer(picture: Path) -> None:
    space = "{http://www.w3.org/XML/1998/namespace}space"
    assert ET.parse(picture).getroot().get(space) == "preserve"  # noqa: S314 - our own file


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.stem)
def test_a_picture_shows_its_last_line_wholly(picture: Path) -> None:
    svg = picture.read_text()
    (height,) = re.findall(r'-clip-terminal">\s*<rect [^>]*height="([\d.]+)"', svg)
    lowest = max(float(y) for y in re.findall(r'<text [^>]* y="([\d.]+)"[^>]*>[^<]*[^<\s]', svg))
    assert lowest + 8 < float(height)  # what a letter such as g has below its base


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wait", "left  3 of 5 jobs done"),
        ("failure", "why: Failed: basket"),
        ("lock", "pipeline 121 success"),
        ("tag", "tag v1.4.0 already exists"),
        ("diff", "+      image: registry.example.com:5000/tech-lunch/shop:v1.4.0"),
    ],
)
def test_a_picture_shows_what_the_documents_say_it_does(name: str, words: str) -> None:
    assert words in text_of(ROOT / f"docs/pictures/{name}.svg")
