from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cicd_common.errors import UsageError
from cicd_common.waiting.targets import ById, OwnJob, own_job, parse_pipeline_url
from cmd_wait_pipeline.request import WaitRequest

BASE = "https://gitlab.example.com/root"
PARTS = [
    BASE, "https://", "user:hush@", "gitlab.example.com", "[::1", ":99999", "/root", "/", "group",
    "/-/pipelines/", "/pipelines/", "12", "9" * 30, "?private_token=hush", "#", "%2e%2e", "..",
]  # fmt: skip


@pytest.mark.parametrize(
    "rest",
    ["/-/pipelines/12", "/pipelines/12", "/-/pipelines/12/", "/-/pipelines/12/failures?a=b#c"],
)
def test_a_pipelines_page_and_its_subpages_identify_it(rest: str) -> None:
    assert parse_pipeline_url(f"{BASE}/group/sub/name{rest}", BASE) == ById("group/sub/name", 12)


@pytest.mark.parametrize(
    "url",
    [
        "12",
        f"{BASE}/group/name",
        f"{BASE}/group/name/-/pipelines",
        f"{BASE}/group/name/-/pipelines/12x",
        "https://gitlab.example.com/group/name/-/pipelines/12",
        "https://other.example.com/root/group/name/-/pipelines/12",
    ],
)
def test_other_text_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        parse_pipeline_url(url, BASE)


@given(st.text() | st.lists(st.sampled_from(PARTS)).map("".join))
def test_any_text_is_a_pipelines_page_or_a_clear_error(text: str) -> None:
    try:
        found = parse_pipeline_url(text, BASE)
    except UsageError:
        return
    assert found.id < 10**18
    assert f"{found.project}/" in text
    assert "hush" not in found.project


def test_outside_a_job_the_jobs_own_pipeline_is_unknown() -> None:
    assert own_job({"CI_PROJECT_PATH": "group/name"}) == OwnJob()


def test_the_same_pipeline_named_twice_is_waited_for_once() -> None:
    urls = [f"{BASE}/{path}/-/pipelines/12" for path in ("group/name", "Group/Name")]
    request = WaitRequest("group/name", (12, 12, *urls, 13))
    assert request.targets(BASE, OwnJob()) == [ById("group/name", 12), ById("group/name", 13)]
