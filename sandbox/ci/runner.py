"""Runs one job, as GitLab's runner does: sources, artifacts, script, after_script, artifacts."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandbox import git
from sandbox.ci import artifacts, executor, predefined, release
from sandbox.ci.environment import variables_of, with_files
from sandbox.ci.executor import Container, Shell
from sandbox.ci.plan import Image
from sandbox.ci.process import Process
from sandbox.ci.progress import plan_of
from sandbox.ci.reports import ReportError
from sandbox.ci.trace import Trace
from sandbox.ci.variables import as_values, expand, expand_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandbox.ci.environment import Machine
    from sandbox.ci.executor import Executor
    from sandbox.model import Job, State

_AFTER_SCRIPT_LIMIT = 300.0  # seconds, the runner's own default
_GREEN, _RED, _YELLOW = "32;1", "31;1", "33;1"
# git asks for the job's token, which so stays out of URLs and of files.
_CREDENTIALS = '!f() { echo username=gitlab-ci-token; echo "password=$CI_JOB_TOKEN"; }; f'


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    status: str
    reason: str | None = None
    exit_code: int | None = None


class RunnerError(Exception):
    """The job could not be run at all."""


class JobRun:
    """One run of a job; made with `State.lock` held, run in a thread of its own.

    Args:
        state: The records.
        job: The job, just set running.
        machine: What it runs on.
        docker: The Docker CLI, None where no engine answers.
    """

    def __init__(self, state: State, job: Job, machine: Machine, docker: str | None) -> None:
        self._state = state
        self._job = job
        self._plan = plan_of(job)
        self._machine = machine
        self._canceled = threading.Event()
        self._stopped = threading.Event()
        name = job.pipeline.project.path.rpartition("/")[2]
        self._directory = state.root / "builds" / str(job.id) / name
        self._scripts = self._directory.parent / f"{name}.tmp"
        job.token = f"glcbt-{secrets.token_urlsafe(24)}"
        own = predefined.for_job(state, job, self._plan, self._directory)
        self._variables = variables_of(state, job, own)
        self._executor, self._note = self._choose(docker)
        self._trace = Trace(state, job, [v.value for v in self._variables if v.masked])
        self._process = Process(self._trace.write)
        self._values: Mapping[str, str] = {}

    def cancel(self) -> None:
        """End the script; after_script still runs."""
        if not self._canceled.is_set():
            self._canceled.set()
            self._process.terminate()

    def stop(self) -> None:
        """Ends everything at once."""
        self._stopped.set()
        self._canceled.set()
        self._process.kill()

    def run(self) -> Outcome:
        """Runs the job.

        Returns:
            How it ended; the log tells the rest.
        """
        try:
            self._prepare()
            outcome = self._execute()
        except (RunnerError, OSError) as error:
            self._trace.line(f"ERROR: Job failed (system failure): {error}", colour=_RED)
            outcome = Outcome("failed", "runner_system_failure")
        self._trace.flush()
        shutil.rmtree(self._directory.parent, ignore_errors=True)
        return outcome

    def _choose(self, docker: str | None) -> tuple[Executor, str | None]:
        image = self._plan.image
        if image is None:
            return Shell(), None
        name = expand(image.name, as_values(expand_all(self._variables)))
        if docker is None:
            return Shell(), f"Image {name} is not used: this runner has the shell executor."
        # Other sandboxes on this machine have jobs with the same numbers.
        container = f"sandbox-job-{self._job.id}-{secrets.token_hex(4)}"
        return Container(docker, Image(name, image.entrypoint), container), None

    def _prepare(self) -> None:
        trace, plan = self._trace, self._plan
        trace.line("Running with sandbox-runner")
        with trace.section("prepare_executor", f'Preparing the "{self._executor.name}" executor'):
            trace.line(self._executor.announce())
            if self._note:
                trace.line(self._note, colour=_YELLOW)
            if plan.ignored:
                trace.line(f"The sandbox reads past: {', '.join(plan.ignored)}", colour=_YELLOW)
        self._make_folders()
        written = with_files(self._variables, self._scripts, self._executor.reach & 0o666)
        self._values = as_values(expand_all(written))
        with trace.section("get_sources", "Getting source from Git repository"):
            self._get_sources()
        with self._state.lock:
            found = artifacts.download(self._state, self._job, self._directory)
        if found:
            with trace.section("download_artifacts", "Downloading artifacts"):
                for source in found:
                    trace.line(f"Downloading artifacts for {source.name} ({source.id})...")

    def _make_folders(self) -> None:
        used = self._executor
        mode = 0o777 & ~used.umask
        modes = {self._directory.parent: mode, self._directory: mode, self._scripts: used.reach}
        for folder, bits in modes.items():
            folder.mkdir(parents=True)
            folder.chmod(bits)

    def _get_sources(self) -> None:
        if self._values.get("GIT_STRATEGY") in ("none", "empty"):
            self._trace.line("Skipping Git repository setup")
            return
        pipeline = self._job.pipeline
        server = self._state.external_url
        address = f"{server}/{pipeline.project.path}.git"
        self._git("clone", "--quiet", "--no-checkout", str(pipeline.project.repository), ".")
        self._git("remote", "set-url", "origin", address)
        self._git("config", f"credential.{server}.helper", _CREDENTIALS)
        self._git("checkout", "--quiet", "--force", "--detach", pipeline.sha)
        self._trace.line(
            f"Checking out {pipeline.sha[:8]} as detached HEAD (ref is {pipeline.ref})..."
        )

    def _git(self, *arguments: str) -> None:
        done = subprocess.run(
            ["git", *arguments],
            cwd=self._directory,
            env={**self._machine.environment(), **git.ENVIRONMENT},
            umask=self._executor.umask,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise RunnerError(done.stderr.decode(errors="replace").strip())

    def _execute(self) -> Outcome:
        outcome = self._script()
        if self._plan.release and outcome.status == "success" and not self._release():
            outcome = Outcome("failed", "script_failure", 1)
        if self._plan.after_script and not self._stopped.is_set():
            with self._trace.section("after_script", "Running after_script"):
                self._after_script(outcome)
        if outcome.status != "canceled" and not self._upload(outcome) and outcome.exit_code == 0:
            outcome = Outcome("failed", "script_failure", 1)
        self._conclude(outcome)
        return outcome

    def _script(self) -> Outcome:
        title = 'Executing "step_script" stage of the job script'
        with self._trace.section("step_script", title):
            code = None
            if not self._canceled.is_set():
                code = self._shell(
                    "script", self._plan.script, "running", self._plan.timeout, self._canceled
                )
        if self._canceled.is_set():
            return Outcome("canceled")
        if code is None:
            return Outcome("failed", "job_execution_timeout")
        return Outcome("failed", "script_failure", code) if code else Outcome("success", None, 0)

    def _release(self) -> bool:
        """Makes the job's release. Returns False if that fails."""
        plan = self._plan.release
        if plan is None:
            return True
        with self._trace.section("release", 'Executing "step_release" stage of the job script'):
            try:
                with self._state.lock:
                    tag = release.publish(
                        self._state, self._job, plan, self._directory, self._values
                    )
            except release.ReleaseError as error:
                self._trace.line(f"ERROR: {error}", colour=_RED)
                return False
            self._trace.line(f"Release {tag} is created.")
        return True

    def _after_script(self, outcome: Outcome) -> None:
        code = self._shell(
            "after_script",
            self._plan.after_script,
            outcome.status,
            _AFTER_SCRIPT_LIMIT,
            self._stopped,
        )
        if code != 0:
            self._trace.line(
                "WARNING: after_script failed, but job will continue unaffected: "
                f"{self._executor.exit_text} {code}",
                colour=_YELLOW,
            )

    def _shell(
        self,
        name: str,
        commands: Sequence[str],
        status: str,
        timeout: float,
        unwanted: threading.Event,
    ) -> int | None:
        path = self._scripts / name
        path.write_text(executor.script(commands))
        path.chmod(self._executor.reach)
        environment = {**self._values, "CI_JOB_STATUS": status}
        names = sorted({**environment, **self._machine.extra})
        code = self._process.run(
            self._executor.command(path, self._directory, names),
            env={**self._machine.environment(), **environment},
            cwd=self._directory,
            timeout=timeout,
            unwanted=unwanted,
        )
        end = self._executor.forced_end()
        if end and (code is None or self._canceled.is_set()):
            subprocess.run(end, capture_output=True, check=False)
        return code

    def _upload(self, outcome: Outcome) -> bool:
        """Keeps what the job leaves. Returns False if GitLab refuses a report."""
        kept = self._plan.artifacts
        paths = [expand(path, self._values) for path in kept.paths]
        wanted = kept.when in ("always", f"on_{outcome.status.replace('failed', 'failure')}")
        if not (paths and wanted) and not kept.dotenv and not kept.junit:
            return True
        with self._trace.section("upload_artifacts", "Uploading artifacts"):
            if wanted:
                count = artifacts.upload(self._state, self._job, paths, self._directory)
                self._trace.line(f"{count} matching artifact files and directories")
            try:
                with self._state.lock:
                    if wanted:
                        artifacts.archive(self._state, self._job)
                    missing = artifacts.read_reports(
                        self._state, self._job, self._plan, self._directory
                    )
            except ReportError as error:
                self._refuse(error)
                return False
            for pattern in missing:
                self._trace.line(f"WARNING: {pattern}: no matching files.", colour=_YELLOW)
                self._trace.line("ERROR: No files to upload", colour=_RED)
        return True

    def _refuse(self, error: ReportError) -> None:
        """Says that GitLab refused a report: the runner fails the job, whatever its script did."""
        self._trace.line(
            'ERROR: Uploading artifacts as "dotenv" to coordinator... 400 Bad Request  '
            f"id={self._job.id} responseStatus=400 Bad Request status=400: {error}",
            colour=_RED,
        )
        self._trace.line("FATAL: invalid argument", colour=_RED)

    def _conclude(self, outcome: Outcome) -> None:
        if outcome.status == "success":
            self._trace.line("Job succeeded", colour=_GREEN)
        elif outcome.status == "canceled":
            self._trace.line("ERROR: Job failed: canceled", colour=_RED)
        elif outcome.reason == "job_execution_timeout":
            limit = f"{self._plan.timeout:g} seconds"
            self._trace.line(f"ERROR: Job failed: execution took longer than {limit}", colour=_RED)
        else:
            text = f"{self._executor.exit_text} {outcome.exit_code}"
            self._trace.line(f"ERROR: Job failed: {text}", colour=_RED)
