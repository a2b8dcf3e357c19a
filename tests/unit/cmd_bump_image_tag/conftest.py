"""Documents with the wanted edit written into them: `image: web:⟦1.0→1.1⟧`."""

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

import pytest

from cmd_bump_image_tag.images import Bump
from cmd_bump_image_tag.plan import Result, bump

_EDIT = re.compile("⟦(?P<old>[^→⟧]*)→(?P<new>[^⟧]*)⟧")

Check: TypeAlias = Callable[..., Result]


def sides(template: str) -> tuple[bytes, bytes]:
    """Return what a template says before and after the edit."""
    return _EDIT.sub(r"\g<old>", template).encode(), _EDIT.sub(r"\g<new>", template).encode()


@pytest.fixture(name="sides")
def sides_of_a_template() -> Callable[[str], tuple[bytes, bytes]]:
    return sides


@pytest.fixture
def check() -> Check:
    """Bump a template's image and hold the result against it, byte by byte."""

    def check(
        template: str,
        *bumps: str,
        path: str = "app.yaml",
        paths: Sequence[str] = (),
        allow_downgrade: bool = False,
    ) -> Result:
        old, new = sides(template)
        wishes = [Bump.parse(text) for text in bumps]
        result = bump({path: old}, wishes, paths=paths, allow_downgrade=allow_downgrade)
        assert result.contents.get(path, old).decode() == new.decode()
        assert bool(result.changes) == (old != new)
        again = bump({path: new}, wishes, paths=paths, allow_downgrade=allow_downgrade)
        assert not again.contents, "bumping twice is bumping once"
        return result

    return check
