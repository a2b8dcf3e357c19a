"""Drives the pipelines: starts what may start, runs jobs side by side, records how they end."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from sandbox.ci import actions, bridge, executor, progress
from sandbox.ci.environment import Machine
from sandbox.ci.plan import JobPlan
from sandbox.ci.runner import JobRun, Outcome
from sandbox.model import ENDED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sandbox.model import Job, Pipeline, State, User

_NOTHING: Mapping[str, str] = MappingProxyType({})


class Scheduler:
    """Runs the jobs of all pipelines that are not scripted.

    Args:
        state: The records.
        catch_up: Brings the records up to the clock, before anything starts.
        run_jobs: Whether anything runs; without, pipelines stay as they were created until
            someone else, such as a test, changes their jobs.
        extra_env: Variables for every job beside its own.
        path_prepend: A folder whose programs jobs find first.
        shell_runner: Whether the runner has the shell executor alone, which ignores `image`.
        concurrent: How many jobs run at once, bridges apart. A job may wait for another pipeline,
            whose jobs need room, too.
    """

    def __init__(
        self,
        state: State,
        *,
        catch_up: Callable[[State], None] | None = None,
        run_jobs: bool = True,
        extra_env: Mapping[str, str] = _NOTHING,
        path_prepend: Path | None = None,
        shell_runner: bool = False,
        concurrent: int = 4,
    ) -> None:
        self._state = state
        self._catch_up = catch_up
        self._run_jobs = run_jobs
        self._concurrent = concurrent
        # Last where the commands are installed, for jobs whose image is not used.
        path = [os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)]
        if path_prepend:
            path.insert(0, str(path_prepend))
        self._machine = Machine(state.root / "home", os.pathsep.join(path), dict(extra_env))
        self._docker: str | None = None
        self._docker_looked_for = shell_runner  # then there is nothing to look for
        self._runs: dict[int, JobRun] = {}  # by job id
        self._threads: list[threading.Thread] = []
        self._stopping = False

    def start(self) -> None:
        """Begins to run jobs."""
        if self._run_jobs:
            self._machine.home.mkdir(parents=True, exist_ok=True)
            self._begin(threading.Thread(target=self._loop, name="sandbox-scheduler"))

    def stop(self) -> None:
        """Ends all running jobs and waits for their threads."""
        with self._state.changed:
            self._stopping = True
            for run in self._runs.values():
                run.stop()
            self._state.changed.notify_all()
            threads, self._threads = self._threads, []
        for thread in threads:
            thread.join()

    def cancel(self, pipeline: Pipeline) -> None:
        """Cancels the unfinished jobs of a pipeline and of its children."""
        with self._state.lock:
            actions.cancel(self._state, progress.latest(pipeline), self._runs)
            self._end_canceling()

    def cancel_job(self, job: Job) -> None:
        """Cancels a job that has not ended."""
        with self._state.lock:
            actions.cancel(self._state, [job], self._runs)
            self._end_canceling()

    def retry(self, pipeline: Pipeline, user: User) -> None:
        """Runs the failed and canceled jobs of a pipeline again."""
        with self._state.lock:
            actions.retry(self._state, pipeline, user)

    def retry_job(self, job: Job, user: User) -> Job:
        """Runs a job again that has ended; returns the new one in its place."""
        with self._state.lock:
            return actions.retry_job(self._state, job, user)

    def play(self, job: Job, user: User) -> None:
        """Runs a manual or a delayed job now."""
        with self._state.lock:
            actions.play(self._state, job, user)

    def _end_canceling(self) -> None:
        for number, run in self._runs.items():
            if self._state.jobs[number].status == "canceling":
                run.cancel()

    def _begin(self, thread: threading.Thread) -> None:
        self._threads = [other for other in self._threads if other.is_alive()]
        self._threads.append(thread)
        thread.start()

    def _loop(self) -> None:
        with self._state.changed:
            while not self._stopping:
                if self._catch_up:
                    self._catch_up(self._state)
                self._end_canceling()
                while self._step():
                    pass
                self._state.changed.wait(self._pause())

    def _pause(self) -> float | None:
        """Return the seconds until a delayed job or other work is due, None if there is none."""
        now = self._state.clock.now()
        times = [
            job.scheduled_at
            for job in self._state.jobs.values()
            if job.status == "scheduled" and job.scheduled_at
        ]
        work = self._state.agenda.next()
        if work:
            times.append(work)
        return max((min(times) - now).total_seconds(), 0) if times else None

    def _step(self) -> bool:
        """Moves on whatever can; whether there was anything."""
        moved = False
        for pipeline in list(self._state.pipelines.values()):
            if pipeline.scripted or pipeline.status in ENDED:
                continue
            progress.advance(self._state, pipeline)
            for job in progress.latest(pipeline):
                moved = self._take_up(job) or moved
        return moved

    def _take_up(self, job: Job) -> bool:
        now = self._state.clock.now()
        if job.status == "scheduled" and job.scheduled_at and job.scheduled_at <= now:
            progress.enqueue(self._state, job)
            return True
        if job.status != "pending" or not isinstance(job.spec, JobPlan):
            return False
        if job.bridge:
            bridge.start(self._state, job)
            return True
        if len(self._runs) >= self._concurrent:
            return False
        progress.move(self._state, job, "running")
        run = JobRun(self._state, job, self._machine, self._find_docker(job.spec))
        self._runs[job.id] = run
        self._begin(
            threading.Thread(target=self._run, args=[job, run], name=f"sandbox-job-{job.id}")
        )
        return True

    def _find_docker(self, plan: JobPlan) -> str | None:
        """The Docker CLI, looked for when the first job with an image comes."""
        if plan.image and not self._docker_looked_for:
            self._docker = executor.engine(self._machine.path)
            self._docker_looked_for = True
        return self._docker

    def _run(self, job: Job, run: JobRun) -> None:
        outcome = Outcome("failed", "runner_system_failure")
        try:
            outcome = run.run()
        finally:
            with self._state.lock:
                del self._runs[job.id]
                self._conclude(job, outcome)

    def _conclude(self, job: Job, outcome: Outcome) -> None:
        plan = progress.plan_of(job)
        if job.status == "canceling":  # even if the script came to its end before it noticed
            outcome = Outcome("canceled")
        job.exit_code = outcome.exit_code
        if outcome.exit_code in plan.allowed_exit_codes:
            job.allow_failure = True
        progress.move(self._state, job, outcome.status, reason=outcome.reason)
        tried = sum(other.retried and other.name == job.name for other in job.pipeline.jobs)
        if outcome.status == "failed" and tried < plan.retry.max and _retries(plan, outcome):
            again = actions.again(self._state, job, job.user or job.pipeline.user)
            progress.enqueue(self._state, again)


def _retries(plan: JobPlan, outcome: Outcome) -> bool:
    """Whether `retry:when` and `retry:exit_codes` have a failure like this one."""
    wanted = plan.retry
    if not wanted.when and not wanted.exit_codes:
        return True
    return (
        "always" in wanted.when
        or outcome.reason in wanted.when
        or outcome.exit_code in wanted.exit_codes
    )
