"""The environment of a job: its variables, and the little of the machine's own that it sees."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sandbox.ci import predefined
from sandbox.ci.artifacts import inherited_dotenv
from sandbox.ci.predefined import Request
from sandbox.ci.progress import plan_of
from sandbox.ci.variables import as_values, expand_all, merge, settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from sandbox.model import Job, State, Variable

# Where the machine's Docker Engine listens is the one thing that jobs may know of its settings.
_PASSED_ON = ("LANG", "DOCKER_HOST")


@dataclass(frozen=True)
class Machine:
    """What jobs share of the machine they run on.

    Args:
        home: Their HOME, which is never that of the person who runs the sandbox.
        path: Their PATH.
        extra: Further variables for each of them.
    """

    home: Path
    path: str
    extra: Mapping[str, str]

    def environment(self) -> dict[str, str]:
        """The variables that a job has beside its own.

        Nothing else of the sandbox's own environment reaches a job, so that no token does.
        """
        passed_on = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
        return {"HOME": str(self.home), "PATH": self.path, **passed_on, **self.extra}


def variables_of(state: State, job: Job, own: Iterable[Variable] = ()) -> list[Variable]:
    """A job's variables in GitLab's order of precedence, not yet expanded.

    Args:
        state: The records, their lock held.
        job: The job.
        own: Its predefined variables, known once it has started.
    """
    pipeline = job.pipeline
    request = Request(
        pipeline.project,
        pipeline.ref,
        pipeline.sha,
        pipeline.tag,
        pipeline.source,
        pipeline.user,
        pipeline.before_sha,
        pipeline.merge_request,
    )
    found = merge(
        predefined.for_request(state, request),
        predefined.for_pipeline(state, pipeline),
        own,
        plan_of(job).variables,
        inherited_dotenv(job),
        settings(state, pipeline.project, pipeline.ref, tag=pipeline.tag),
        pipeline.variables,
    )
    values = as_values(expand_all(found))
    return merge(found, predefined.for_environment(plan_of(job), values))


def with_files(variables: Iterable[Variable], directory: Path, mode: int) -> list[Variable]:
    """The variables with those of type file written to files, whose paths they then hold."""
    found = []
    for variable in variables:
        if variable.kind == "file":
            path = directory / variable.key
            path.touch()
            path.chmod(mode)
            path.write_text(variable.value)
            found.append(replace(variable, kind="env_var", value=str(path), raw=True, masked=False))
        else:
            found.append(variable)
    return found
