r"""Paths to a value, spelled as for Helm's `--set`: `spec.values.images[0].tag`, `a\.b.c`.

Beyond that: `containers[name=web].image` takes the item with that name; `[1]:` or `Deployment/web:`
before the path selects one document; after a `:` the path continues in YAML that the value
holds as a string: `spec.source.helm.values:image.tag`. A leading dot is ignored: yq's paths have
it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from cicd_common.errors import UsageError
from cmd_bump_image_tag.yaml_text.scan import Mapping, Scalar, Sequence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cmd_bump_image_tag.yaml_text.scan import Node

Step: TypeAlias = "str | int | tuple[str, str]"  # a key, an index, or an item's key and value

# A step is a key, which a dot follows or precedes, an index, or a condition.
_STEP = re.compile(
    r"\[(?P<index>[0-9]{1,9})\]"
    r"|\[(?P<name>(?:[^=\[\]\\]|\\.)+)=(?P<value>(?:[^\[\]\\]|\\.)*)\]"
    r"|(?:^|\.)(?P<key>(?:[^.\[\]\\]|\\.)+)"
)
_DOCUMENT = re.compile(r"\[(?P<index>[0-9]{1,9})\]|(?P<kind>[A-Z][A-Za-z0-9]*)/(?P<name>[^:\[\]]+)")


@dataclass(frozen=True)
class KeyPath:
    """The path from a document's root to one of its values.

    Attributes:
        text: The path as it was given.
        document: The document: its index from 0, its kind and name, or None for all.
        parts: The steps in the document; then those in the YAML that the value holds as a string.
    """

    text: str
    document: int | tuple[str, str] | None
    parts: tuple[tuple[Step, ...], ...]

    @classmethod
    def parse(cls, text: str) -> KeyPath:
        """Reads a path.

        Raises:
            UsageError: The text is not a path that ends in a key or an index.
        """
        first, *rest = _split(text)
        document: int | tuple[str, str] | None = None
        if rest and (found := _DOCUMENT.fullmatch(first)):
            index = found["index"]
            document = int(index) if index else (found["kind"], found["name"])
            first, *rest = rest
        return cls(text, document, tuple(_steps(part, text) for part in (first, *rest)))

    @property
    def last_key(self) -> str:
        """Returns the last step that is a key, which a file with this path must contain."""
        steps = [step for part in self.parts for step in part]
        return next((step for step in reversed(steps) if isinstance(step, str)), "")

    def documents(self, roots: list[Node]) -> list[Node]:
        """Returns the roots of the documents that the path selects."""
        if self.document is None:
            return roots
        if isinstance(self.document, int):
            return roots[self.document : self.document + 1]
        return [root for root in roots if _identity(root) == self.document]


def identity(root: Node) -> str:
    """Returns how a path names a document by its kind and name; empty if it has none."""
    kind, name = _identity(root)
    spelled = f"{kind}/{name}"
    return spelled if _DOCUMENT.fullmatch(spelled) else ""


def _identity(root: Node) -> tuple[str, str]:
    kind = find(root, ("kind",))
    name = find(root, ("metadata", "name"))
    return (
        kind.value if isinstance(kind, Scalar) else "",
        name.value if isinstance(name, Scalar) else "",
    )


def find(root: Node, steps: tuple[Step, ...]) -> Node | None:
    """Returns the node that the steps lead to; None if it does not exist."""
    node: Node | None = root
    for step in steps:
        node = _step(node, step)
    return node


def escaped(key: str) -> str:
    """Returns a key as a path spells it."""
    return re.sub(r"([.\[\]\\:=])", r"\\\1", key)


def _split(text: str) -> list[str]:
    """Returns the parts of a path between the colons that are not escaped."""
    parts = [""]
    for piece in re.findall(r"\\.|[^\\]|\\$", text, re.DOTALL):
        if piece == ":":
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def _steps(part: str, text: str) -> tuple[Step, ...]:
    steps: list[Step] = []
    position = 0
    while found := _STEP.match(part, position):
        if found["index"]:
            steps.append(int(found["index"]))
        elif found["name"]:
            steps.append((_plain(found["name"]), _plain(found["value"])))
        else:
            steps.append(_plain(found["key"]))
        position = found.end()
    if not steps or position != len(part):
        raise UsageError(
            f"{text!r} is not a path of keys.",
            hint="Write it as for Helm's --set: spec.values.image.tag, images[0].tag, a\\.b.c",
        )
    return tuple(steps)


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def _step(node: Node | None, step: Step) -> Node | None:
    if isinstance(node, Mapping):
        return next(_values(node, step), None)
    if isinstance(node, Sequence) and isinstance(step, tuple):
        items = [item for item in node.items if _has(item, *step)]
        return items[0] if len(items) == 1 else None
    if isinstance(node, Sequence) and str(step).isdecimal() and int(str(step)) < len(node.items):
        return node.items[int(str(step))]
    return None


def _values(node: Mapping, step: Step) -> Iterator[Node]:
    """Yields the values of a key; if it is repeated, the last first, as a loader does."""
    for key, value in reversed(node.entries):
        if not isinstance(step, tuple) and key.value == str(step):
            yield value


def _has(item: Node, key: str, value: str) -> bool:
    found = find(item, (key,))
    return isinstance(found, Scalar) and found.value == value
