"""Images that one mapping spells in several keys: `registry`, `repository`, `tag`, `digest`."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from cmd_bump_image_tag.image_reference import has_variable, is_digest, parse_template
from cmd_bump_image_tag.images import Image
from cmd_bump_image_tag.yaml_text.edit import content
from cmd_bump_image_tag.yaml_text.scan import Mapping, Scalar, Sequence

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Entry: TypeAlias = tuple[Scalar, Scalar]  # a key and its value
Entries: TypeAlias = dict[str, Entry]

# A key without `-`, `_` and capitals: `imageTag`, `image_tag` and `image-tag` are one. The text
# before the part is the prefix: `initImage`, `initImageTag` and `initDigest` spell one image.
_PART = re.compile(
    r"""
      (?P<flag> usedigest )
    | (?P<registry> [a-z0-9]*? registry | (?:image)? hub | (?:image)? host )
    | (?P<name> [a-z0-9]*? (?:image)? (?: repository | repo ) | [a-z0-9]*? image (?:name)? | name )
    | (?P<tag> [a-z0-9]*? (?:image)? tag | [a-z0-9]*? imageversion | version )
    | (?P<digest> [a-z0-9]* digest [a-z0-9]* | [a-z0-9]*? sha (?:256)? | (?:image)? hash )
    """,
    re.VERBOSE,
)
# The part's word at the end of a key; the rest is the prefix. Charts of Prometheus and Airflow
# write `baseImage` and `defaultAirflowRepository`.
_WORD = re.compile(
    r"(?:base)?(?:image)?(?:registry|hub|host|repository|repo|name|tag|version|digest|sha256|sha"
    r"|hash)$|(?:base)?image$"
)
# If a mapping has several of them, the first is the image's name.
_NAME_ORDER = (
    *("repository", "repo", "imagerepository", "imagerepo", "imagename"),
    *("image", "baseimage", "name"),
)
_DIGEST_WORDS = frozenset({"digest", "sha", "sha256", "hash"})
_HEXADECIMAL = re.compile(r"[a-f0-9]{64}")
_LONGEST_KEY = 64


class Part(NamedTuple):
    """The part of an image that a key names.

    Attributes:
        kind: `registry`, `name`, `tag`, `digest` or `flag`.
        prefix: The common beginning of all keys of one image.
        word: The rest of the key, without capitals, `-` and `_`.
    """

    kind: str
    prefix: str
    word: str


@lru_cache(maxsize=4096)  # a file repeats few keys
def part_of(key: str) -> Part | None:
    """Returns the part of an image that a key names; None if it names none."""
    if len(key) > _LONGEST_KEY:
        return None
    plain = key.replace("-", "").replace("_", "").lower()
    found = _PART.fullmatch(plain)
    if found is None or found.lastgroup is None:
        return None
    word = _WORD.search(plain)
    start = word.start() if word else 0
    return Part(found.lastgroup, plain[:start], plain[start:])


def part_entries(mapping: Mapping, known: dict[Mapping, Entries]) -> Entries:
    """Returns the entries that can be parts of an image, merged ones (`<<`) included.

    Args:
        mapping: The mapping.
        known: The results of this function for other mappings; it adds its own.
    """
    if mapping in known:
        return known[mapping]
    known[mapping] = found = {}  # before the merges, which can form a cycle
    sources: list[Mapping] = []
    for key, value in mapping.entries:
        if isinstance(value, Scalar):
            if part_of(key.value) or _is_digest_value(value):
                found[key.value] = (key, value)
        elif key.value == "<<":
            merged = value.items if isinstance(value, Sequence) else [value]
            sources += [source for source in merged if isinstance(source, Mapping)]
        elif (part := part_of(key.value)) is not None and part.kind == "digest":
            found |= {f"{key.value}[{each.start}]": (key, each) for each in _digests_in(value)}
    for source in sources:
        for name, entry in part_entries(source, known).items():
            found.setdefault(name, entry)
    return found


def _digests_in(value: Mapping | Sequence) -> list[Scalar]:
    """Returns the items of a list or a mapping that holds digests only, one for each platform."""
    nodes = [node for _, node in value.entries] if isinstance(value, Mapping) else value.items
    digests = [node for node in nodes if isinstance(node, Scalar) and _is_digest_value(node)]
    return digests if len(digests) == len(nodes) else []


def _is_digest_value(value: Scalar) -> bool:
    return len(value.value) >= 64 and bool(  # noqa: PLR2004 - the digits of the shortest digest
        is_digest(value.value) or _HEXADECIMAL.fullmatch(value.value)
    )


def read_parts(entries: Entries, *, is_image: bool) -> Iterator[Image]:
    """Reads the images that are spelled in parts.

    Args:
        entries: The parts, of `part_entries`.
        is_image: Whether the mapping is the value of a key such as `image`, so that a `name`, or a
            `version` next to a `repository`, belongs to an image.

    Yields:
        Each image; one without a tag only if its keys leave no doubt that it is an image.
    """
    if not is_image and not any(_is_tag_or_digest(key) for key in entries):
        return  # most mappings
    parts = _Parts(entries)
    if parts.kinds.isdisjoint({"tag", "digest"}) and "repo" not in parts.words:
        return
    taken: set[Scalar] = set()
    for part, name in parts.names(is_image=is_image):
        tag = parts.tag(part, taken, is_image=is_image)
        digests = parts.digests(part.prefix)
        if digests.place is not None and digests.place[1] in taken:
            digests = Digests()
        is_bare = tag is None and digests.place is None
        if is_bare and (taken or not is_image or "repo" not in part.word):
            continue
        for image in _joined(parts, part, name, tag, digests):
            taken.update(image.scalars)
            yield image


def _is_tag_or_digest(key: str) -> bool:
    part = part_of(key)
    return part is not None and part.kind in ("tag", "digest")


def tags_beside(entries: Entries, prefix: str | None) -> Entries:
    """Returns the tags and digests among these parts, by their keys without the prefix.

    Args:
        entries: The parts.
        prefix: The prefix of their keys; None for any.
    """
    return {
        part.word: entry
        for key, entry in entries.items()
        if (part := part_of(key)) is not None
        and part.kind in ("tag", "digest")
        and prefix in (None, part.prefix)
    }


def names_of_parts(entries: Entries, images: Iterable[Image]) -> set[Scalar]:
    """Returns the scalars of a mapping that hold the names of these images."""
    lines = {scalar for image in images for scalar in image.lines}
    return {value for _, value in entries.values() if value in lines}


class Digests(NamedTuple):
    """The digests next to a tag.

    Attributes:
        place: The entry into which a new digest is written.
        stale: The other digests. They belong to the old tag and are removed.
        foreign: Digests under a key with another name, such as `hash`.
        is_needed: Whether `useDigest: true` asks for a digest.
    """

    place: Entry | None = None
    stale: tuple[Scalar, ...] = ()
    foreign: tuple[Scalar, ...] = ()
    is_needed: bool = False


def digests_beside(entries: Entries, key: str) -> Digests:
    """Returns the digests next to a whole reference.

    Args:
        entries: The parts of its mapping.
        key: The reference's own key.
    """
    part = part_of(key)
    for name, entry in entries.items():
        if name != key and _can_be_digest(entry):
            return _Parts(entries).digests(part.prefix if part else "")
    return Digests()


def _can_be_digest(entry: Entry) -> bool:
    part = part_of(entry[0].value)
    return (part is not None and part.kind == "digest") or _is_digest_value(entry[1])


class _Parts:
    """The parts of images in one mapping, by kind."""

    def __init__(self, entries: Entries) -> None:
        self.entries = entries
        self.known = [
            (part, entry) for key, entry in entries.items() if (part := part_of(key)) is not None
        ]
        self.kinds = {part.kind for part, _ in self.known}
        self.words = " ".join(part.word for part, _ in self.known)

    def of(self, kind: str) -> list[tuple[Part, Entry]]:
        return [(part, entry) for part, entry in self.known if part.kind == kind]

    def names(self, *, is_image: bool) -> list[tuple[Part, Entry]]:
        found = [
            (part, entry)
            for part, entry in self.of("name")
            if part.word in _NAME_ORDER and (is_image or part.word != "name")
        ]
        return sorted(found, key=lambda each: _NAME_ORDER.index(each[0].word))

    def tag(self, name: Part, taken: set[Scalar], *, is_image: bool) -> Entry | None:
        """Returns the tag of a name: one of the same family first, a `version` last."""
        order = ["tag", "imagetag", "imageversion"]
        if name.word.startswith("image") and name.word != "image":
            order = ["imagetag", "imageversion", "tag"]
        if not name.prefix and (is_image or name.word in ("image", "baseimage")):
            order.append("version")
        tags = {
            part.word: entry
            for part, entry in self.of("tag")
            if part.prefix == name.prefix and entry[1] not in taken
        }
        return next((tags[word] for word in order if word in tags), None)

    def registries(self, name: Part) -> Iterator[tuple[Part, Entry]]:
        """Yields the possible registries of a name, the most likely first."""
        found = [
            (part, entry)
            for part, entry in self.of("registry")
            if part.prefix in (name.prefix, "") and content(entry[1])
        ]
        order = ("registry", "imageregistry", "imagehub", "hub", "imagehost", "host")
        yield from sorted(
            (each for each in found if each[0].word in order),
            key=lambda each: (each[0].prefix != name.prefix, order.index(each[0].word)),
        )

    def digests(self, prefix: str) -> Digests:
        others = {part.prefix for part, _ in self.of("name")} - {prefix}
        place: Entry | None = None
        stale: list[tuple[Part, Entry]] = []
        foreign: list[Scalar] = []
        for key, entry in self.entries.items():
            part = part_of(key)
            is_value = _is_digest_value(entry[1])
            if part is None or part.kind != "digest":
                if is_value and (part is None or part.kind not in ("name", "tag")):
                    foreign.append(entry[1])
            elif part.prefix in others:
                continue
            elif part.prefix == prefix and place is None and _can_hold_digest(part, entry[1]):
                place = entry
            elif is_value:
                stale.append((part, entry))
        if place is None and len(stale) == 1 and stale[0][0].word in _DIGEST_WORDS:
            place = stale.pop()[1]
        is_needed = any(entry[1].value == "true" for _, entry in self.of("flag"))
        return Digests(place, tuple(entry[1] for _, entry in stale), tuple(foreign), is_needed)


def _can_hold_digest(part: Part, value: Scalar) -> bool:
    if part.word in ("digest", "imagedigest"):
        return True
    if part.word.removeprefix("image") not in _DIGEST_WORDS:
        return False
    return not content(value) or _is_digest_value(value) or has_variable(value.value)


def is_hexadecimal(digest: Entry) -> bool:
    """Returns True if the key and the value show that a digest has no `sha256:`."""
    key, value = digest
    part = part_of(key.value)
    is_sha = part is not None and "sha" in part.word
    return ":" not in value.value and (bool(_HEXADECIMAL.fullmatch(value.value)) or is_sha)


def _joined(
    parts: _Parts, part: Part, name: Entry, tag: Entry | None, digests: Digests
) -> Iterator[Image]:
    bare = parse_template(content(name[1]))
    registry = next(parts.registries(part), None)
    if registry and registry[0].word in ("hub", "host") and _has_domain(content(name[1])):
        registry = None  # then it is another host, such as an ingress's
    host = content(registry[1][1]).rstrip("/") if registry else ""
    text = "/".join(each for each in (host, content(name[1])) if each)
    reference = parse_template(text)
    if reference is None or reference.suffix or bare is None:
        return
    entries = [
        entry
        for entry in (name, registry[1] if registry else None, tag, digests.place)
        if entry is not None
    ]
    lines = tuple(scalar for entry in entries for scalar in entry)
    yield Image(
        reference,
        tag=tag[1] if tag else None,
        digest=digests.place[1] if digests.place else None,
        hexadecimal=digests.place is not None and is_hexadecimal(digests.place),
        carries=digests.place is None,
        stale=digests.stale,
        foreign=digests.foreign,
        needs_digest=digests.is_needed,
        lines=lines,
        obstacle=_variable(tag, digests.place),
    )
    if registry and registry[0].word == "host":
        key = registry[1][0].value
        yield Image(bare, lines=lines, obstacle=f"can have its registry in {key!r}")


def _variable(*entries: Entry | None) -> str:
    """Returns the obstacle of an image if one of these values has a variable."""
    values = (entry[1].value for entry in entries if entry is not None)
    found = next(filter(has_variable, values), "")
    return f"is filled in later: {found}" if found else ""


def in_registry(image: Image, registry: str) -> Image:
    """Returns an image of Helm values with its name in the chart's global registry.

    Args:
        image: An image in parts.
        registry: The registry's host.
    """
    name = content(image.lines[1])
    if _has_domain(name):
        return image
    return image._replace(in_global_registry=parse_template(f"{registry}/{name}"))


def _has_domain(name: str) -> bool:
    head, slash, _ = name.partition("/")
    return bool(slash) and ("." in head or ":" in head or head == "localhost")


def exact(mapping: Mapping) -> Entries:
    """Returns the entries of a mapping whose values are scalars."""
    return {key.value: (key, value) for key, value in mapping.entries if isinstance(value, Scalar)}


def read_oci(mapping: Mapping) -> Iterator[Image]:
    """Reads Flux's OCIRepository; a `semver` in its `ref` decides instead of the tag.

    Source: https://fluxcd.io/flux/components/source/ocirepositories/#reference
    """
    url = exact(mapping).get("url")
    refs = [value for key, value in mapping.entries if key.value == "ref"]
    ref = exact(refs[-1]) if refs and isinstance(refs[-1], Mapping) else {}
    tag, digest = ref.get("tag"), ref.get("digest")
    if url is None or not url[1].value.startswith("oci://"):
        return
    reference = parse_template(url[1].value.removeprefix("oci://"))
    if reference is None or reference.suffix:
        return
    yield Image(
        reference,
        tag=tag[1] if tag else None,
        digest=digest[1] if digest else None,
        lines=tuple(scalar for entry in (url, tag, digest) if entry for scalar in entry),
        obstacle="is set by a `semver` beside it" if "semver" in ref else _variable(tag, digest),
    )


def read_kustomize(entries: Entries) -> Iterator[Image]:
    """Reads an entry of Kustomize's `images`: `name`, `newName`, `newTag`, `digest`.

    Source: https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/images/
    """
    name = entries.get("newName") or entries.get("name")
    if name is None:
        return
    tag, digest = entries.get("newTag"), entries.get("digest")
    reference = parse_template(name[1].value)
    if reference is None:
        return
    lines = tuple(scalar for entry in (name, tag, digest) if entry for scalar in entry)
    obstacle = _variable(tag, digest)
    if reference.suffix:
        if name[0].value == "newName" and tag is None:
            place = digest[1] if digest else None
            yield Image(reference, reference=name[1], digest=place, lines=lines, obstacle=obstacle)
        return
    yield Image(
        reference,
        tag=tag[1] if tag else None,
        digest=digest[1] if digest else None,
        carries=digest is None,
        lines=lines,
        obstacle=obstacle,
    )
