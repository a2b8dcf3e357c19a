from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandbox import git
from sandbox.ci.document import Library, compose
from sandbox.ci.errors import ConfigError
from sandbox.ci.plan import Include

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandbox.tests.ci.conftest import World

MAIN = Include(local=".gitlab-ci.yml")


def read(
    world: World, config: str, files: Mapping[str, str] | None = None, **given: object
) -> dict[str, object]:
    project = world.project("group/name", config, files)
    sha = git.resolve(project.repository, "main")
    assert sha
    library = Library(world.state, project, sha, world.user, {"FOLDER": "ci"})
    return compose(library, [MAIN], given)


def test_anchors_and_references_are_resolved(still: World) -> None:
    found = read(
        still,
        """
        .anchored: &anchored
          - a
        .setup:
          script: [b]
          variables: {X: 1}
        job:
          variables: !reference [.setup, variables]
          script:
            - *anchored
            - !reference [.setup, script]
        """,
    )
    assert found["job"] == {"variables": {"X": 1}, "script": [["a"], ["b"]]}


def test_extends_merges_mappings_and_replaces_lists(still: World) -> None:
    found = read(
        still,
        """
        .base: {script: [a], variables: {X: 1, Y: 1}}
        .other: {extends: .base, variables: {Y: 2}}
        job: {extends: [.other], script: [b]}
        """,
    )
    assert found["job"] == {"script": ["b"], "variables": {"X": 1, "Y": 2}}


def test_local_files_are_included_below_the_file_itself(still: World) -> None:
    found = read(
        still,
        """
        include: ["/$FOLDER/a.yml", {local: ci/b.yml}]
        job: {stage: test}
        """,
        {"ci/a.yml": "job: {script: [a]}", "ci/b.yml": "job: {script: [b], stage: build}"},
    )
    assert found == {"job": {"script": ["b"], "stage": "test"}}


def test_files_of_other_projects_are_included(still: World) -> None:
    still.project("group/shared", "unused: {}", {"jobs.yml": "job: {script: [shared]}"})
    found = read(still, "include: {project: group/shared, file: jobs.yml}")
    assert found == {"job": {"script": ["shared"]}}


def test_components_of_this_server_are_included_with_inputs(still: World) -> None:
    component = "spec: {inputs: {name: }}\n---\njob: {script: ['echo $[[ inputs.name ]]']}"
    still.project("group/parts", "unused: {}", {"templates/greet.yml": component})
    address = "gitlab.example:8080/group/parts/greet@main"
    found = read(still, f"include: {{component: {address}, inputs: {{name: you}}}}")
    assert found == {"job": {"script": ["echo you"]}}


def test_inputs_are_typed_and_default(still: World) -> None:
    found = read(
        still,
        """
        spec:
          inputs:
            stage: {default: test, options: [test, deploy]}
            count: {type: number}
            names: {type: array, default: [x]}
        ---
        job:
          stage: $[[ inputs.stage ]]
          parallel: $[[inputs.count]]
          only: $[[ inputs.names ]]
        """,
        count=3,
    )
    assert found["job"] == {"stage": "test", "parallel": 3, "only": ["x"]}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("a: [", "while parsing"),
        ("- a", "Invalid configuration format"),
        ("include: nowhere.yml", "Local file `nowhere.yml` does not exist!"),
        ("include: {project: a/b, file: c}", "Project `a/b` not found or access denied!"),
        ("include: {remote: 'https://x'}", "does not support: remote"),
        ("include: .gitlab-ci.yml", "nested includes"),
        ("job: {extends: .a}", "job: unknown keys in `extends` \\(.a\\)"),
        ("{a: {extends: b}, b: {extends: a}}", "circular dependency detected in `extends`"),
        ("job: {script: !reference [.a, script]}", "could not be found"),
        ("{a: !reference [b], b: !reference [a]}", "circular chain"),
        ("spec: {inputs: {x: }}\n---\na: b", "`x` input: required value has not been provided"),
        ("a: $[[ inputs.x ]]", "unknown interpolation key: `inputs.x`"),
    ],
)
def test_what_is_wrong_is_named(still: World, config: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(still, config)


@pytest.mark.parametrize(
    ("declaration", "value", "message"),
    [
        ("{type: number}", "3", "`x` input: provided value is not a number"),
        ("{options: [a, b]}", "c", "not in the list of allowed options: a, b"),
        ("{regex: '^v'}", "1", "does not match required RegEx"),
    ],
)
def test_a_wrong_input_is_refused(still: World, declaration: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(still, f"spec: {{inputs: {{x: {declaration}}}}}\n---\na: b", x=value)


def test_an_unknown_input_is_refused(still: World) -> None:
    with pytest.raises(ConfigError, match="unknown input arguments: y"):
        read(still, "a: b", y="1")
