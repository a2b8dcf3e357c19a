"""Reads a YAML text's values and their positions, with libyaml's events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from cicd_common.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import yaml

# Deeper than any manifest; what recurses below, a schema's merge keys, stays within Python's stack.
MAX_DEPTH = 256

_BYTE_ORDER_MARK = "\ufeff"


class NotYamlError(Exception):
    """The text is not YAML, or not YAML that the command can read.

    Args:
        line: The line of the first fault, from 1.
        problem: The parser's words, on one line.
    """

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line = line
        self.problem = problem


@dataclass(slots=True, eq=False)
class Scalar:
    """A scalar and its position.

    Attributes:
        value: The text, escapes and folding undone.
        start: Where it begins in the text, its anchor and tag included, in characters.
        end: Where it ends.
        style: `'`, `"`, `|`, `>` or nothing for a plain one.
        tag: The explicit tag, if it has one.
        key: The key whose value it is; None for a key itself or an item of a sequence.
        is_key: Whether it is a key.
    """

    value: str
    start: int
    end: int
    style: str
    tag: str | None
    key: Scalar | None
    is_key: bool


@dataclass(slots=True, eq=False)
class Sequence:
    """A sequence and its place.

    Attributes:
        outer: The number of the nearest enclosing mapping.
        key: The key of that mapping, directly or through other sequences.
        start: Where it begins in the text, in characters.
        tag: The explicit tag, if it has one, such as GitLab's `!reference`.
        end: Where the next thing begins.
        items: Its nodes; an alias is the node that it names.
    """

    outer: int | None
    key: str
    start: int
    tag: str | None
    end: int = 0
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Mapping:
    """A mapping and its place.

    Attributes:
        number: Its own number: the index in `Scan.mappings`.
        outer: The nearest enclosing mapping's; a reference would make each tree a cycle, which
            only the cyclic garbage collector frees, and that is slow for a large file.
        key: The key of that mapping, directly or through sequences.
        start: Where it begins in the text, in characters.
        is_item: Whether it is an item of a sequence.
        end: Where the next thing begins.
        entries: Its scalar keys and their nodes; an alias is the node that it names.
    """

    number: int
    outer: int | None
    key: str
    start: int
    is_item: bool
    end: int = 0
    entries: list[tuple[Scalar, Node]] = field(default_factory=list)


Node: TypeAlias = "Scalar | Sequence | Mapping"


@dataclass(slots=True, eq=False)
class Scan:
    """A text's documents.

    Attributes:
        text: The text, without a byte-order mark.
        documents: The root of each document.
        mappings: All mappings, each after the one that encloses it.
        scalars: All scalars, keys included, in the order of the text.
    """

    text: str
    documents: list[Node] = field(default_factory=list)
    mappings: list[Mapping] = field(default_factory=list)
    scalars: list[Scalar] = field(default_factory=list)


@dataclass(slots=True)
class _Frame:
    """An open collection, or the stream of documents; the key that waits for its value."""

    node: Sequence | Mapping
    pending: Node | None = None


def events(text: str) -> Iterator[yaml.Event]:
    """Parses a text.

    Args:
        text: The text without a byte-order mark; positions count from its first character.

    Raises:
        NotYamlError: The text is not YAML.
        RefusedError: PyYAML is here without libyaml; its Python parser reads tabs otherwise.
    """
    import yaml  # noqa: PLC0415 - costs 23 ms, and most runs find most files without it

    if not yaml.__with_libyaml__:
        raise RefusedError(
            "PyYAML is installed without libyaml.",
            why="Only libyaml's parser says exactly where a value stands.",
            hint="Install a wheel of pyyaml from PyPI: pip install --only-binary :all: pyyaml",
        )
    try:
        # The parser leaves out one mark without counting it; a second one it would count.
        # What `yaml.parse` does, without two calls from Python for each event.
        yield from iter(yaml.CBaseLoader(_BYTE_ORDER_MARK + text).get_event, None)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise NotYamlError(line, error.problem or "cannot be parsed") from error
    except yaml.reader.ReaderError as error:
        before = (_BYTE_ORDER_MARK + text).encode()[: error.position]
        raise NotYamlError(before.count(b"\n") + 1, error.reason) from error


def scan(text: str) -> Scan:
    """Reads a text's documents.

    Args:
        text: The text without a byte-order mark.

    Raises:
        NotYamlError: The text is not YAML, names an unknown anchor, or nests too deep.
    """
    import yaml  # noqa: PLC0415 - as above

    builder = _Builder(Scan(text))
    handlers: dict[type[yaml.Event], Callable[[Any], None]] = {
        yaml.ScalarEvent: builder.scalar,
        yaml.MappingStartEvent: builder.mapping,
        yaml.SequenceStartEvent: builder.sequence,
        yaml.MappingEndEvent: builder.close,
        yaml.SequenceEndEvent: builder.close,
        yaml.AliasEvent: builder.alias,
        yaml.DocumentStartEvent: builder.document,
    }
    for event in events(text):
        handler = handlers.get(type(event))
        if handler is not None:
            handler(event)
    return builder.result


@dataclass(slots=True)
class _Builder:
    """Builds nodes from events on a stack of its own: `compose` would crash on deep nesting."""

    result: Scan
    anchors: dict[str, Node] = field(default_factory=dict)
    frames: list[_Frame] = field(init=False)

    def __post_init__(self) -> None:
        self.frames = [_Frame(Sequence(None, "", 0, None, items=self.result.documents))]

    def scalar(self, event: yaml.ScalarEvent) -> None:
        frame = self.frames[-1]
        pending = frame.pending
        node = Scalar(
            event.value,
            event.start_mark.index,  # type: ignore[union-attr]  # libyaml marks every event
            event.end_mark.index,  # type: ignore[union-attr]  # the same
            event.style or "",
            event.tag,
            pending if isinstance(pending, Scalar) else None,
            pending is None and isinstance(frame.node, Mapping),
        )
        self.result.scalars.append(node)
        self._attach(node, event.anchor)

    def document(self, _event: yaml.DocumentStartEvent) -> None:
        self.anchors.clear()

    def mapping(self, event: yaml.MappingStartEvent) -> None:
        is_item = isinstance(self.frames[-1].node, Sequence) and len(self.frames) > 1
        node = Mapping(len(self.result.mappings), *self._place(event), is_item)
        self.result.mappings.append(node)
        self._open(node, event)

    def sequence(self, event: yaml.SequenceStartEvent) -> None:
        self._open(Sequence(*self._place(event), event.tag), event)

    def close(self, event: yaml.CollectionEndEvent) -> None:
        self.frames.pop().node.end = event.end_mark.index  # type: ignore[union-attr]  # as above

    def alias(self, event: yaml.AliasEvent) -> None:
        if event.anchor not in self.anchors:
            raise NotYamlError(_line(event), f"undefined alias *{event.anchor}")
        self._attach(self.anchors[event.anchor], None)

    def _open(self, node: Mapping | Sequence, event: yaml.CollectionStartEvent) -> None:
        if len(self.frames) > MAX_DEPTH:
            raise NotYamlError(_line(event), f"nests deeper than {MAX_DEPTH} levels")
        self._attach(node, event.anchor)
        self.frames.append(_Frame(node))

    def _place(self, event: yaml.CollectionStartEvent) -> tuple[int | None, str, int]:
        """Returns the number of the enclosing mapping, its key, and where the node begins."""
        frame = self.frames[-1]
        start = event.start_mark.index  # type: ignore[union-attr]  # as above
        if isinstance(frame.node, Mapping):
            key = frame.pending.value if isinstance(frame.pending, Scalar) else ""
            return frame.node.number, key, start
        return frame.node.outer, frame.node.key, start

    def _attach(self, node: Node, anchor: str | None) -> None:
        """Adds a node to the open collection."""
        if anchor is not None:
            self.anchors[anchor] = node
        frame = self.frames[-1]
        if isinstance(frame.node, Sequence):
            frame.node.items.append(node)
        elif frame.pending is None:
            frame.pending = node
        else:
            if isinstance(frame.pending, Scalar):
                frame.node.entries.append((frame.pending, node))
            frame.pending = None


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1
