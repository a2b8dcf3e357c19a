from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sandbox import Sandbox
    from sandbox.model import Project
    from tests.functional.conftest import Api


TAGS = "/projects/tech-lunch%2Fservice-tests/repository/tags"


@pytest.mark.parametrize(
    ("name", "ref", "message"),
    [
        ("v1", "main", "Tag v1 already exists"),
        ("v2", "nope", "Target nope is invalid"),
        ("v2", "", "Target is empty"),
        ("a b", "main", "Tag name invalid"),
        ("main", "main", "You cannot use default branch name to create a tag"),
    ],
)
@pytest.mark.usefixtures("project")
def test_a_tag_is_refused_in_gitlabs_words(api: Api, name: str, ref: str, message: str) -> None:
    api.post(TAGS, json={"tag_name": "v1", "ref": "main"})
    answer = api.post(TAGS, json={"tag_name": name, "ref": ref})
    assert (answer.status_code, answer.json()) == (400, {"message": message})


def test_of_an_annotated_tag_the_target_is_not_the_commit(
    gitlab: Sandbox, project: Project, api: Api
) -> None:
    tag = api.post(TAGS, json={"tag_name": "v1", "ref": "main", "message": "One"}).json()
    assert tag["commit"]["id"] == gitlab.sha(project) != tag["target"]
    assert gitlab.tags(project) == {"v1": gitlab.sha(project)}
