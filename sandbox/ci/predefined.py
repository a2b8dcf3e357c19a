"""GitLab's predefined variables, as far as the sandbox knows what they stand for.

Names and meanings are those of GitLab's documentation, `ci/variables/predefined_variables`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sandbox import git
from sandbox.ci.variables import expand, is_protected
from sandbox.model import NO_COMMIT, Variable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from sandbox.ci.plan import JobPlan
    from sandbox.model import Job, MergeRequest, Pipeline, Project, State, User

_LONGEST_SLUG = 63  # what a DNS label may have
_LONGEST_ENVIRONMENT = 24
_TIERS = {
    "development": r"(dev|review|trunk)",
    "testing": r"(test|tst|int|ac(ce|)pt|qa|qc|control|quality)",
    "staging": r"(st(a|)g|mod(e|)l|pre|demo|non)",
    "production": r"(pr(o|)d|live)",
}
_REGISTRY_USER = "gitlab-ci-token"


@dataclass(frozen=True)
class Request:
    """What a pipeline was asked to run on, by whom and how."""

    project: Project
    ref: str
    sha: str
    tag: bool
    source: str
    user: User
    before: str = NO_COMMIT  # where the branch was before the push; no commit: it is new
    merge_request: MergeRequest | None = None


def slug(text: str) -> str:
    """A text as CI_COMMIT_REF_SLUG writes it."""
    return re.sub(r"[^a-z0-9]", "-", text.lower())[:_LONGEST_SLUG].strip("-")


def timestamp(moment: datetime) -> str:
    """A time as GitLab's variables write it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def for_request(state: State, request: Request) -> list[Variable]:
    """What is known before the pipeline exists, so that rules can ask for it."""
    project = request.project
    return _variables(
        {
            "CI": "true",
            "GITLAB_CI": "true",
            **_server(state.external_url),
            **_project(state, project),
            **_commit(request),
            **_merge_request(state, request),
            "CI_PIPELINE_SOURCE": request.source,
            **({"CI_PIPELINE_TRIGGERED": "true"} if request.source == "trigger" else {}),
            "GITLAB_USER_ID": str(request.user.id),
            "GITLAB_USER_LOGIN": request.user.username,
            "GITLAB_USER_NAME": request.user.name,
            "GITLAB_USER_EMAIL": request.user.email,
            **_registry(state, project),
        }
    )


def for_pipeline(state: State, pipeline: Pipeline) -> list[Variable]:
    """What a pipeline's jobs know beside what its request says."""
    return _variables(
        {
            "CI_PIPELINE_ID": str(pipeline.id),
            "CI_PIPELINE_IID": str(pipeline.iid),
            "CI_PIPELINE_URL": _page(state, pipeline.project, f"pipelines/{pipeline.id}"),
            "CI_PIPELINE_CREATED_AT": timestamp(pipeline.created_at),
            **({"CI_PIPELINE_NAME": pipeline.name} if pipeline.name else {}),
        }
    )


def for_job(state: State, job: Job, plan: JobPlan, directory: Path) -> list[Variable]:
    """What a started job knows of itself.

    Args:
        state: The records.
        job: The job, its token set.
        plan: What it runs.
        directory: Its working copy.
    """
    started = job.started_at or state.clock.now()
    values = {
        "CI_JOB_ID": str(job.id),
        "CI_JOB_NAME": job.name,
        "CI_JOB_NAME_SLUG": slug(job.name),
        "CI_JOB_STAGE": job.stage,
        "CI_JOB_URL": _page(state, job.pipeline.project, f"jobs/{job.id}"),
        "CI_JOB_STARTED_AT": timestamp(started),
        "CI_JOB_TIMEOUT": str(int(plan.timeout)),
        "CI_PROJECT_DIR": str(directory),
        "CI_BUILDS_DIR": str(directory.parent),
        "CI_RUNNER_DESCRIPTION": "sandbox-runner",
        "CI_RUNNER_ID": "1",
    }
    secrets = {"CI_JOB_TOKEN": job.token, "CI_BUILD_TOKEN": job.token}
    if state.registry:
        secrets |= {"CI_REGISTRY_PASSWORD": job.token}
    masked = [Variable(key, value, masked=True, raw=True) for key, value in secrets.items()]
    return [*_variables(values), *masked]


def _variables(values: dict[str, str]) -> list[Variable]:
    # A commit's message may hold dollars, which refer to nothing.
    return [Variable(key, value, raw=True) for key, value in values.items()]


def _server(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {
        "CI_SERVER": "yes",
        "CI_SERVER_NAME": "GitLab",
        "CI_SERVER_URL": url,
        "CI_SERVER_PROTOCOL": parts.scheme,
        "CI_SERVER_HOST": parts.hostname or "",
        "CI_SERVER_PORT": str(port),
        "CI_SERVER_FQDN": parts.netloc + parts.path,
        "CI_API_V4_URL": f"{url}/api/v4",
    }


def _project(state: State, project: Project) -> dict[str, str]:
    namespace, _, name = project.path.rpartition("/")
    return {
        "CI_PROJECT_ID": str(project.id),
        "CI_PROJECT_NAME": name,
        "CI_PROJECT_TITLE": name,
        "CI_PROJECT_PATH": project.path,
        "CI_PROJECT_PATH_SLUG": slug(project.path),
        "CI_PROJECT_NAMESPACE": namespace,
        "CI_PROJECT_ROOT_NAMESPACE": project.path.partition("/")[0],
        "CI_PROJECT_URL": f"{state.external_url}/{project.path}",
        "CI_PROJECT_VISIBILITY": project.visibility,
        "CI_DEFAULT_BRANCH": project.default_branch,
        "CI_CONFIG_PATH": ".gitlab-ci.yml",
    }


def _commit(request: Request) -> dict[str, str]:
    repository = request.project.repository
    commit = git.commits(repository, [request.sha])[request.sha]
    of_request = request.merge_request
    name = of_request.source_branch if of_request else request.ref
    kind = "CI_COMMIT_TAG" if request.tag else "CI_COMMIT_BRANCH"
    title, _, rest = commit.message.partition("\n")
    protected = is_protected(request.project, request.ref, tag=request.tag)
    return {
        "CI_COMMIT_SHA": request.sha,
        "CI_COMMIT_SHORT_SHA": request.sha[:8],
        "CI_COMMIT_BEFORE_SHA": request.before,
        "CI_COMMIT_REF_NAME": name,
        "CI_COMMIT_REF_SLUG": slug(name),
        "CI_COMMIT_REF_PROTECTED": str(protected).lower(),
        **({} if of_request else {kind: name}),
        "CI_COMMIT_MESSAGE": commit.message,
        "CI_COMMIT_TITLE": title,
        "CI_COMMIT_DESCRIPTION": rest.strip(),
        "CI_COMMIT_AUTHOR": f"{commit.author_name} <{commit.author_email}>",
        "CI_COMMIT_TIMESTAMP": commit.committed_at.isoformat(),
    }


def _merge_request(state: State, request: Request) -> dict[str, str]:
    """What a pipeline knows of the merge request that it is for, or of those of its branch."""
    found, project = request.merge_request, request.project
    if found is None:
        opened = [
            f"{project.path}!{other.iid}"
            for other in project.merge_requests
            if other.state == "opened" and other.source_branch == request.ref
        ]
        return {"CI_OPEN_MERGE_REQUESTS": ",".join(opened)} if opened and not request.tag else {}
    head = f"refs/heads/{found.target_branch}"
    base = git.run(project.repository, "merge-base", head, request.sha).decode().strip()
    return {
        "CI_OPEN_MERGE_REQUESTS": f"{project.path}!{found.iid}",
        "CI_MERGE_REQUEST_ID": str(found.id),
        "CI_MERGE_REQUEST_IID": str(found.iid),
        "CI_MERGE_REQUEST_REF_PATH": request.ref,
        "CI_MERGE_REQUEST_PROJECT_ID": str(project.id),
        "CI_MERGE_REQUEST_PROJECT_PATH": project.path,
        "CI_MERGE_REQUEST_PROJECT_URL": f"{state.external_url}/{project.path}",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": found.source_branch,
        "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": str(project.id),
        "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH": project.path,
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": found.target_branch,
        "CI_MERGE_REQUEST_TITLE": found.title,
        "CI_MERGE_REQUEST_LABELS": ",".join(found.labels),
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": base,
        "CI_MERGE_REQUEST_EVENT_TYPE": "detached",
    }


def for_environment(plan: JobPlan, values: Mapping[str, str]) -> list[Variable]:
    """What a job knows of the environment that it deploys to.

    Args:
        plan: The job.
        values: Its other variables, which the environment's texts may name.
    """
    found = plan.environment
    if found is None:
        return []
    name = expand(found.name, values)
    known = {
        "CI_ENVIRONMENT_NAME": name,
        "CI_ENVIRONMENT_SLUG": _environment_slug(name),
        "CI_ENVIRONMENT_ACTION": found.action,
        "CI_ENVIRONMENT_TIER": found.tier or _tier(name),
    }
    url = {"CI_ENVIRONMENT_URL": expand(found.url, {**values, **known})} if found.url else {}
    return _variables({**known, **url})


def _environment_slug(name: str) -> str:
    """Source: `Gitlab::Slug::Environment`: 24 characters, with a hash if it had to be changed."""
    found = re.sub(r"-+", "-", re.sub(r"[^a-z0-9]", "-", name.lower()))
    if not found[:1].isalpha():
        found = f"env-{found}"
    if len(found) > _LONGEST_ENVIRONMENT or found != name:
        digest = int(sha256(name.encode()).hexdigest(), 16)
        suffix = _base36(digest)[-6:]
        found = f"{found[: _LONGEST_ENVIRONMENT - 7].rstrip('-')}-{suffix}"
    return found.rstrip("-")


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, last = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[last] + digits
    return digits


def _tier(name: str) -> str:
    """Source: `guess_tier` of `Environment` in GitLab's source."""
    found = (tier for tier, words in _TIERS.items() if re.search(words, name, re.IGNORECASE))
    return next(found, "other")


def _registry(state: State, project: Project) -> dict[str, str]:
    if not state.registry:
        return {}
    return {
        "CI_REGISTRY": state.registry,
        "CI_REGISTRY_IMAGE": f"{state.registry}/{project.path.lower()}",
        "CI_REGISTRY_USER": _REGISTRY_USER,
    }


def _page(state: State, project: Project, page: str) -> str:
    return f"{state.external_url}/{project.path}/-/{page}"
