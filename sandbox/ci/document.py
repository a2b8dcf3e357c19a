"""A configuration as plain data: read from a commit, its includes, `extends` and `!reference` done.

The order is GitLab's: include, extends, references (`lib/gitlab/ci/config.rb`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import yaml

from sandbox import git
from sandbox.ci import inputs, keywords
from sandbox.ci.errors import ConfigError
from sandbox.ci.globs import glob
from sandbox.ci.plan import Include
from sandbox.ci.variables import expand
from sandbox.permissions import find_project, may_read_code

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandbox.model import Project, State, User

Config = dict[str, object]
CONFIG_FILE = ".gitlab-ci.yml"

_INCLUDE_KEYS = ("local", "component", "project", "file", "ref", "inputs")
_DEEPEST_INCLUDE = 10
_DEEPEST_EXTENDS = 11  # GitLab's own limit


@dataclass(frozen=True)
class Library:
    """Where configuration files come from, as one user sees them.

    Args:
        state: The records, for other projects' files.
        project: Whose files `local` means.
        sha: At which commit.
        user: Who has to be able to read other projects.
        variables: What names in an include may refer to.
    """

    state: State
    project: Project
    sha: str
    user: User
    variables: Mapping[str, str]

    def read(self, path: str) -> str | None:
        """A file's text, None if the commit has no such file."""
        try:
            return git.run(
                self.project.repository, "cat-file", "blob", f"{self.sha}:{path}"
            ).decode()
        except git.GitError:
            return None

    def paths(self) -> list[str]:
        """The paths of all files in the commit."""
        listed = git.run(self.project.repository, "ls-tree", "-r", "--name-only", "-z", self.sha)
        return listed.decode().split("\0")[:-1]

    def other(self, path: str, ref: str) -> Library:
        """The library of another project at one of its refs."""
        project = find_project(self.state, path)
        if project is None or not may_read_code(project, self.user):
            raise ConfigError(
                f"Project `{path}` not found or access denied! "
                "Make sure any includes in the pipeline configuration are correctly defined."
            )
        sha = git.resolve(project.repository, ref or project.default_branch)
        if sha is None:
            raise ConfigError(f"Project `{path}` reference `{ref}` does not exist!")
        return Library(self.state, project, sha, self.user, self.variables)


class _Reference(tuple[str, ...]):
    """The path that a `!reference` names."""

    __slots__ = ()


class _Loader(yaml.SafeLoader):
    """YAML with `!reference`."""


def _reference(loader: _Loader, node: yaml.Node) -> _Reference:
    if not isinstance(node, yaml.SequenceNode):
        raise ConfigError("!reference should be an array of keys")
    return _Reference(str(item) for item in loader.construct_sequence(node))


_Loader.add_constructor("!reference", _reference)


def compose(library: Library, entries: Sequence[Include], given: Mapping[str, object]) -> Config:
    """The whole configuration that a pipeline starts from.

    Args:
        library: Where files come from.
        entries: The file, or of a child pipeline the files, to start with.
        given: Inputs for the first of them.

    Raises:
        ConfigError: A file is missing or wrong.
    """
    config: Config = {}
    for entry in entries:
        for file in _files(library, entry):
            config = _merge(config, _included(library, file, {**entry.inputs, **given}, 0))
    extended: Config = {key: _extended(config, key, ()) for key in config}
    return {key: _resolved(value, extended, ()) for key, value in extended.items()}


def includes(value: object, where: str) -> tuple[Include, ...]:
    """Reads an `include`, of a configuration or of a trigger."""
    return tuple(
        include for item in keywords.flat(value, where) for include in _include(item, where)
    )


def _include(item: object, where: str) -> list[Include]:
    if isinstance(item, str):
        return [Include(local=item)]
    fields = keywords.known(item, where, _INCLUDE_KEYS)
    names = {
        key: keywords.text(fields[key], f"{where}:{key}")
        for key in ("local", "component", "project", "ref")
        if key in fields
    }
    given = keywords.mapping(fields.get("inputs", {}), f"{where}:inputs")
    if len(names.keys() & {"local", "component", "project"}) != 1:
        raise keywords.wrong(where, "one of local, component or project")
    files: Sequence[str | None] = (None,)
    if "project" in names:
        files = keywords.texts(fields.get("file", []), f"{where}:file")
    return [Include(**names, file=file, inputs=given) for file in files]


def _included(library: Library, entry: Include, given: Mapping[str, object], depth: int) -> Config:
    """A file's configuration, merged over those that it includes."""
    if depth > _DEEPEST_INCLUDE:
        raise ConfigError("Maximum of nested includes reached; does a file include itself?")
    library, path, text = _find(library, entry)
    config = _load(text, path, given)
    merged: Config = {}
    for nested in includes(config.pop("include", []), "include"):
        for file in _files(library, nested):
            merged = _merge(merged, _included(library, file, nested.inputs, depth + 1))
    return _merge(merged, config)


def _files(library: Library, entry: Include) -> list[Include]:
    """An include for each file that a local one means by a wildcard, or the include itself.

    Source: `External::Mapper::LocationExpander` in GitLab's source.
    """
    pattern = expand(entry.local or "", library.variables).lstrip("/")
    if "*" not in pattern:
        return [entry]
    expression = glob(pattern)
    found = [path for path in library.paths() if expression.fullmatch(path)]
    return [replace(entry, local=path) for path in found if path.endswith((".yml", ".yaml"))]


def _find(library: Library, entry: Include) -> tuple[Library, str, str]:
    """Which file an include means, where it lies and what it says."""
    if entry.component is not None:
        library, path = _component(library, expand(entry.component, library.variables))
        paths = [f"templates/{path}.yml", f"templates/{path}/template.yml"]
    elif entry.project is not None:
        ref = expand(entry.ref or "", library.variables)
        library = library.other(expand(entry.project, library.variables), ref)
        paths = [expand(entry.file or "", library.variables).lstrip("/")]
    else:
        paths = [expand(entry.local or "", library.variables).lstrip("/")]
    for path in paths:
        text = library.read(path)
        if text is not None:
            return library, path, text
    raise ConfigError(f"Local file `{paths[0]}` does not exist!")


def _component(library: Library, address: str) -> tuple[Library, str]:
    """The project and the name in `host/group/project/name@version`."""
    location, _, version = address.rpartition("@")
    server = library.state.external_url.partition("://")[2] + "/"
    if not location.startswith(server):
        raise ConfigError(f"Component `{address}` is not on this server, {server}")
    project, _, name = location.removeprefix(server).rpartition("/")
    return library.other(project, "" if version == "~latest" else version), name


def _load(text: str, name: str, given: Mapping[str, object]) -> Config:
    """A file's data with its inputs inserted."""
    try:
        # _Loader is a SafeLoader with one more tag
        documents = list(yaml.load_all(text, _Loader))
    except yaml.YAMLError as error:
        raise ConfigError(f"({name}): {error}") from error
    header = documents.pop(0) if len(documents) > 1 else None
    if len(documents) > 1:
        raise ConfigError(f"({name}): more than one document follows the header")
    values = inputs.resolve(header, given, name)
    content = inputs.interpolate(documents[0] if documents else None, values, name)
    if not isinstance(content, dict):
        raise ConfigError("Invalid configuration format")
    return keywords.mapping(content, name)


def _merge(base: Mapping[str, object], over: Mapping[str, object]) -> Config:
    """One configuration over another: mappings are joined, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        under = merged.get(key)
        if isinstance(under, dict) and isinstance(value, dict):
            merged[key] = _merge(under, value)
        else:
            merged[key] = value
    return merged


def _extended(config: Config, key: str, above: tuple[str, ...]) -> object:
    """A job with what it `extends` merged below it."""
    job = config[key]
    if not isinstance(job, dict) or "extends" not in job:
        return job
    if key in above:
        raise ConfigError(f"{key}: circular dependency detected in `extends`")
    if len(above) >= _DEEPEST_EXTENDS:
        raise ConfigError(f"{key}: nesting too deep in `extends`")
    merged: Config = {}
    for name in keywords.texts(job["extends"], f"jobs:{key}:extends"):
        if not isinstance(config.get(name), dict):
            raise ConfigError(f"{key}: unknown keys in `extends` ({name})")
        parent = _extended(config, name, (*above, key))
        merged = _merge(merged, keywords.mapping(parent, name))
    return _merge(merged, {name: value for name, value in job.items() if name != "extends"})


def _resolved(value: object, config: Config, above: tuple[_Reference, ...]) -> object:
    """A value with every `!reference` in it replaced by what it names."""
    if isinstance(value, _Reference):
        if value in above:
            raise ConfigError(f"!reference {list(value)} is part of a circular chain")
        return _resolved(_named(value, config), config, (*above, value))
    if isinstance(value, dict):
        return {key: _resolved(item, config, above) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, config, above) for item in value]
    return value


def _named(reference: _Reference, config: Config) -> object:
    found: object = config
    for key in reference:
        if not isinstance(found, dict) or key not in found:
            raise ConfigError(f"!reference {list(reference)} could not be found")
        found = found[key]
    return found
