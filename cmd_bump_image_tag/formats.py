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

from cmd_bump_image_tag.yaml_text.scan import Mapping, Scalar

if TYPE_CHECKING:
    from collections.abc import Callable

    from cmd_bump_image_tag.yaml_text.scan import Node


class Shape(Enum):
    """How an image is spelled at a place."""

    REFERENCE = "a reference, or a name alone, which gets a tag"
    TAGGED = "a reference with a tag or a digest"
    OVERRIDE = "`REFERENCE` or `NAME=REFERENCE`"
    LINK = "`docker://REFERENCE`"
    PARTS = "name and tag in keys of their own"
    KUSTOMIZE = "`name`, `newName`, `newTag`, `digest`"
    VALUES = "Helm values"
    OCI = "`url: oci://NAME`, `ref` with `tag` or `digest`"
    TEXT = "text"
    SETTINGS = "text, except mappings below it"


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


@lru_cache(maxsize=4096)
def is_key(pattern: re.Pattern[str], key: str) -> bool:
    """Returns True if a key is one of these; cached, because a file repeats few keys."""
    return pattern.fullmatch(key) is not None


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


def is_object(mapping: Mapping, _path: str) -> bool:
    """Returns True if the mapping is the root of a Kubernetes object."""
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


def _is_oci_repository(mapping: Mapping, _path: str) -> bool:
    version = _text_of(mapping, "apiVersion")
    is_flux = version.startswith("source.toolkit.fluxcd.io/")
    return is_flux and _text_of(mapping, "kind") == "OCIRepository"


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
        if is_job and keywords and all(is_key(_JOB_KEYWORD, each) for each in keywords):
            return True
    return False


# https://github.com/compose-spec/compose-spec/blob/main/spec.md
_COMPOSE_KEY = re.compile(r"version|name|services|networks|volumes|configs|secrets|include|x-.*")


def _is_compose(mapping: Mapping, path: str) -> bool:
    if re.search(r"(?:^|/)(?:docker-)?compose[^/]*\.ya?ml$", path):
        return True
    roots = _keys(mapping)
    return "services" in roots and all(is_key(_COMPOSE_KEY, key) for key in roots)


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

DESCRIPTION = Format("objects that describe images", _is_description)
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
    DESCRIPTION,
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
        "Flux OCIRepository",
        _is_oci_repository,
        (
            *_LABELS,
            Place("**.{object's own}", Shape.TEXT),
            Place("spec", Shape.OCI),
        ),
    ),
    Format(
        "Kubernetes objects, custom resources too",
        is_object,
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
