"""Says in words why a job failed."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from cicd_common.cleaning import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

DOWNSTREAM = "downstream_pipeline_"  # and a status follows, if GitLab names no reason

# For reasons whose name says less than the text of `Gitlab::Ci::Status::Build::Failed`.
_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "stuck_or_timeout_failure": "stuck, or over its time limit",
        "job_execution_timeout": "over its time limit",
        "runner_unsupported": "the runner is too old",
        "no_matching_runner": "no matching runner",
        "ci_quota_exceeded": "no compute minutes left",
        "trace_size_exceeded": "the log is too long",
        "pipeline_loop_detected": "the pipeline would trigger itself",
        "downstream_bridge_project_not_found": "the downstream project was not found",
        "downstream_pipeline_creation_failed": "the downstream pipeline could not be created",
        "insufficient_bridge_permissions": "not allowed to start the downstream pipeline",
        "reached_max_descendant_pipelines_depth": "child pipelines are nested too deep",
        "reached_max_pipeline_hierarchy_size": "too many downstream pipelines",
    }
)


def reason_in_words(reason: str) -> str:
    """Returns in words why a job failed, from GitLab's name of the reason."""
    if reason in _REASONS:
        return _REASONS[reason]
    if reason.startswith(DOWNSTREAM):
        status = one_line(reason.removeprefix(DOWNSTREAM)).replace("_", " ")
        return f"the downstream pipeline {status}"
    return one_line(reason).replace("_", " ")
