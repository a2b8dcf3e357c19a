"""Documents with the wanted edit written into them: `image: web:⟦1.0→1.1⟧`."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeAlias

import pytest

from cmd_bump_image_tag.images import Update
from cmd_bump_image_tag.plan import Plan, plan_bump
from cmd_bump_image_tag.request import BumpRequest
from cmd_bump_image_tag.targets import Snapshot

_EDIT = re.compile("⟦(?P<old>[^→⟧]*)→(?P<new>[^⟧]*)⟧")

Check: TypeAlias = Callable[..., Plan]


def plan(
    files: Mapping[str, bytes],
    updates: Sequence[Update],
    *,
    paths: Sequence[str] = (),
    allow_downgrade: bool = False,
    named: Collection[str] = (),
    chosen: bool = True,
) -> Plan:
    """Plan a bump of files, as if --file had chosen them."""
    request = BumpRequest(
        image=tuple(update.text for update in updates),
        file=("*",) if chosen else (),
        path=tuple(paths),
        allow_downgrade=allow_downgrade,
    )
    return plan_bump(Snapshot(files, frozenset(named), {}), request)


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
        *images: str,
        path: str = "app.yaml",
        paths: Sequence[str] = (),
        allow_downgrade: bool = False,
    ) -> Plan:
        old, new = sides(template)
        updates = [Update.parse(text) for text in images]
        result = plan({path: old}, updates, paths=paths, allow_downgrade=allow_downgrade)
        assert result.contents.get(path, old).decode() == new.decode()
        assert bool(result.changes) == (old != new)
        again = plan({path: new}, updates, paths=paths, allow_downgrade=allow_downgrade)
        assert not again.contents, "bumping twice is bumping once"
        return result

    return check
