"""What a set of jobs amounts to, and which jobs may go on: GitLab's rules for statuses.

Sources: `lib/gitlab/ci/status/composite.rb` and `app/services/ci/process_build_service.rb`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandbox.model import Job

_PASSED = frozenset({"success_with_warnings", "ignored"})

# The first row whose set holds all statuses gives the answer …
_ONLY: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"skipped", "ignored"}), "skipped"),
    (frozenset({"success", "skipped"}) | _PASSED, "success"),
    (frozenset({"created"}) | _PASSED, "created"),
    (frozenset({"preparing"}) | _PASSED, "preparing"),
    (frozenset({"canceled", "success", "skipped"}) | _PASSED, "canceled"),
    (frozenset({"pending", "created", "skipped"}) | _PASSED, "pending"),
)
# … else the first status here that is there; else it failed.
_ANY: tuple[tuple[str, str], ...] = (
    ("running", "running"),
    ("pending", "running"),
    ("waiting_for_resource", "waiting_for_resource"),
    ("waiting_for_callback", "waiting_for_callback"),
    ("manual", "manual"),
    ("scheduled", "scheduled"),
    ("preparing", "preparing"),
    ("created", "running"),
    ("canceling", "canceling"),
)

# The statuses of what comes before that let a job start, by its `when`.
_STARTS = {
    "on_success": {"success", "skipped"},
    "manual": {"success", "skipped"},
    "delayed": {"success", "skipped"},
    "on_failure": {"failed"},
    "always": {"success", "failed", "skipped"},
}


def composite(jobs: Iterable[Job], *, needed: bool = False) -> str | None:
    """The one status of several jobs.

    Args:
        jobs: The jobs; retried ones do not count and are not to be among them.
        needed: Whether they are what another job `needs`, where a skipped one skips it.

    Returns:
        The status, None of no jobs.
    """
    found = {_effective(job) for job in jobs}
    if not found:
        return None
    if needed and found & {"skipped", "ignored"}:
        return "skipped"
    for statuses, answer in _ONLY:
        if found <= statuses:
            return answer
    return next((answer for status, answer in _ANY if status in found), "failed")


def may_start(when: str, before: str, *, needs: bool) -> bool:
    """Whether a job runs, now that everything before it has ended; if not it is skipped.

    Args:
        when: The job's `when`.
        before: The composite status of what comes before.
        needs: Whether that is what the job `needs`, rather than the earlier stages.
    """
    starts = _STARTS.get(when, set())
    if needs and when in ("on_success", "manual", "delayed"):
        starts = starts - {"skipped"}
    return before in starts


def _effective(job: Job) -> str:
    if job.allow_failure and job.status in ("failed", "canceled"):
        return "success_with_warnings"
    if job.allow_failure and job.status == "manual":
        return "ignored"
    return job.status
