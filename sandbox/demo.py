"""`make demo`: the examples, run on the embedded GitLab before a person's eyes.

Every step is checked; the demo ends with 1 and says which one did not happen.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox import tour
from sandbox.scenarios import DOCKER_STAND_IN, argo, job, newest_pipeline, push, tech_lunch
from sandbox.world import Sandbox

if TYPE_CHECKING:
    from sandbox.model import Job, Pipeline

COMMANDS = ("cmd-tag-project", "cmd-trigger-pipeline", "cmd-wait-pipeline", "cmd-bump-image-tag")
REGISTRY = "registry.example.com/tech-lunch/ci-cd-commands"
IMAGES = {name: f"{REGISTRY}/{name}:latest" for name in COMMANDS}
# What the runner says after a script, and what the stand-in for docker says of itself.
RUNNER_LINES = ("Running after_script", "Uploading", "Cleaning", "Job succeeded", "ERROR: Job")
STAND_IN = "docker (the sandbox's stand-in"
WIDTH = 150
# The prefixes of the variables that name a server, a token or a job.
OTHER_SERVERS = ("CI_", "GITLAB_", "COMMANDS_", "TRIGGER_")
NOISE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|section_(?:start|end):\d+:\S+\r|\r")


class StepFailed(Exception):  # noqa: N818 - what a person reads is the step, not the name
    """A step of the demo did not happen."""


def main() -> int:
    """Runs the demo and returns its exit code."""
    started = time.monotonic()
    say("An embedded GitLab starts on this machine; its pipelines really run.")
    say("Here `docker` is a stand-in that runs the commands from this checkout.\n")
    try:
        for act in (tag_chain, bump_chain):
            with Sandbox(job_path=DOCKER_STAND_IN) as gitlab:
                act(gitlab)
        with Sandbox() as gitlab:
            live_wait(gitlab)
    except (StepFailed, TimeoutError) as failure:
        say(f"\n{colour('31', 'The demo failed:')} {failure}")
        return 1
    say(f"\n{colour('32', 'Every step happened')} ({time.monotonic() - started:.0f} s).")
    say("The projects are in examples/. A command's help: .venv/bin/cmd-tag-project --help")
    say("Try the commands by hand: .venv/bin/python -m sandbox")
    return 0


def tag_chain(gitlab: Sandbox) -> None:
    """hello-world is pushed, tags service-tests, and waits for its tag pipeline."""
    scene = tech_lunch(gitlab, "hello-world", images=IMAGES)

    step("git push to tech-lunch/hello-world")
    push(scene, "hello-world")

    step("its pipeline builds, tests, deploys, tags tech-lunch/service-tests, and waits for it")
    upstream = newest_pipeline(scene, "hello-world")
    show(upstream)
    tagging = job(upstream, "trigger-downstream-pipelines")
    show_trace(tagging)
    check(upstream.status == "success", f"hello-world's pipeline is {upstream.status}")

    step("the tag is there")
    tags = gitlab.tags(scene.projects["service-tests"])
    check(len(tags) == 1, f"service-tests has the tags {sorted(tags)}")
    for name, commit in tags.items():
        say(f"  {name} -> {commit[:8]}")

    step("and its pipeline has run the service tests")
    downstream = newest_pipeline(scene, "service-tests")
    show(downstream)
    show_trace(job(downstream, "run-on-upstream"))
    check(downstream.status == "success", f"service-tests' pipeline is {downstream.status}")
    check(downstream.ref in tags, f"its ref is {downstream.ref}, not the tag")


def bump_chain(gitlab: Sandbox) -> None:
    """code-repo builds an image and starts k8s-repo's pipeline, which sets the image's tag."""
    scene = argo(gitlab, downstream="k8s-repo", images=IMAGES)
    k8s_repo = scene.projects["k8s-repo"]
    before = gitlab.sha(k8s_repo)

    step("git push to code-repo, whose pipeline builds an image and starts that of k8s-repo")
    push(scene, "code-repo", "code-repo-by-command")
    upstream = newest_pipeline(scene, "code-repo")
    show(upstream)
    show_trace(job(upstream, "update_image_tag"))
    check(upstream.status == "success", f"code-repo's pipeline is {upstream.status}")

    step("which sets the image's tag in k8s-files/pod.yaml, and nothing else")
    downstream = newest_pipeline(scene, "k8s-repo")
    show(downstream)
    show_trace(job(downstream, "change_tag"))
    check(downstream.status == "success", f"k8s-repo's pipeline is {downstream.status}")
    check(gitlab.sha(k8s_repo) != before, "k8s-repo's main has no new commit")
    check(len(gitlab.pipelines(k8s_repo)) == 1, "the bump has started a pipeline of its own")


def live_wait(gitlab: Sandbox) -> None:
    """A wait as a user sees it: a live table on a terminal, else a line for each change."""
    step("a wait: cmd-trigger-pipeline --project tech-lunch/runs-downstream --wait")
    token = tour.set_up(gitlab)
    # A job that runs the demo has variables of its own, which say something about another server.
    kept = {key: value for key, value in os.environ.items() if not key.startswith(OTHER_SERVERS)}
    settings = {"CI_SERVER_URL": gitlab.url, "COMMANDS_API_TOKEN": token.secret}
    command = Path(sys.executable).parent / "cmd-trigger-pipeline"
    arguments = ["--project", f"{tour.GROUP}/runs-downstream", "--wait"]
    done = subprocess.run([command, *arguments], env={**kept, **settings}, check=False)
    check(done.returncode == 0, f"cmd-trigger-pipeline ended with {done.returncode}")


def step(text: str) -> None:
    """Announces a step."""
    say(f"{colour('36', '==>')} {text}")


def check(holds: bool, otherwise: str) -> None:
    """Ends the demo unless the step happened."""
    if not holds:
        raise StepFailed(otherwise)


def show(pipeline: Pipeline) -> None:
    """A line for the pipeline and one for each of its jobs."""
    what = "tag" if pipeline.tag else "branch"
    say(f"  pipeline #{pipeline.id} of {pipeline.project.path}, {what} {pipeline.ref}")
    for each in pipeline.jobs:
        mark = {"success": colour("32", "success")}.get(each.status, colour("31", each.status))
        say(f"    {mark}  {each.stage}: {each.name}")


def show_trace(of: Job) -> None:
    """What the job's script ran and printed, without the runner's own lines."""
    lines = NOISE.sub("", of.trace.decode("utf-8", "replace")).splitlines()
    commands = [n for n, line in enumerate(lines) if line.startswith("$ docker run")]
    ends = [n for n, line in enumerate(lines) if line.startswith(RUNNER_LINES)]
    for begin in commands:
        end = min(n for n in [*commands, *ends, len(lines)] if n > begin)
        shown = [line for line in lines[begin:end] if not line.startswith(STAND_IN)]
        for line in shown:
            say(f"    | {line if len(line) < WIDTH else f'{line[:WIDTH]}…'}")


def colour(code: str, text: str) -> str:
    """The text in a colour, on a terminal that wants one."""
    wanted = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return f"\x1b[{code}m{text}\x1b[0m" if wanted else text


def say(text: str) -> None:
    """A line, at once."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
