"""How GitLab writes its records in JSON; named after its `API::Entities`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sandbox import git, permissions, storage
from sandbox.model import Access

if TYPE_CHECKING:
    from sandbox.model import (
        Job,
        Pipeline,
        Project,
        Release,
        ReleaseLink,
        State,
        Token,
        User,
        Variable,
    )

# Detailed status of a status: its icon's name after `status_`, its text, its label.
_DETAILED = {
    "created": ("created", "Created", "created"),
    "waiting_for_resource": ("pending", "Waiting", "waiting for resource"),
    "preparing": ("preparing", "Preparing", "preparing"),
    "waiting_for_callback": ("pending", "Waiting", "waiting for callback"),
    "pending": ("pending", "Pending", "pending"),
    "running": ("running", "Running", "running"),
    "success": ("success", "Passed", "passed"),
    "failed": ("failed", "Failed", "failed"),
    "canceling": ("canceled", "Canceling", "canceling"),
    "canceled": ("canceled", "Canceled", "canceled"),
    "skipped": ("skipped", "Skipped", "skipped"),
    "manual": ("manual", "Blocked", "waiting for manual action"),
    "scheduled": ("scheduled", "Scheduled", "scheduled"),
}


def timestamp(when: datetime | None) -> str | None:
    """A record's time: `2026-01-05T09:00:00.000Z`."""
    if when is None:
        return None
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03}Z"


def _git_timestamp(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds")


def project_url(state: State, project: Project) -> str:
    """A project's web address."""
    return f"{state.external_url}/{project.path}"


def commit(state: State, project: Project, sha: str) -> dict[str, Any]:
    """A commit."""
    found = git.commits(project.repository, [sha])[sha]
    return {
        "id": found.sha,
        "short_id": found.sha[:8],
        "created_at": _git_timestamp(found.committed_at),
        "parent_ids": list(found.parents),
        "title": found.title,
        "message": found.message,
        "author_name": found.author_name,
        "author_email": found.author_email,
        "authored_date": _git_timestamp(found.authored_at),
        "committer_name": found.committer_name,
        "committer_email": found.committer_email,
        "committed_date": _git_timestamp(found.committed_at),
        "trailers": {},
        "extended_trailers": {},
        "web_url": f"{project_url(state, project)}/-/commit/{found.sha}",
    }


def commit_detail(
    state: State, project: Project, sha: str, last_pipeline: Pipeline | None
) -> dict[str, Any]:
    """A commit and its newest pipeline."""
    return {
        **commit(state, project, sha),
        "status": last_pipeline.status if last_pipeline else None,
        "project_id": project.id,
        "last_pipeline": pipeline_basic(state, last_pipeline) if last_pipeline else None,
    }


def tag(state: State, project: Project, record: git.Tag) -> dict[str, Any]:
    """A tag; of an annotated one `target` is the tag object, not the commit."""
    released = project.releases.get(record.name)
    return {
        "name": record.name,
        "message": record.message,
        "target": record.target,
        "commit": commit(state, project, record.sha),
        "release": released and {"tag_name": released.tag, "description": released.description},
        "protected": permissions.protection(project.protected_tags, record.name) is not None,
        "created_at": record.created_at and _git_timestamp(record.created_at),
    }


def branch(state: State, project: Project, name: str, sha: str, role: Access) -> dict[str, Any]:
    """A branch, and what a role may do with it."""
    rules = project.protected_branches
    developers = permissions.may_update(rules, name, Access.DEVELOPER)
    return {
        "name": name,
        "commit": commit(state, project, sha),
        "merged": False,
        "protected": permissions.protection(rules, name) is not None,
        "developers_can_push": developers,
        "developers_can_merge": developers,
        "can_push": permissions.may_update(rules, name, role),
        "default": name == project.default_branch,
        "web_url": f"{project_url(state, project)}/-/tree/{quote(name)}",
    }


def user_basic(state: State, user: User) -> dict[str, Any]:
    """A user as others see them."""
    return {
        "id": user.id,
        "username": user.username,
        "public_email": "",
        "name": user.name,
        "state": "active",
        "locked": False,
        "avatar_url": None,
        "web_url": f"{state.external_url}/{user.username}",
    }


def current_user(state: State, user: User) -> dict[str, Any]:
    """A user as they see themselves."""
    return {
        **user_basic(state, user),
        "email": user.email,
        "commit_email": user.email,
        "bot": user.bot,
        "is_admin": user.admin,
    }


def basic_project(state: State, record: Project) -> dict[str, Any]:
    """A project as others are told of it."""
    namespace, _, path = record.path.rpartition("/")
    url = project_url(state, record)
    return {
        "id": record.id,
        "description": None,
        "name": path,
        "name_with_namespace": record.path.replace("/", " / "),
        "path": path,
        "path_with_namespace": record.path,
        "default_branch": record.default_branch,
        "http_url_to_repo": f"{url}.git",
        "web_url": url,
        "visibility": record.visibility,
        "namespace": {"name": namespace, "path": namespace, "full_path": namespace},
    }


def project(state: State, record: Project, role: Access) -> dict[str, Any]:
    """A project."""
    return {
        **basic_project(state, record),
        "empty_repo": not git.refs(record.repository, "refs/heads/"),
        "archived": False,
        "merge_requests_enabled": True,
        "merge_requests_access_level": "enabled",
        "issues_enabled": True,
        "only_allow_merge_if_pipeline_succeeds": record.pipelines_must_succeed,
        "allow_merge_on_skipped_pipeline": record.skipped_pipelines_count_as_success,
        "merge_method": "merge",
        "jobs_enabled": record.ci_enabled,
        "builds_access_level": "enabled" if record.ci_enabled else "disabled",
        "ci_job_token_scope_enabled": record.job_token_allowlist is not None,
        "ci_push_repository_for_job_token_allowed": record.job_token_push,
        "ci_pipeline_variables_minimum_override_role": _variables_role(record),
        "permissions": {
            "project_access": {"access_level": int(role)} if role else None,
            "group_access": None,
        },
    }


def _variables_role(project: Project) -> str:
    role = project.pipeline_variables_role
    return "no_one_allowed" if role > Access.OWNER else Access(role).name.lower()


def access_token(state: State, token: Token) -> dict[str, Any]:
    """An access token, without its secret."""
    expired = token.expires_at is not None and token.expires_at <= state.clock.now()
    return {
        "id": token.id,
        "name": token.name,
        "revoked": token.revoked,
        "created_at": timestamp(token.created_at),
        "description": "",
        "scopes": sorted(token.scopes),
        "user_id": token.user.id,
        "last_used_at": None,
        "active": not (token.revoked or expired),
        "expires_at": token.expires_at and token.expires_at.date().isoformat(),
    }


def release(state: State, project: Project, record: Release) -> dict[str, Any]:
    """A release."""
    tagged = git.tags(project.repository, name=record.tag)
    url = project_url(state, project)
    return {
        "name": record.name,
        "tag_name": record.tag,
        "description": record.description,
        "created_at": timestamp(record.created_at),
        "released_at": timestamp(record.created_at),
        "upcoming_release": False,
        "author": user_basic(state, record.author),
        "commit": commit(state, project, tagged[0].sha) if tagged else None,
        "commit_path": f"/{project.path}/-/commit/{tagged[0].sha}" if tagged else None,
        "tag_path": f"/{project.path}/-/tags/{quote(record.tag, safe='')}",
        "assets": {
            "count": len(record.links),
            "sources": [],
            "links": [release_link(link) for link in reversed(record.links)],
        },
        "evidences": [],
        "_links": {"self": f"{url}/-/releases/{quote(record.tag, safe='')}"},
    }


def release_link(record: ReleaseLink) -> dict[str, Any]:
    """A link to an asset of a release."""
    return {
        "id": record.id,
        "name": record.name,
        "url": record.url,
        "direct_asset_url": record.url,
        "link_type": record.kind,
    }


def pipeline_url(state: State, pipeline: Pipeline) -> str:
    """A pipeline's web address."""
    return f"{project_url(state, pipeline.project)}/-/pipelines/{pipeline.id}"


def job_url(state: State, job: Job) -> str:
    """A job's web address."""
    return f"{project_url(state, job.pipeline.project)}/-/jobs/{job.id}"


def pipeline_basic(state: State, pipeline: Pipeline) -> dict[str, Any]:
    """A pipeline in a list: neither `tag` nor times of start and end."""
    return {
        "id": pipeline.id,
        "iid": pipeline.iid,
        "project_id": pipeline.project.id,
        "sha": pipeline.sha,
        "ref": pipeline.ref,
        "status": pipeline.status,
        "source": pipeline.source,
        "created_at": timestamp(pipeline.created_at),
        "updated_at": timestamp(pipeline.updated_at),
        "web_url": pipeline_url(state, pipeline),
    }


def pipeline_basic_with_metadata(state: State, pipeline: Pipeline) -> dict[str, Any]:
    """A pipeline in a project's list."""
    return {**pipeline_basic(state, pipeline), "name": pipeline.name}


def pipeline(state: State, record: Pipeline) -> dict[str, Any]:
    """A pipeline in full."""
    return {
        **pipeline_basic(state, record),
        "before_sha": record.before_sha,
        "tag": record.tag,
        "yaml_errors": record.yaml_errors,
        "user": user_basic(state, record.user),
        "started_at": timestamp(record.started_at),
        "finished_at": timestamp(record.finished_at),
        "committed_at": None,
        "duration": _whole_seconds(record.started_at, record.finished_at),
        "queued_duration": _whole_seconds(record.created_at, record.started_at),
        "coverage": None,
        "detailed_status": _detailed_status(state, record),
    }


def pipeline_with_metadata(state: State, record: Pipeline) -> dict[str, Any]:
    """A pipeline in full, and its name."""
    return {**pipeline(state, record), "name": record.name}


def _detailed_status(state: State, pipeline: Pipeline) -> dict[str, Any]:
    icon, text, label = _DETAILED[pipeline.status]
    warnings = pipeline.status == "success" and any(
        job.status in ("failed", "canceled") and job.allow_failure and not job.retried
        for job in pipeline.jobs
    )
    group = pipeline.status.replace("_", "-")
    return {
        "icon": "status_warning" if warnings else f"status_{icon}",
        "text": "Warning" if warnings else text,
        "label": "passed with warnings" if warnings else label,
        "group": "success-with-warnings" if warnings else group,
        "tooltip": label,
        "has_details": True,
        "details_path": pipeline_url(state, pipeline).removeprefix(state.external_url),
        "illustration": None,
        "favicon": f"/assets/ci_favicons/favicon_status_{icon}.png",
    }


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return (end - start).total_seconds() if start and end else None


def _whole_seconds(start: datetime | None, end: datetime | None) -> int | None:
    seconds = _seconds(start, end)
    return None if seconds is None else int(seconds)


def job_basic(state: State, job: Job) -> dict[str, Any]:
    """What jobs and trigger jobs have in common."""
    of = job.pipeline
    return {
        "id": job.id,
        "status": job.status,
        "stage": job.stage,
        "name": job.name,
        "ref": of.ref,
        "tag": of.tag,
        "coverage": None,
        "allow_failure": job.allow_failure,
        "created_at": timestamp(job.created_at or of.created_at),
        "started_at": timestamp(job.started_at),
        "finished_at": timestamp(job.finished_at),
        "erased_at": timestamp(job.erased_at),
        "duration": _seconds(
            job.started_at, job.finished_at or (job.started_at and state.clock.now())
        ),
        "queued_duration": _seconds(job.created_at, job.started_at),
        "user": user_basic(state, job.user or of.user),
        "commit": commit(state, of.project, of.sha),
        "pipeline": pipeline_basic(state, of),
        "failure_reason": job.failure_reason,
        "web_url": job_url(state, job),
        "project": {"ci_job_token_scope_enabled": of.project.job_token_allowlist is not None},
    }


def job(state: State, record: Job) -> dict[str, Any]:
    """A job. GitLab leaves `failure_reason` out of one that has not failed."""
    basic = job_basic(state, record)
    if record.failure_reason is None:
        del basic["failure_reason"]
    return {
        **basic,
        **_artifacts(state, record),
        "runner": None,
        "runner_manager": None,
        "artifacts_expire_at": timestamp(record.artifacts_expire_at),
        "archived": False,
        "tag_list": [],
    }


def _artifacts(state: State, job: Job) -> dict[str, Any]:
    """What a job has in store, while it has not expired."""
    archive = storage.available(state, job)
    if archive is None:
        return {"artifacts": []}
    file = {"filename": "artifacts.zip", "size": len(archive)}
    return {
        "artifacts_file": file,
        "artifacts": [{"file_type": "archive", "file_format": "zip", **file}],
    }


def bridge(state: State, record: Job) -> dict[str, Any]:
    """A trigger job; its downstream pipeline is null until it exists."""
    basic = job_basic(state, record)
    if record.failure_reason is None:
        del basic["failure_reason"]
    downstream = record.downstream
    return {
        **basic,
        "downstream_pipeline": pipeline_basic(state, downstream) if downstream else None,
    }


def variable(record: Variable) -> dict[str, Any]:
    """A pipeline's variable."""
    return {
        "variable_type": record.kind,
        "key": record.key,
        "value": record.value,
        "raw": False,
    }


_OUTCOMES = ("success", "failed", "skipped", "error")


def test_report_summary(pipeline: Pipeline) -> dict[str, Any]:
    """The counts of a pipeline's tests, in all and by job."""
    suites = [job for job in pipeline.jobs if job.tests and not job.retried]
    counts = pipeline.test_summary or {
        kind: sum(getattr(job.tests, kind) for job in suites) for kind in ("total", *_OUTCOMES)
    }
    total = {
        "time": 0.0,
        "count": counts.get("total", 0),
        **{kind: counts.get(kind, 0) for kind in _OUTCOMES},
        "suite_error": None,
    }
    return {"total": total, "test_suites": [_test_suite(job) for job in suites]}


def _test_suite(job: Job) -> dict[str, Any]:
    counts = job.tests
    return {
        "name": job.name,
        "total_time": 0.0,
        "total_count": counts.total if counts else 0,
        **{f"{kind}_count": getattr(counts, kind) for kind in _OUTCOMES},
        "build_ids": [job.id],
        "suite_error": counts.suite_error if counts else None,
    }
