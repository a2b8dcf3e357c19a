from pathlib import Path

import pytest

from sandbox.ci.variables import as_values, expand, expand_all, merge, settings
from sandbox.model import Project, ProtectedRef, State, Variable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$NAME", "value"),
        ("${NAME}", "value"),
        ("a${NAME}b$NAME/c", "avalueb" + "value/c"),
        ("$UNKNOWN.", "."),
        ("$$NAME", "$NAME"),
        ("$$$NAME", "$value"),
        ("%NAME%", "%NAME%"),
        ("$(pwd) $1 $", "$(pwd) $1 $"),
    ],
)
def test_variables_in_a_text_are_expanded(text: str, expected: str) -> None:
    assert expand(text, {"NAME": "value"}) == expected


def test_values_refer_to_each_other_in_any_order_and_depth() -> None:
    variables = [
        Variable("OPTIONS", "--rm $IMAGE --tag_name ${SLUG}_$ID"),
        Variable("IMAGE", "$REGISTRY/cmd:1"),
        Variable("REGISTRY", "localhost:5000"),
        Variable("SLUG", "a-b"),
        Variable("ID", "7"),
    ]
    assert (
        as_values(expand_all(variables))["OPTIONS"] == "--rm localhost:5000/cmd:1 --tag_name a-b_7"
    )


def test_values_that_refer_to_each_other_in_a_cycle_are_not_expanded() -> None:
    variables = [Variable("A", "$B"), Variable("B", "$C"), Variable("C", "$A"), Variable("D", "$A")]
    assert as_values(expand_all(variables)) == {"A": "$B", "B": "$C", "C": "$A", "D": "$B"}


def test_a_value_that_refers_to_itself_is_not_expanded() -> None:
    assert as_values(expand_all([Variable("A", "$A:x")])) == {"A": "$A:x"}


def test_raw_and_file_variables_are_not_expanded() -> None:
    variables = [
        Variable("RAW", "$X", raw=True),
        Variable("FILE", "$X", kind="file"),
        Variable("X", "1"),
        Variable("OTHER", "$RAW"),
    ]
    assert as_values(expand_all(variables)) == {
        "RAW": "$X",
        "FILE": "$X",
        "X": "1",
        "OTHER": "$X",
    }


def test_a_later_layer_of_variables_overrides_an_earlier_one() -> None:
    merged = merge([Variable("A", "1"), Variable("B", "1")], [Variable("A", "2")])
    assert as_values(merged) == {"A": "2", "B": "1"}


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State(tmp_path)
    state.instance_variables = [Variable("X", "instance"), Variable("I", "instance")]
    state.group_variables = {
        "top": [Variable("X", "top"), Variable("T", "top")],
        "top/sub": [Variable("X", "sub")],
    }
    return state


def test_project_variables_override_group_variables_and_those_override_instance_variables(
    state: State,
) -> None:
    project = Project(1, "top/sub/name", state.root, variables=[Variable("P", "project")])
    found = as_values(settings(state, project, "main", tag=False))
    assert found == {"X": "sub", "I": "instance", "T": "top", "P": "project"}


@pytest.mark.parametrize(
    ("ref", "tag", "seen"),
    [("main", False, True), ("topic", False, False), ("v1", True, True), ("main", True, False)],
)
def test_a_protected_variable_is_set_only_on_protected_refs(
    state: State, ref: str, tag: bool, seen: bool
) -> None:
    project = Project(1, "other/name", state.root, variables=[Variable("T", "x", protected=True)])
    project.protected_branches.append(ProtectedRef("main"))
    project.protected_tags.append(ProtectedRef("v*"))
    assert ("T" in as_values(settings(state, project, ref, tag=tag))) is seen
