r"""Paths to a key, spelled as for Helm's `--set`: `spec.values.images[0].tag`, `a\.b.c`.

A leading dot does no harm: yq's paths have it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cicd_common.errors import UsageError
from cmd_bump_image_tag.yaml_text.scan import Mapping, Sequence

if TYPE_CHECKING:
    from cmd_bump_image_tag.yaml_text.scan import Node

# A step is a key, which a dot follows or precedes, or an index.
_STEP = re.compile(r"\[(?P<index>[0-9]{1,9})\]|(?:^|\.)(?P<key>(?:[^.\[\]\\]|\\.)+)")


@dataclass(frozen=True)
class KeyPath:
    """A way from a document's root to one of its nodes.

    Attributes:
        text: The path as it was given.
        steps: Keys, and indices from 0.
    """

    text: str
    steps: tuple[str | int, ...]

    @classmethod
    def parse(cls, text: str) -> KeyPath:
        """Reads a path.

        Raises:
            UsageError: The text is no path that ends in a key or an index.
        """
        steps: list[str | int] = []
        position = 0
        while found := _STEP.match(text, position):
            index, key = found["index"], found["key"]
            steps.append(int(index) if index else re.sub(r"\\(.)", r"\1", key))
            position = found.end()
        if not steps or position != len(text):
            raise UsageError(
                f"{text!r} is not a path of keys.",
                hint="Write it as for Helm's --set: spec.values.image.tag, images[0].tag, a\\.b.c",
            )
        return cls(text, tuple(steps))

    @property
    def last_key(self) -> str:
        """The last step that is a key: what a file must hold to have this path."""
        return next((step for step in reversed(self.steps) if isinstance(step, str)), "")

    def find(self, root: Node) -> Node | None:
        """Returns the node at the end of the path; None where there is none."""
        node: Node | None = root
        for step in self.steps:
            node = _step(node, step)
        return node


def _step(node: Node | None, step: str | int) -> Node | None:
    if isinstance(node, Mapping):
        values = [value for key, value in node.entries if key.value == str(step)]
        return values[-1] if values else None
    if isinstance(node, Sequence) and str(step).isdecimal() and int(step) < len(node.items):
        return node.items[int(step)]
    return None
