"""Serves projects to try the commands on, until Ctrl-C or SIGTERM: `python -m sandbox`."""

from __future__ import annotations

import argparse
import signal
import threading
from contextlib import suppress

from sandbox import tour
from sandbox.scenarios import DOCKER_STAND_IN
from sandbox.versions import DEFAULT
from sandbox.world import Sandbox


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
    with Sandbox(
        host=host, port=port, version=version, job_path=DOCKER_STAND_IN, shell_runner=True
    ) as gitlab:
        print(tour.guide(gitlab.url, tour.set_up(gitlab)), flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
