from __future__ import annotations

import pytest

from cicd_common.errors import RefusedError
from cmd_bump_image_tag.commit_message import check_not_older, trailers
from cmd_bump_image_tag.result import Change

HERE = "https://gitlab.example.com/g/p/-/pipelines"
CHANGE = Change("a.yaml", 1, "v1", "v2", "example.com/web")


def message(pipeline: str, *images: str) -> str:
    return f"Update\n\n{trailers(pipeline, images)}\n"


@pytest.mark.parametrize(
    "messages",
    [
        [],
        ["By hand"],
        [message(f"{HERE}/6", "example.com/web")],
        [message(f"{HERE}/7", "example.com/web")],
        [message(f"{HERE}/8", "example.com/api")],
        [message("https://gitlab.example.com/g/other/-/pipelines/8", "example.com/web")],
        # Only the last commit of the image counts: somebody has gone back on purpose.
        [message(f"{HERE}/6", "example.com/web"), message(f"{HERE}/8", "example.com/web")],
        [message("no address", "example.com/web")],
        [message(f"{HERE}/8", CHANGE.image) + trailers(f"{HERE}/6", [CHANGE.image])],
        ["Upstream-Pipeline:\nBumped-Image:\n"],
    ],
)
def test_a_run_is_allowed_if_no_newer_pipeline_has_bumped_the_image(messages: list[str]) -> None:
    check_not_older(f"{HERE}/7", [CHANGE], lambda _: messages)


@pytest.mark.parametrize(
    "messages",
    [
        [message(f"{HERE}/8", "example.com/web")],
        [message(f"{HERE}/10", "example.com/api", "example.com/web")],
        ["By hand", message(f"{HERE}/6", "example.com/api"), message(f"{HERE}/8/", CHANGE.image)],
        # A squashed commit has the trailers of several: the last counts.
        [message(f"{HERE}/6", CHANGE.image) + trailers(f"{HERE}/8", [CHANGE.image])],
    ],
)
def test_a_run_is_refused_if_a_newer_pipeline_has_bumped_the_image(messages: list[str]) -> None:
    with pytest.raises(RefusedError, match=r"a\.yaml: example\.com/web was set by pipeline"):
        check_not_older(f"{HERE}/7", [CHANGE], lambda _: messages)


@pytest.mark.parametrize("upstream", ["", "https://gitlab.example.com/g/p"])
def test_outside_a_job_no_history_is_read(upstream: str) -> None:
    def never(path: str) -> list[str]:
        raise AssertionError(path)

    check_not_older(upstream, [CHANGE], never)
