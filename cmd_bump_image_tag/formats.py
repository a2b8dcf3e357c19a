"""Where images stand in the documents that the command knows: one table of formats.

What is not in the table, such as labels, environment variables and a ConfigMap's data, is text
that only looks like an image.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, TypeAlias

from cmd_bump_image_tag.image_reference import ImageReference, is_interpolated, outline
from cmd_bump_image_tag.images import Image
from cmd_bump_image_tag.yaml_text.edit import content
from cmd_bump_image_tag.yaml_text.scan import Mapping, Scalar, Sequence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cmd_bump_image_tag.yaml_text.scan import Scan

# `image`, and what custom resources and charts call their images: `imageName`, `sidecarImage`.
_IMAGE_KEY = re.compile(r"image|imageName|\w+Image")
_UNTAGGED = re.compile(rf"images|{_IMAGE_KEY.pattern}")
_NOWHERE = re.compile(r"(?!)")

# Below these keys stands text for people, for shells and for selectors.
_TEXT = r"(?i:.*labels|.*annotations|env|envFrom|extraEnv.*|environment|args|command)"
_TEXT_KEY = re.compile(_TEXT)
_OBJECT_TEXT_KEY = re.compile(rf"{_TEXT}|metadata|status|selector|nodeSelector")
_PIPELINE_TEXT_KEY = re.compile(rf"{_TEXT}|variables")

Entry: TypeAlias = tuple[Scalar, Scalar]  # a key and its value
Entries: TypeAlias = dict[str, Entry]
Reader: TypeAlias = "Callable[[Mapping, Entries], Iterator[Image]]"


@dataclass(frozen=True)
class Parts:
    """The keys that together spell an image in one mapping.

    Attributes:
        registry: The key of the registry's host, which may be missing.
        name: The keys of the repository; the first that is there counts.
        tag: The key of the tag.
        digest: The keys of the digest.
        below: Such a mapping is an image only where it stands below one of these keys.
    """

    registry: str
    name: tuple[str, ...]
    tag: str
    digest: tuple[str, ...]
    below: re.Pattern[str] = re.compile(".*")


# `sha` is the digest's hexadecimal part alone, as in the charts of Prometheus and Grafana.
_CHART_IMAGES = (
    Parts("registry", ("repository",), "tag", ("digest", "sha")),
    Parts("registry", ("image",), "tag", ("digest", "sha")),
    Parts("registry", ("name",), "tag", ("digest", "sha"), below=_IMAGE_KEY),
    Parts("imageRegistry", ("imageRepository", "imageName", "image"), "imageTag", ("imageDigest",)),
)
# https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/images/
_KUSTOMIZE_IMAGES = (
    Parts("", ("newName", "name"), "newTag", ("digest",), below=re.compile("images|imageTag")),
)
_PART_KEYS = frozenset(
    key
    for parts in (*_CHART_IMAGES, *_KUSTOMIZE_IMAGES)
    for key in (parts.registry, *parts.name, parts.tag, *parts.digest)
)


# Without one of these, a mapping spells no image.
_NAMES_ENOUGH = frozenset({"repository", "newName"})
_SIGNS = _NAMES_ENOUGH.union(
    *((parts.tag, *parts.digest) for parts in (*_CHART_IMAGES, *_KUSTOMIZE_IMAGES))
)


@dataclass(frozen=True)
class Format:
    """A kind of document.

    Attributes:
        name: What its users call it.
        detects: Whether a mapping is such a document's root, by the file's path too.
        readers: Find the images of one mapping; none where all is text.
        text: The keys below which all is text.
    """

    name: str
    detects: Callable[[Mapping, str], bool]
    readers: tuple[Reader, ...] = ()
    text: re.Pattern[str] = field(default=_TEXT_KEY)


def find_images(scan: Scan, path: str) -> Iterator[Image]:
    """Finds the images of a file.

    Args:
        scan: The file's documents.
        path: Its path, for the formats that are told by it.

    Yields:
        Each image; an anchored one again at each place that merges it in.
    """
    formats: list[Format] = []
    entries: dict[Mapping, Entries] = {}
    for mapping in scan.mappings:
        outer = None if mapping.outer is None else formats[mapping.outer]
        format_ = _format(mapping, path, outer)
        formats.append(format_)
        # Of text too: what is merged further down is known by then, however long the chain.
        own = _part_entries(mapping, entries)
        for reader in format_.readers:
            yield from reader(mapping, own)


def _format(mapping: Mapping, path: str, outer: Format | None) -> Format:
    if outer is None:
        return next(format_ for format_ in FORMATS if format_.detects(mapping, path))
    if not outer.readers or _is_below(outer.text, mapping.key):
        return _ALL_TEXT
    if _is_object(mapping, path):  # of a list, a template, a chart's extra manifests
        return next(format_ for format_ in FORMATS if format_.detects(mapping, ""))
    return outer


@lru_cache(maxsize=1024)
def _is_below(keys: re.Pattern[str], key: str) -> bool:
    """Returns whether a key is one of some; the same few stand all over a file."""
    return keys.fullmatch(key) is not None


def _part_entries(mapping: Mapping, known: dict[Mapping, Entries]) -> Entries:
    """Returns the entries that may be parts of an image, merged ones (`<<`) included."""
    if mapping in known:
        return known[mapping]
    known[mapping] = found = {}  # before the merges, which may lead round in a circle
    sources: list[Mapping] = []
    for key, value in mapping.entries:
        if isinstance(value, Scalar) and key.value in _PART_KEYS:
            found[key.value] = (key, value)
        elif key.value == "<<" and not isinstance(value, Scalar):
            merged = value.items if isinstance(value, Sequence) else [value]
            sources += [source for source in merged if isinstance(source, Mapping)]
    for source in sources:
        for name, entry in _part_entries(source, known).items():
            found.setdefault(name, entry)
    return found


def _whole(
    value: Scalar, *lines: Scalar, prefix: str = "", untagged: bool = True
) -> Iterator[Image]:
    """Reads a scalar that ends with a whole reference."""
    text = value.value.removeprefix(prefix)
    if is_interpolated(text):
        name, obstacle = outline(text), f"is filled in later: {text}"
    else:
        name = ImageReference.parse(text)
        obstacle = "" if untagged or name is None or name.suffix else "has no tag here"
    if name is not None:
        yield Image(name, reference=value, lines=lines, obstacle=obstacle)


def _references(
    mapping: Mapping, entries: Entries, *, nested: str, untagged: bool = True
) -> Iterator[Image]:
    """Reads `image: REFERENCE`, and `image:` with the reference below the nested key."""
    for key, value in mapping.entries:
        if not _is_below(_IMAGE_KEY, key.value):
            continue
        if isinstance(value, Scalar) and not _is_name_of_parts(value, entries):
            yield from _whole(value, key, untagged=untagged)
        elif isinstance(value, Mapping):
            inner = {name.value: (name, node) for name, node in value.entries}
            name, node = inner.get(nested, (key, None))
            if isinstance(node, Scalar) and not inner.keys() & {"tag", "digest", "sha"}:
                yield from _whole(node, key, name, untagged=untagged)


def _is_name_of_parts(value: Scalar, entries: Entries) -> bool:
    """Returns whether a scalar is the name only, with its tag in a sibling."""
    if "tag" not in entries and "imageTag" not in entries:
        return False
    reference = ImageReference.parse(value.value)
    return reference is not None and not reference.suffix


def _parts(mapping: Mapping, entries: Entries, *, table: tuple[Parts, ...]) -> Iterator[Image]:
    """Reads an image that is spelled in parts."""
    if entries.keys().isdisjoint(_SIGNS):
        return
    taken: set[Scalar] = set()
    for row in table:
        name = next((entries[key] for key in row.name if key in entries), None)
        digest_key = next((key for key in row.digest if key in entries), "")
        tag, digest = entries.get(row.tag), entries.get(digest_key)
        if name is None or (tag is not None and tag[1] in taken):
            continue
        below = row.below
        if tag is None and digest is None:
            # Worth a warning where it can be nothing but an image.
            below = _UNTAGGED if name[0].value in _NAMES_ENOUGH else _NOWHERE
        if not below.fullmatch(mapping.key):
            continue
        image = _joined(name, entries.get(row.registry), tag, digest)
        if image is not None:
            taken.update(image.scalars)
            yield image


def _joined(
    name: Entry, registry: Entry | None, tag: Entry | None, digest: Entry | None
) -> Image | None:
    host = content(registry[1]) if registry else ""
    text = "/".join(part for part in (host.rstrip("/"), content(name[1])) if part)
    reference = outline(text) if is_interpolated(text) else ImageReference.parse(text)
    if reference is None or reference.suffix:
        return None
    entries = [entry for entry in (name, registry, tag, digest) if entry is not None]
    filled = [value.value for _, value in entries if is_interpolated(value.value)]
    return Image(
        reference,
        tag=tag[1] if tag else None,
        digest=digest[1] if digest else None,
        hexadecimal=digest is not None and digest[0].value == "sha",
        carries=digest is None,
        lines=tuple(scalar for entry in entries for scalar in entry),
        obstacle=f"is filled in later: {filled[0]}" if filled else "",
    )


def _services(mapping: Mapping, _entries: Entries) -> Iterator[Image]:
    """Reads GitLab's `services`, by name or as mappings with a `name`."""
    for key, value in mapping.entries:
        # A tagged list is GitLab's own, such as `!reference [.job, services]`.
        if key.value != "services" or not isinstance(value, Sequence) or value.tag:
            continue
        for item in value.items:
            if isinstance(item, Scalar):
                yield from _whole(item)
            elif isinstance(item, Mapping):
                for name, node in item.entries:
                    if name.value == "name" and isinstance(node, Scalar):
                        yield from _whole(node, name)


def _overrides(mapping: Mapping, _entries: Entries) -> Iterator[Image]:
    """Reads Argo CD's `kustomize.images`: `REFERENCE` or `NAME=REFERENCE`."""
    for key, value in mapping.entries:
        if mapping.key == "kustomize" and key.value == "images" and isinstance(value, Sequence):
            for item in value.items:
                if isinstance(item, Scalar):
                    old, equals, _ = item.value.rpartition("=")
                    yield from _whole(item, prefix=old + equals)


def _text_of(mapping: Mapping, key: str) -> str:
    values = [value for name, value in mapping.entries if name.value == key]
    return values[-1].value if values and isinstance(values[-1], Scalar) else ""


def _is_object(mapping: Mapping, _path: str) -> bool:
    return bool(_text_of(mapping, "apiVersion") and _text_of(mapping, "kind"))


def _is_text(mapping: Mapping, _path: str) -> bool:
    """Objects whose images are data, schemas, or repositories to watch."""
    kind, version = _text_of(mapping, "kind"), _text_of(mapping, "apiVersion")
    return (version, kind) in {("v1", "ConfigMap"), ("v1", "Secret")} or version.startswith(
        ("apiextensions.k8s.io/", "image.toolkit.fluxcd.io/")
    )


def _is_kustomization(mapping: Mapping, path: str) -> bool:
    kind, version = _text_of(mapping, "kind"), _text_of(mapping, "apiVersion")
    names = ("kustomization.yaml", "kustomization.yml", "Kustomization")
    return (
        path.rpartition("/")[2] in names
        or kind == "Kustomization"  # which may go without a version
        or version.startswith("kustomize.config.k8s.io/")
        or (version, kind) == ("builtin", "ImageTagTransformer")
    )


def _is_pipeline(mapping: Mapping, path: str) -> bool:
    if re.search(r"\.gitlab-ci\.ya?ml$|(?:^|/)\.gitlab/ci/|(?:^|/)\.gitlab-ci/", path):
        return True
    return any(
        (key.value == "stages" and isinstance(value, Sequence))
        or (isinstance(value, Mapping) and any(name.value == "script" for name, _ in value.entries))
        for key, value in mapping.entries
    )


def _is_compose(mapping: Mapping, path: str) -> bool:
    return bool(re.search(r"(?:^|/)(?:docker-)?compose[^/]*\.ya?ml$", path)) or any(
        key.value == "services" and isinstance(value, Mapping) for key, value in mapping.entries
    )


_ALL_TEXT = Format("text", _is_text)
_chart_images = partial(_parts, table=_CHART_IMAGES)
_kustomize_images = partial(_parts, table=_KUSTOMIZE_IMAGES)

# The first that detects a document reads it.
FORMATS = (
    _ALL_TEXT,
    Format(
        "Kustomization",
        _is_kustomization,
        (_kustomize_images, _chart_images),
        _OBJECT_TEXT_KEY,
    ),
    Format(
        "Kubernetes object",  # HelmRelease, Tekton, Argo and all other custom resources too
        _is_object,
        (partial(_references, nested="reference"), _chart_images, _overrides),
        _OBJECT_TEXT_KEY,
    ),
    Format(
        "GitLab pipeline",
        _is_pipeline,
        (partial(_references, nested="name"), _services, _chart_images),
        _PIPELINE_TEXT_KEY,
    ),
    Format("Compose file", _is_compose, (partial(_references, nested="name"), _chart_images)),
    Format(
        "Helm values",  # and whatever else says `image:`
        lambda _mapping, _path: True,
        (partial(_references, nested="name", untagged=False), _chart_images),
    ),
)
