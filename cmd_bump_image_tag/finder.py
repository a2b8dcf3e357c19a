"""Finds the images of a file at the places that its documents' formats have."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from cmd_bump_image_tag.formats import (
    DESCRIPTION,
    FORMATS,
    KEY_PATTERNS,
    VALUES,
    Shape,
    is_key,
    is_object,
)
from cmd_bump_image_tag.image_parts import (
    digests_beside,
    exact,
    in_registry,
    is_hexadecimal,
    names_of_parts,
    part_entries,
    part_of,
    read_kustomize,
    read_oci,
    read_parts,
    tags_beside,
)
from cmd_bump_image_tag.image_reference import has_variable, is_digest, parse_template
from cmd_bump_image_tag.images import Image
from cmd_bump_image_tag.yaml_text.edit import content
from cmd_bump_image_tag.yaml_text.keypaths import find
from cmd_bump_image_tag.yaml_text.scan import Mapping, Scalar, Sequence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cmd_bump_image_tag.formats import Format, Place
    from cmd_bump_image_tag.image_parts import Entries
    from cmd_bump_image_tag.yaml_text.scan import Node, Scan

_SCALAR_SHAPES = (Shape.REFERENCE, Shape.TAGGED, Shape.OVERRIDE, Shape.LINK)


class _Node:
    """The place of mappings in a document; mappings with the same path share one object."""

    def __init__(self, format_: Format, outer: _Node | None = None, key: str = "") -> None:
        self.format = format_
        self.outer = outer
        self.key = key
        shapes = {place.shape for place, path in _compiled(format_) if path and _fits(path, self)}
        self.is_text = not format_.places or Shape.TEXT in shapes
        self.is_settings = Shape.SETTINGS in shapes
        self.shapes = shapes
        self.inner: dict[tuple[str, bool], _Node] = {}
        self.scalars: dict[str, tuple[Shape, ...]] = {}

    def enter(self, key: str, *, is_item: bool) -> _Node:
        """Returns the place of a mapping below a key, itself or as an item of a list."""
        found = self.inner.get((key, is_item))
        if found is None:
            found = _TEXT if self.is_text else _Node(self.format, self, key)
            if Shape.VALUES in found.shapes:
                found = _Node(VALUES)
            elif found.is_text or (found.is_settings and is_item):
                found = _TEXT
            self.inner[key, is_item] = found
        return found

    def shapes_of(self, key: str) -> tuple[Shape, ...]:
        """Returns how the value of a key, or the items of its list, can spell an image."""
        found = self.scalars.get(key)
        if found is None:
            found = () if self.is_text or self.is_settings else self._shapes_of(key)
            self.scalars[key] = found
        return found

    def _shapes_of(self, key: str) -> tuple[Shape, ...]:
        at_key = [
            place
            for place, path in _compiled(self.format)
            if path and path[-1] is not None and is_key(path[-1], key) and _fits(path[:-1], self)
        ]
        shapes = [place.shape for place in at_key]
        if Shape.TEXT in shapes or Shape.SETTINGS in shapes:
            return ()
        return tuple(dict.fromkeys(shape for shape in shapes if shape in _SCALAR_SHAPES))


@lru_cache(maxsize=64)
def _compiled(format_: Format) -> tuple[tuple[Place, tuple[re.Pattern[str] | None, ...]], ...]:
    """Returns the places of a format with their paths as patterns; None stands for `**`."""
    return tuple((place, _path(place.path)) for place in format_.places)


@lru_cache(maxsize=256)
def _path(path: str) -> tuple[re.Pattern[str] | None, ...]:
    known = {f"{{{name}}}": pattern for name, pattern in KEY_PATTERNS.items()}
    known["*"] = re.compile(".*", re.DOTALL)
    return tuple(
        None if key == "**" else known.get(key) or re.compile(re.escape(key))
        for key in path.split(".")
    )


def _fits(path: tuple[re.Pattern[str] | None, ...], node: _Node | None) -> bool:
    """Returns True if a path leads from the root to a place."""
    for index in range(len(path) - 1, -1, -1):
        pattern = path[index]
        if pattern is None:
            return index == 0 or any(_fits(path[:index], each) for each in _outward(node))
        if node is None or node.outer is None or not is_key(pattern, node.key):
            return False
        node = node.outer
    return node is None or node.outer is None


def _outward(node: _Node | None) -> Iterator[_Node]:
    while node is not None:
        yield node
        node = node.outer


_TEXT = _Node(DESCRIPTION)


def find_images(scan: Scan, path: str) -> Iterator[Image]:
    """Finds the images of a file.

    Args:
        scan: The file's documents.
        path: Its path, which identifies some formats.

    Yields:
        Each image; an anchored image again at each place that merges it.
    """
    finder = _Finder(path)
    nodes: list[_Node] = []
    for mapping in scan.mappings:
        node = finder.place(mapping, None if mapping.outer is None else nodes[mapping.outer])
        nodes.append(node)
        yield from finder.images(mapping, node)


class _Finder:
    """Finds the images of a file, mapping by mapping, from the outside in."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.roots: dict[Format, _Node] = {}
        self.entries: dict[Mapping, Entries] = {}
        self.registries: list[str] = []  # by mapping: that of all images of its Helm values
        self.done: set[int] = set()  # the mappings that were read together with their outer mapping

    def place(self, mapping: Mapping, outer: _Node | None) -> _Node:
        """Returns the place of a mapping; an object within another document is a new root."""
        path = self.path
        if outer is not None:
            if outer.is_text:
                return _TEXT
            node = outer.enter(mapping.key, is_item=mapping.is_item)
            if node.is_text or not is_object(mapping, path):
                return node
            path = ""
        format_ = next((each for each in FORMATS if each.detects(mapping, path)), VALUES)
        if format_ not in self.roots:
            self.roots[format_] = _Node(format_)
        return self.roots[format_]

    def images(self, mapping: Mapping, node: _Node) -> Iterator[Image]:
        """Yields the images of one mapping."""
        # Text mappings too: a mapping further down can merge them, and the chain can be long.
        own = part_entries(mapping, self.entries)
        registry = self._global_registry(mapping, node)
        self.registries.append(registry)
        if node.is_text:
            return
        found = list(self._in_parts(mapping, node, own))
        if registry:
            found = [in_registry(image, registry) for image in found]
        yield from found
        names: set[Scalar] = set()
        free = own
        if found:
            names = names_of_parts(own, found)
            taken = {scalar for image in found for scalar in image.scalars}
            free = {name: entry for name, entry in own.items() if entry[1] not in taken}
        for key, value in mapping.entries:
            shapes = node.shapes_of(key.value)
            if not shapes:
                continue
            for scalar in _scalars(value):
                if scalar not in names:
                    yield from _whole(key, scalar, shapes, free, node.key)

    def _global_registry(self, mapping: Mapping, node: _Node) -> str:
        if node.outer is not None and mapping.outer is not None:
            return self.registries[mapping.outer]
        return _global_registry(mapping) if node.format is VALUES else ""

    def _in_parts(self, mapping: Mapping, node: _Node, own: Entries) -> Iterator[Image]:
        if node.is_settings or mapping.number in self.done:
            return
        if Shape.KUSTOMIZE in node.shapes:
            yield from read_kustomize(exact(mapping))
        elif Shape.OCI in node.shapes:
            yield from read_oci(mapping)
        elif Shape.PARTS in node.shapes:
            yield from read_parts(own, is_image=_is_image_key(mapping.key))
            yield from self._split(mapping, own)

    def _split(self, mapping: Mapping, own: Entries) -> Iterator[Image]:
        """Reads `image: {repository: NAME}` with its `tag` next to `image`."""
        for key, value in mapping.entries:
            if not isinstance(value, Mapping) or not is_key(KEY_PATTERNS["image"], key.value):
                continue
            inner = part_entries(value, self.entries)
            part = part_of(key.value)
            beside = tags_beside(own, part.prefix if part else "")
            if not beside or tags_beside(inner, None):
                continue
            found = list(read_parts({**beside, **inner}, is_image=True))
            if found:
                self.done.add(value.number)
                yield from found


def _global_registry(root: Mapping) -> str:
    """Returns the registry of all images; charts of Bitnami and ingress-nginx have such a key."""
    paths = (("global", "imageRegistry"), ("global", "image", "registry"))
    values = (find(root, path) for path in paths)
    found = (content(each).rstrip("/") for each in values if isinstance(each, Scalar))
    return next(filter(None, found), "")


def _is_image_key(key: str) -> bool:
    return is_key(KEY_PATTERNS["image"], key) or key == "images"


def _scalars(value: Node) -> Iterator[Scalar]:
    if isinstance(value, Scalar):
        yield value
    # A tagged list is GitLab's own, such as `!reference [.job, services]`.
    elif isinstance(value, Sequence) and not value.tag:
        yield from (item for item in value.items if isinstance(item, Scalar))


def _whole(
    key: Scalar, value: Scalar, shapes: tuple[Shape, ...], entries: Entries, outer: str
) -> Iterator[Image]:
    """Reads a scalar that ends with a whole reference."""
    text = value.value
    if Shape.OVERRIDE in shapes:
        text = text.rpartition("=")[2]
    elif Shape.LINK in shapes:
        if not text.startswith("docker://"):
            return
        text = text.removeprefix("docker://")
    if ":" not in text and "@" not in text and not _reports(key.value, shapes, outer):
        return  # most values: neither a tag nor a digest
    name = parse_template(text)
    if (
        name is None
        or is_digest(text)
        or (not name.suffix and not _reports(key.value, shapes, outer))
    ):
        return
    obstacle = ""
    if not name.suffix and Shape.REFERENCE not in shapes:
        obstacle = "has no tag here"
    if has_variable(name.suffix):
        obstacle = f"is filled in later: {text}"
    digests = digests_beside(entries if name.suffix else {}, key.value)
    yield Image(
        name,
        reference=value,
        digest=digests.place[1] if digests.place else None,
        hexadecimal=digests.place is not None and is_hexadecimal(digests.place),
        stale=digests.stale,
        foreign=digests.foreign,
        needs_digest=digests.is_needed,
        lines=(key,),
        obstacle=obstacle,
    )


def _reports(key: str, shapes: tuple[Shape, ...], outer: str) -> bool:
    """Returns True if a name without a tag is reported at this place."""
    if Shape.REFERENCE in shapes or Shape.OVERRIDE in shapes:
        return True
    image = KEY_PATTERNS["image"]
    return is_key(image, key) or (key == "name" and is_key(image, outer))
