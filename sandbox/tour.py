"""What `python -m sandbox` and the end of `make demo` show: projects to try the commands on.

The pipelines really run, and take 20 to 40 s, so that there is a wait to see. `python -m sandbox`
runs their jobs in a shell of this machine, where the commands of this checkout replace the images.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.model import Access, Variable
from sandbox.scenarios import tree

if TYPE_CHECKING:
    from sandbox.model import Token
    from sandbox.world import Sandbox

GROUP = "tech-lunch"
REGISTRY = "registry.example.com"  # as in the documents
TEMPLATES = Path(__file__).parents[1] / "templates"
_PASSES = """\
stages: [build, test, deploy]

build-image:
  stage: build
  script: [echo "Building the image...", sleep 5]

unit-tests:
  stage: test
  script: [echo "Running the unit tests...", sleep 12, echo "214 passed"]

lint:
  stage: test
  allow_failure: true
  script: [sleep 4, echo "basket.py has a line that is too long", exit 1]

staging:
  stage: deploy
  script: [sleep 5, echo "Deployed."]
"""
_FAILS = """\
stages: [build, test]

build-image:
  stage: build
  script: [echo "Building the image...", sleep 5]

unit-tests:
  stage: test
  script: [sleep 6, echo "214 passed"]

end-to-end:
  stage: test
  script:
    - echo "Opening the shop..."
    - sleep 16
    - 'echo "the basket is empty: expected 3 items"'
    - exit 1
"""
_WAITS_FOR_A_PERSON = """\
stages: [test, deploy]

unit-tests:
  stage: test
  script: [sleep 20, echo "214 passed"]

production:
  stage: deploy
  rules: [{when: manual}]
  script: [sleep 8, echo "Deployed."]
"""
_RUNS_DOWNSTREAM = """\
stages: [build, test]

build-image:
  stage: build
  script: [echo "Building the image...", sleep 5]

end-to-end:
  stage: test
  trigger: {project: tech-lunch/service-tests, strategy: depend}
"""
_SERVICE_TESTS = """\
basket:
  script: [echo "Testing the basket of $CI_COMMIT_REF_NAME...", sleep 12, echo "38 passed"]

checkout:
  script: [echo "Testing the checkout of $CI_COMMIT_REF_NAME...", sleep 18, echo "21 passed"]
"""
_POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: shop  # v1.3.0 of the shop
spec:
  containers:
    - name: shop
      image: registry.example.com:5000/tech-lunch/shop:v1.3.0
"""


@dataclass(frozen=True)
class Stop:
    """A project of the tour: what is to see there, and its files."""

    about: str
    files: dict[str, str]


STOPS = {
    "passes": Stop("a pipeline that passes", {".gitlab-ci.yml": _PASSES}),
    "fails": Stop("a pipeline with a job that fails", {".gitlab-ci.yml": _FAILS}),
    "waits-for-a-person": Stop(
        "a pipeline with a manual job", {".gitlab-ci.yml": _WAITS_FOR_A_PERSON}
    ),
    "runs-downstream": Stop(
        "a pipeline that starts one of service-tests", {".gitlab-ci.yml": _RUNS_DOWNSTREAM}
    ),
    "service-tests": Stop("tests, for a branch or a tag", {".gitlab-ci.yml": _SERVICE_TESTS}),
    "deployment": Stop("a Kubernetes manifest with an image", {"k8s/shop.yaml": _POD}),
    "hello-world": Stop("no pipeline yet: for one of your own", {"README.md": "# Hello\n"}),
}


def set_up(gitlab: Sandbox) -> Token:
    """Makes the projects, and returns an access token of their Maintainer.

    Their group has the token as a variable, and this project with a release of its components.
    """
    user = gitlab.add_user("ci-cd-executor")
    roles = {user: Access.MAINTAINER}
    for name, stop in STOPS.items():
        gitlab.add_project(f"{GROUP}/{name}", stop.files, members=roles)
    components = {f"templates/{name}": content for name, content in tree(TEMPLATES).items()}
    released = gitlab.add_project(f"{GROUP}/ci-cd-commands", components, members=roles)
    gitlab.tag(released, version("ci-cd-commands"))
    token = gitlab.add_token(user)
    with gitlab.state.lock:
        gitlab.state.registry = REGISTRY
        gitlab.state.group_variables[GROUP] = [
            Variable("COMMANDS_API_TOKEN", token.secret, masked=True)
        ]
    return token


def guide(url: str, token: Token) -> str:
    """The text that a terminal shows: settings to paste, the projects, and commands to try.

    All of it can be pasted into a shell.
    """
    scheme, _, place = url.partition("://")
    address = f"{scheme}://me:$COMMANDS_API_TOKEN@{place}"
    there = "\n".join(f"#   {url}/{GROUP}/{name:<20}{stop.about}" for name, stop in STOPS.items())
    return f"""\
# An embedded GitLab. Paste the next three lines into another terminal:
export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"
export CI_SERVER_URL={url}
export COMMANDS_API_TOKEN={token.secret}

# Projects, which a browser shows too:
{there}

# Then try:
#   cmd-trigger-pipeline --project {GROUP}/runs-downstream --wait
#   cmd-trigger-pipeline --project {GROUP}/fails --wait
#   cmd-tag-project --project {GROUP}/service-tests --next minor --wait

# For a pipeline of your own, push a .gitlab-ci.yml, such as one of README's:
#   git clone {address}/{GROUP}/hello-world.git
# Ctrl-C ends the server, and nothing of it is kept."""
