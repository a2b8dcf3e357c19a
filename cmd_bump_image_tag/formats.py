"""The formats that the command knows: one table of the places that hold images.

A place is a path of keys from a document's root; `*` is one key, `**` any number of keys, and
lists add no key. A value without a place in the table, such as a label or an environment
variable, is text, even if it looks like an image.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

from cmd_bump_image_tag.image_parts import (
    Entries,
    digests_beside,
    is_hexadecimal,
    names_of_parts,
    part_entries,
    part_of,
    read_kustomize,
    read_parts,
    tags_beside,
)
from cmd_bump_image_tag.image_reference import has_variable, is_digest, parse_template
from cmd_bump_image_tag.images import Image
from cmd_bump_image_tag.yaml_text.scan import Mapping, Scalar, Sequence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cmd_bump_image_tag.yaml_text.scan import Node, Scan


class Shape(Enum):
    """How an image is spelled at a place."""

    REFERENCE = "a reference, or a name alone, which gets a tag"
    TAGGED = "a reference with a tag or a digest"
    OVERRIDE = "`REFERENCE` or `NAME=REFERENCE`"
    LINK = "`docker://REFERENCE`"
    PARTS = "name and tag in keys of their own"
    KUSTOMIZE = "`name`, `newName`, `newTag`, `digest`"
    VALUES = "Helm values"
    TEXT = "text"
    SETTINGS = "text, except mappings below it"


_SCALAR_SHAPES = (Shape.REFERENCE, Shape.TAGGED, Shape.OVERRIDE, Shape.LINK)

# Sets of keys, for the paths of the table.
KEYS = {
    "image": r"image|imageName|\w+Image",
    "any image": r"(?i:(?!images$)[\w-]*image[\w-]*)",
    "container": r"containers|initContainers|ephemeralContainers",
    "labels": r"(?i:.*labels|.*annotations)",
    "settings": r"(?i:env|envFrom|extraEnv.*|environment|args|command)",
    "object's own": r"metadata|status|selector|nodeSelector",
}


KEY_PATTERNS = {name: re.compile(pattern, re.DOTALL) for name, pattern in KEYS.items()}


@dataclass(frozen=True)
class Place:
    """A row of the table.

    Attributes:
        path: Keys with dots between them: a name, `*`, `**`, or `{NAME}` of `KEYS`.
        shape: How the value spells an image.
    """

    path: str
    shape: Shape


@dataclass(frozen=True, eq=False)
class Format:
    """A kind of document.

    Attributes:
        name: The usual name of the format.
        detects: Returns True if the mapping is the root of a document of this format; it gets the
            file's path too.
        places: The places of images and text; none if everything is text.
    """

    name: str
    detects: Callable[[Mapping, str], bool]
    places: tuple[Place, ...] = ()


def _text_of(mapping: Mapping, key: str) -> str:
    values = [value for name, value in mapping.entries if name.value == key]
    return values[-1].value if values and isinstance(values[-1], Scalar) else ""


def _keys(node: Node) -> set[str]:
    return {key.value for key, _ in node.entries} if isinstance(node, Mapping) else set()


def _is_object(mapping: Mapping, _path: str) -> bool:
    return bool(_text_of(mapping, "apiVersion") and _text_of(mapping, "kind"))


# Their images are data, schemas, patterns, constraints, or names to match.
_DESCRIBING = (
    "apiextensions.k8s.io/",
    "image.toolkit.fluxcd.io/",
    "argocd-image-updater.argoproj.io/",
    "kargo.akuity.io/",
    "skaffold/",
    "kbld.k14s.io/",
    "imgpkg.carvel.dev/",
    "vendir.k14s.io/",
    "kyverno.io/",
    "policies.kyverno.io/",
    "templates.gatekeeper.sh/",
    "constraints.gatekeeper.sh/",
    "policy.sigstore.dev/",
    "aquasecurity.github.io/",
)


def _is_description(mapping: Mapping, _path: str) -> bool:
    kind, version = _text_of(mapping, "kind"), _text_of(mapping, "apiVersion")
    return (version, kind) in {("v1", "ConfigMap"), ("v1", "Secret")} or version.startswith(
        _DESCRIBING
    )


def _is_kustomization(mapping: Mapping, path: str) -> bool:
    kind, version = _text_of(mapping, "kind"), _text_of(mapping, "apiVersion")
    names = ("kustomization.yaml", "kustomization.yml", "Kustomization")
    return (
        path.rpartition("/")[2] in names
        or kind == "Kustomization"  # which can go without a version
        or version.startswith("kustomize.config.k8s.io/")
        or (version, kind) == ("builtin", "ImageTagTransformer")
    )


def _has_path(pattern: str) -> Callable[[Mapping, str], bool]:
    return lambda _mapping, path: re.search(pattern, path) is not None


# https://docs.gitlab.com/ci/yaml/#job-keywords
_JOB_KEYWORD = re.compile(
    r"after_script|allow_failure|artifacts|before_script|cache|coverage|dast_configuration"
    r"|dependencies|environment|except|extends|hooks|id_tokens|identity|image|inherit"
    r"|interruptible|manual_confirmation|needs|only|pages|parallel|publish|release"
    r"|resource_group|retry|rules|run|script|secrets|services|stage|start_in|tags|timeout|trigger"
    r"|variables|when"
)


def _is_pipeline(mapping: Mapping, path: str) -> bool:
    if re.search(r"\.gitlab-ci\.ya?ml$|(?:^|/)\.gitlab/ci/|(?:^|/)\.gitlab-ci/", path):
        return True
    for key, value in mapping.entries:
        keywords = _keys(value)
        if key.value == "spec" and "inputs" in keywords and len(mapping.entries) == 1:
            return True
        is_shared = key.value == "default" or key.value.startswith(".")
        is_job = is_shared or bool(keywords & {"script", "run", "trigger", "extends"})
        if is_job and keywords and all(_is_key(_JOB_KEYWORD, each) for each in keywords):
            return True
    return False


# https://github.com/compose-spec/compose-spec/blob/main/spec.md
_COMPOSE_KEY = re.compile(r"version|name|services|networks|volumes|configs|secrets|include|x-.*")


def _is_compose(mapping: Mapping, path: str) -> bool:
    if re.search(r"(?:^|/)(?:docker-)?compose[^/]*\.ya?ml$", path):
        return True
    roots = _keys(mapping)
    return "services" in roots and all(_is_key(_COMPOSE_KEY, key) for key in roots)


def _is_workflow(mapping: Mapping, path: str) -> bool:
    roots = _keys(mapping)
    return {"on", "jobs"} <= roots or (
        "runs" in roots and re.search(r"(?:^|/)action\.ya?ml$", path) is not None
    )


_LABELS = (Place("**.{labels}", Shape.TEXT), Place("**.{settings}", Shape.SETTINGS))
_LOOSE = (
    Place("**.{image}", Shape.TAGGED),
    Place("**.{image}.reference", Shape.TAGGED),
    Place("**.{any image}", Shape.TAGGED),
    Place("**", Shape.PARTS),
)

_DESCRIPTION = Format("objects that describe images", _is_description)
VALUES = Format(
    "Helm values, and any other YAML",
    _has_path(r"(?:^|[/.-])values[^/]*\.ya?ml$"),
    (
        *_LABELS,
        Place("**.{image}.name", Shape.TAGGED),
        Place("**.{image}.*", Shape.TAGGED),
        Place("**.images", Shape.TAGGED),
        Place("**.images.*", Shape.TAGGED),
        *_LOOSE,
    ),
)

# The first format that detects a document reads it.
FORMATS = (
    _DESCRIPTION,
    Format(
        "Kustomization",
        _is_kustomization,
        (
            *_LABELS,
            Place("**.{object's own}", Shape.TEXT),
            Place("**.images", Shape.KUSTOMIZE),
            Place("imageTag", Shape.KUSTOMIZE),
            Place("**.valuesInline", Shape.VALUES),
            Place("**", Shape.PARTS),
        ),
    ),
    Format(
        "Kubernetes objects, custom resources too",
        _is_object,
        (
            *_LABELS,
            Place("**.{object's own}", Shape.TEXT),
            Place("**.{container}.image", Shape.REFERENCE),
            Place("**.volumes.image.reference", Shape.REFERENCE),
            Place("**.kustomize.images", Shape.OVERRIDE),
            Place("**.kustomize.images", Shape.KUSTOMIZE),
            Place("spec.values", Shape.VALUES),
            Place("**.valuesObject", Shape.VALUES),
            Place("**.valuesInline", Shape.VALUES),
            *_LOOSE,
        ),
    ),
    VALUES,
    Format(
        "Argo CD `.argocd-source-APP.yaml`",
        _has_path(r"(?:^|/)\.argocd-source[^/]*\.ya?ml$"),
        (
            Place("kustomize.images", Shape.OVERRIDE),
            Place("kustomize.images", Shape.KUSTOMIZE),
            Place("helm.valuesObject", Shape.VALUES),
        ),
    ),
    Format(
        "GitLab pipeline",
        _is_pipeline,
        (
            *_LABELS,
            Place("**.variables", Shape.TEXT),
            Place("image", Shape.REFERENCE),
            Place("image.name", Shape.REFERENCE),
            Place("*.image", Shape.REFERENCE),
            Place("*.image.name", Shape.REFERENCE),
            Place("services", Shape.REFERENCE),
            Place("services.name", Shape.REFERENCE),
            Place("*.services", Shape.REFERENCE),
            Place("*.services.name", Shape.REFERENCE),
            Place("include.inputs.*", Shape.TAGGED),
            Place("*.trigger.inputs.*", Shape.TAGGED),
            Place("*.trigger.include.inputs.*", Shape.TAGGED),
            Place("spec.inputs.*.default", Shape.TAGGED),
            *_LOOSE,
        ),
    ),
    Format(
        "Compose file",
        _is_compose,
        (
            *_LABELS,
            Place("*.image", Shape.REFERENCE),
            Place("services.*.image", Shape.REFERENCE),
            *_LOOSE,
        ),
    ),
    Format(
        "GitHub workflow or action",
        _is_workflow,
        (
            *_LABELS,
            Place("jobs.*.container", Shape.TAGGED),
            Place("jobs.*.container.image", Shape.TAGGED),
            Place("jobs.*.services.*.image", Shape.TAGGED),
            Place("**.uses", Shape.LINK),
            Place("runs.image", Shape.LINK),
        ),
    ),
    Format(
        "Cloud Build",
        _has_path(r"(?:^|/)cloudbuild[^/]*\.(?:ya?ml|json)$"),
        (Place("steps.name", Shape.TAGGED),),
    ),
)


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
            if path and path[-1] is not None and _is_key(path[-1], key) and _fits(path[:-1], self)
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


@lru_cache(maxsize=4096)
def _is_key(pattern: re.Pattern[str], key: str) -> bool:
    """Returns True if a key is one of these; cached, because a file repeats few keys."""
    return pattern.fullmatch(key) is not None


def _fits(path: tuple[re.Pattern[str] | None, ...], node: _Node | None) -> bool:
    """Returns True if a path leads from the root to a place."""
    for index in range(len(path) - 1, -1, -1):
        pattern = path[index]
        if pattern is None:
            return index == 0 or any(_fits(path[:index], each) for each in _outward(node))
        if node is None or node.outer is None or not _is_key(pattern, node.key):
            return False
        node = node.outer
    return node is None or node.outer is None


def _outward(node: _Node | None) -> Iterator[_Node]:
    while node is not None:
        yield node
        node = node.outer


_TEXT = _Node(_DESCRIPTION)


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
        self.done: set[int] = set()  # the mappings that were read together with their outer mapping

    def place(self, mapping: Mapping, outer: _Node | None) -> _Node:
        """Returns the place of a mapping; an object within another document is a new root."""
        path = self.path
        if outer is not None:
            if outer.is_text:
                return _TEXT
            node = outer.enter(mapping.key, is_item=mapping.is_item)
            if node.is_text or not _is_object(mapping, path):
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
        if node.is_text:
            return
        found = list(self._in_parts(mapping, node, own))
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

    def _in_parts(self, mapping: Mapping, node: _Node, own: Entries) -> Iterator[Image]:
        if node.is_settings or mapping.number in self.done:
            return
        if Shape.KUSTOMIZE in node.shapes:
            yield from read_kustomize(_exact(mapping))
        elif Shape.PARTS in node.shapes:
            yield from read_parts(own, is_image=_is_image_key(mapping.key))
            yield from self._split(mapping, own)

    def _split(self, mapping: Mapping, own: Entries) -> Iterator[Image]:
        """Reads `image: {repository: NAME}` with its `tag` next to `image`."""
        for key, value in mapping.entries:
            if not isinstance(value, Mapping) or not _is_key(KEY_PATTERNS["image"], key.value):
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


def _exact(mapping: Mapping) -> Entries:
    return {key.value: (key, value) for key, value in mapping.entries if isinstance(value, Scalar)}


def _is_image_key(key: str) -> bool:
    return _is_key(KEY_PATTERNS["image"], key) or key == "images"


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
    return _is_key(image, key) or (key == "name" and _is_key(image, outer))
