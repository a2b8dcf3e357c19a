from __future__ import annotations

from typing import Any

import pytest
import requests_mock as requests_mock_module

from cicd_common.errors import NotFoundError
from cicd_common.gitlab.client import GitLab
from cicd_common.gitlab.connection import Connection
from cicd_common.gitlab.tokens import Token, TokenKind
from cicd_common.waiting.pipelines import read_pipeline
from cicd_common.waiting.targets import ById, Finder, OwnJob

BASE = "https://gitlab.example.com"
ADDRESS = f"{BASE}/api/v4/projects/7/pipelines/12"
PIPELINE = {
    "id": 12,
    "project_id": 7,
    "status": "running",
    "ref": "main",
    "sha": "0" * 40,
    "web_url": f"{BASE}/group/name/-/pipelines/12",
    "created_at": "2026-01-02T03:04:05.000Z",
}


def client() -> GitLab:
    return GitLab(Connection(BASE, Token(TokenKind.ACCESS, "the test", "hush"), retry_for=0))


def job(pipeline: object) -> dict[str, Any]:
    return {
        "id": 1,
        "name": "test",
        "stage": "test",
        "status": "running",
        "web_url": f"{BASE}/group/name/-/jobs/1",
        "pipeline": pipeline,
    }


@pytest.mark.parametrize(
    ("shown", "requests"),
    [(PIPELINE, 2), ({"id": 12, "status": "running"}, 3), (None, 3)],
    ids=["all of it", "some of it", "nothing"],
)
def test_a_pipeline_is_read_from_its_jobs(shown: object, requests: int) -> None:
    with requests_mock_module.Mocker() as http:
        http.get(f"{ADDRESS}/jobs", json=[job(shown)])
        http.get(f"{ADDRESS}/bridges", json=[])
        http.get(ADDRESS, json=PIPELINE)
        pipeline = read_pipeline(client(), "7", 12)
    assert (pipeline.id, pipeline.project, pipeline.status) == (12, "group/name", "running")
    assert http.call_count == requests


def test_the_error_names_a_missing_pipeline() -> None:
    with requests_mock_module.Mocker() as http:
        http.get(f"{ADDRESS}/jobs", status_code=404, json={"message": "404 Not found"})
        with pytest.raises(NotFoundError) as raised:
            Finder(client(), ById("7", 12), OwnJob()).find()
    assert "7 has no pipeline 12" in raised.value.why
