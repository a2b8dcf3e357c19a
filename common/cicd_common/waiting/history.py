"""How long a pipeline will take, by earlier ones of its ref."""

from __future__ import annotations

import logging
import statistics
from typing import TYPE_CHECKING

from cicd_common.errors import CommandError
from cicd_common.waiting.model import Estimate
from cicd_common.waiting.reading import parse_pipeline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cicd_common.client import GitLab
    from cicd_common.waiting.model import Pipeline

log = logging.getLogger(__name__)

EARLIER = 20  # recent enough to resemble the next, enough for a median
LONGEST_SECONDS = 24 * 3600  # what a later retry, or a person who was waited for, made of one


def read_estimate(gitlab: GitLab, pipeline: Pipeline) -> Estimate | None:
    """Estimates a pipeline's time from its creation to its end, in one request.

    Args:
        gitlab: The client.
        pipeline: The pipeline.

    Returns:
        The estimate; None where there is no history, or none that can be read: it is a comfort
        only, so that no wait fails for it.
    """
    try:
        answers = gitlab.get(
            f"projects/{pipeline.project_id}/pipelines",
            ref=pipeline.ref,
            status="success",
            source=pipeline.source,
            per_page=EARLIER,
        )
        earlier = [parse_pipeline(gitlab, answer) for answer in answers]
    except CommandError as error:
        log.debug("No history: %s", error)
        return None
    return estimate(earlier)


def estimate(earlier: Iterable[Pipeline]) -> Estimate | None:
    """The estimate that successful pipelines allow; None if there is none among them.

    A list of pipelines has no durations; a success changes last when it ends.
    """
    took = [
        seconds
        for pipeline in earlier
        if (seconds := (pipeline.updated_at - pipeline.created_at).total_seconds()) > 0
        and seconds < LONGEST_SECONDS
    ]
    if not took:
        return None
    median = statistics.median(took)
    return Estimate(median, statistics.median(abs(seconds - median) for seconds in took))
