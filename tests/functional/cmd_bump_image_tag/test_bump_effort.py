"""How much a bump reads and parses: only files that have the image, however many there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.functional.cmd_bump_image_tag.conftest import WEB

if TYPE_CHECKING:
    from tests.functional.cmd_bump_image_tag.conftest import Run

FILES, HITS = 200, 5


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that PyYAML parses."""
    texts: list[str] = []

    class Loader(yaml.CBaseLoader):
        def __init__(self, text: str) -> None:
            texts.append(text)
            super().__init__(text)

    monkeypatch.setattr(yaml, "CBaseLoader", Loader)
    return texts


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is read of each file."""
    contents: list[bytes] = []
    read = Path.read_bytes

    def recorded(path: Path) -> bytes:
        contents.append(read(path))
        return contents[-1]

    monkeypatch.setattr(Path, "read_bytes", recorded)
    return contents


def write(number: int) -> None:
    image = f"{WEB}:v1.0.0" if number < HITS else "example.com/other:v1.0.0"
    Path(f"{number}.yaml").write_text(f"kind: Pod\nspec: {{containers: [{{image: '{image}'}}]}}\n")


def test_only_files_with_the_image_are_parsed_and_the_others_are_read_once(
    run: Run, parsed: list[str], opened: list[bytes]
) -> None:
    for number in range(FILES):
        write(number)
    size = sum(path.stat().st_size for path in Path().iterdir())
    hit = Path("0.yaml").stat().st_size

    assert run("--image", WEB, "--tag", "v1.1.0").code == 0

    # To find the places, to edit them, and to compare the result.
    assert len(parsed) <= 3 * HITS
    # A file is read again right before it is replaced.
    assert (len(opened), sum(map(len, opened))) == (FILES + HITS, size + hit * HITS)
