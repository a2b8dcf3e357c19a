"""Serves a small world until Ctrl-C or SIGTERM: `python -m sandbox`."""

from __future__ import annotations

import argparse
import signal
import threading
from contextlib import suppress

from sandbox.model import Access
from sandbox.versions import DEFAULT
from sandbox.world import Sandbox

_HELLO_WORLD = """\
unit-tests:
  script:
    - echo "tested $CI_PROJECT_PATH at $CI_COMMIT_SHORT_SHA"
"""
_SERVICE_TESTS = """\
run-on-upstream:
  only: [tags]
  script:
    - echo "service tests for $CI_COMMIT_TAG"

run-on-commit:
  only: [branches]
  script:
    - echo "service tests for $CI_COMMIT_SHORT_SHA"
"""
_SHOP = """\
apiVersion: v1
kind: Pod
metadata:
  name: shop  # v1.3.0 of the shop
spec:
  containers:
    - name: shop
      image: registry.example.com:5000/tech-lunch/shop:v1.3.0
"""
_PROJECTS = {
    "hello-world": {".gitlab-ci.yml": _HELLO_WORLD},
    "service-tests": {".gitlab-ci.yml": _SERVICE_TESTS},
    "deployment": {"k8s/shop.yaml": _SHOP},
}


def main() -> None:
    """Reads the options, fills the world, prints how to reach it, and waits."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at")
    parser.add_argument("--port", type=int, default=0, help="the port; default: a free one")
    parser.add_argument(
        "--gitlab-version", default=DEFAULT, help="the version to play; default: %(default)s"
    )
    options = parser.parse_args()
    # A shell starts what runs in the background with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        serve(options.host, options.port, options.gitlab_version)


def serve(host: str, port: int, version: str) -> None:
    """Serves until a signal ends it.

    Raises:
        KeyboardInterrupt: The signal has come, and everything is cleaned up.
    """
    with Sandbox(host=host, port=port, version=version) as gitlab:
        user = gitlab.add_user("ci-cd-executor")
        for name, files in _PROJECTS.items():
            gitlab.add_project(f"tech-lunch/{name}", files, members={user: Access.MAINTAINER})
        print(f"GITLAB_SERVER_BASE_URL={gitlab.url}")
        print(f"COMMANDS_API_TOKEN={gitlab.add_token(user).secret}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
