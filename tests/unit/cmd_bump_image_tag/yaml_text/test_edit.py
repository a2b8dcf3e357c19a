"""The proof that an edit changed nothing else, and what it needs."""

import pytest
import yaml

from cicd_common.errors import RefusedError
from cmd_bump_image_tag.yaml_text import edit as module
from cmd_bump_image_tag.yaml_text.edit import Splice, UnsafeError, _verify, edit
from cmd_bump_image_tag.yaml_text.scan import scan


def test_an_edit_replaces_scalars_in_any_order() -> None:
    text = "a: one\nb: 'two'\n"
    scalars = {scalar.value: scalar for scalar in scan(text).scalars}
    assert edit(text, {scalars["two"]: "2nd", scalars["one"]: "1st"}) == "a: 1st\nb: '2nd'\n"


@pytest.mark.parametrize("before", [r"\d", r"\\", "plain"])
def test_a_backslash_in_single_quotes_is_no_escape(before: str) -> None:
    text = f"a: '{before} web:1'\n"
    [scalar] = [scalar for scalar in scan(text).scalars if not scalar.is_key]
    value = scalar.value.replace("web:1", "web:2.5")
    assert edit(text, {scalar: value}) == text.replace("web:1", "web:2.5")


@pytest.mark.parametrize(
    "edited",
    [
        "a: 1\nb: &x [c]\n---\nd: 2\n",
        "a: 1\nb: &x [c]\n",
        "a: 2\nb: &x [c]\n---\nd: 3\n",
        "a: 2\nb: &y [c]\n---\nd: 2\n",
        "a: 2\nb: [c]\n---\nd: 2\n",
        "a: 2\nb: &x\n- c\n---\nd: 2\n",
        "a: 2\nb: &x [c, c]\n---\nd: 2\n",
        "a: 2\nb: &x ['c']\n---\nd: 2\n",
        "a: !!str 2\nb: &x [c]\n---\nd: 2\n",
        "a: 2\nb: &x [c]\n---\nd: 2\n---\n",
        "a: 2\nb: &x [c\n---\nd: 2\n",
    ],
)
def test_any_other_difference_is_refused(edited: str) -> None:
    text = "a: 1\nb: &x [c]\n---\nd: 2\n"
    _verify(text, "a: '2'\nb: &x [c]\n---\nd: 2\n", {text.index("1"): "2"})
    with pytest.raises(UnsafeError):
        _verify(text, edited, {text.index("1"): "2"})


def test_every_edit_is_checked_before_it_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: one\nb: two\n"
    [scalar] = [scalar for scalar in scan(text).scalars if scalar.value == "one"]
    # A mistake of ours that takes the next line away, too.
    monkeypatch.setattr(module, "splices", lambda *_: [Splice(scalar.start, len(text), "1st\n")])
    with pytest.raises(UnsafeError, match="differ in more"):
        edit(text, {scalar: "1st"})


def test_pyyaml_without_libyaml_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml, "__with_libyaml__", False)
    with pytest.raises(RefusedError, match="without libyaml"):
        scan("a: b")
