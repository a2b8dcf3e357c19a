"""Documents with the wanted edit written into them: `image: web:⟦1.0→1.1⟧`."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

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
    **options: Any,
) -> Plan:
    """Plan a bump of files, as if --file had chosen them."""
    request = BumpRequest(
        image=tuple(update.text for update in updates),
        file=("*",) if chosen else (),
        path=tuple(paths),
        allow_downgrade=allow_downgrade,
        **options,
    )
    return plan_bump(Snapshot(files, frozenset(named), {}), request)


def texts(result: Plan) -> tuple[str, ...]:
    """Return what the plan leaves alone, a line each."""
    return tuple(each.text() for each in result.skipped)


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
        **options: Any,
    ) -> Plan:
        old, new = sides(template)
        updates = [Update.parse(text) for text in images]
        options |= {"paths": paths, "allow_downgrade": allow_downgrade}
        result = plan({path: old}, updates, **options)
        assert result.contents.get(path, old).decode() == new.decode()
        assert bool(result.changes) == (old != new)
        again = plan({path: new}, updates, **options)
        assert not again.contents, "bumping twice is bumping once"
        return result

    return check
