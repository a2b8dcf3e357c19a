"""The address that git gets for a project."""

import pytest

from cicd_common.errors import UsageError
from cicd_common.gitlab.connection import Connection
from cicd_common.gitlab.projects import Project
from cmd_bump_image_tag.run import _address

URL = "https://gitlab.example.com/gitlab"


def test_a_project_is_reached_by_its_path_on_its_server() -> None:
    project = Project("7", "group/web", f"{URL}/group/web", "main")
    assert _address(Connection(base_url=f"{URL}/"), project) == f"{URL}/group/web.git"


def test_2_a_project_whose_path_a_job_token_does_not_show_has_no_address() -> None:
    for project in (None, Project("7", "7", URL, "main")):
        with pytest.raises(UsageError, match="path is not known"):
            _address(Connection(base_url=URL), project)
