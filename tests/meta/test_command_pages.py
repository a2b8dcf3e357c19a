"""The pages of the commands: exit codes and messages are those of the code."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

from cicd_common import errors
from cicd_common.errors import ALL_ERRORS, CommandError

ROOT = Path(__file__).parents[2]
PAGES = sorted(ROOT.glob("docs/cmd-*.md"))
OF_WAITING = {1, 9, 10, 11}
MORE_THAN_DOTS = re.compile(r"[^\W\d_]{2}")

# A relative link: the page, and the heading in it.
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([\w-]+))?\)")
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def rows(page: Path, head: str) -> list[list[str]]:
    """The cells of the tables that begin with a heading, row by row."""
    found, inside = [], False
    for line in page.read_text().splitlines():
        inside = line.startswith("|") and (inside or line.startswith(f"| {head} |"))
        if inside and not line.startswith(("| ---", f"| {head} |")):
            found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return found


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in (ROOT / folder).rglob("*.py")]


def own_package(page: Path) -> str:
    return page.stem.replace("-", "_")


@functools.cache
def texts() -> tuple[str, ...]:
    """Every text of the code, with an ellipsis for what stands in its braces."""
    found = []
    for path in sources("common", *(own_package(page) for page in PAGES)):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                found.append(re.sub("…+", "…", "".join(map(said, node.values))))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return tuple(found)


def said(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else "…"


def raised(package: str) -> set[type[CommandError]]:
    """The errors of the contract that a package's modules name."""
    words = set(re.findall(r"\w+Error\b", "".join(path.read_text() for path in sources(package))))
    kinds = (getattr(errors, word, None) for word in words)
    return {kind for kind in kinds if kind in ALL_ERRORS}


@each_page
def test_every_exit_code_has_its_kind(page: Path) -> None:
    kinds = {kind.exit_code: kind.kind for kind in ALL_ERRORS}
    for codes, names, _ in rows(page, "code"):
        numbers = [int(code) for code in codes.split(", ") if code != "0"]
        assert [f"`{kinds[number]}`" for number in numbers] == names.split(", ") or codes == "0"


@each_page
def test_every_error_that_a_command_raises_is_among_its_exit_codes(page: Path) -> None:
    listed = {int(code) for row in rows(page, "code") for code in row[0].split(", ")}
    assert {kind.exit_code for kind in raised(own_package(page))} <= listed
    waits = "waiting" in (ROOT / own_package(page) / "cli.py").read_text()
    assert OF_WAITING & listed == (OF_WAITING if waits else set())


@each_page
def test_every_message_is_one_of_the_code(page: Path) -> None:
    messages = [row[0] for row in rows(page, "message")]
    assert len(messages) > 5
    assert all(MORE_THAN_DOTS.search(message) for message in messages)
    unknown = [
        message for message in messages if not any(message.strip("`") in text for text in texts())
    ]
    assert unknown == [], "each message of the page is one of the code"


@each_page
def test_no_message_is_explained_twice(page: Path) -> None:
    messages = [row[0] for row in rows(page, "message")]
    assert len(set(messages)) == len(messages)


def test_the_documents_list_every_page() -> None:
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs/README.md").read_text()))
    assert listed == {path.name for path in ROOT.glob("docs/*.md")} - {"README.md"}


def test_every_link_between_the_documents_leads_somewhere() -> None:
    broken = [
        f"{document.relative_to(ROOT)}: {target}#{anchor}"
        for document in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md"))
        for target, anchor in LINK.findall(document.read_text())
        if not leads_somewhere(document, target, anchor)
    ]
    assert broken == [], "a link leads to a file of this repository, and to a heading in it"


def leads_somewhere(document: Path, target: str, anchor: str) -> bool:
    page = (document.parent / target).resolve() if target else document
    if not page.exists():
        return False
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE) if anchor else []
    anchors = {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in headings}
    return not anchor or anchor in anchors
