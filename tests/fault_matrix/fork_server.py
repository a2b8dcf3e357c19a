"""Runs console scripts in processes of their own, without the time that their imports take.

The modules are loaded once; each run is forked from there, gets its own arguments, environment,
folder and files for its output, and ends as the interpreter ends.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import sys
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

DISTRIBUTION = "ci-cd-commands"
# What commands import only once they need it.
LATE_IMPORTS = ("gitlab.v4.objects", "requests", "rich.live", "websockets.sync.client", "yaml")
PACKAGES = ("cicd_common", "cmd_bump_image_tag", "cmd_tag_project", "cmd_trigger_pipeline",
            "cmd_wait_pipeline")  # fmt: skip


def main() -> None:
    """Serves at the socket of the first argument."""
    scripts = {
        each.name: each.load()
        for each in entry_points(group="console_scripts")
        if each.dist and each.dist.name == DISTRIBUTION
    }
    for name in (*LATE_IMPORTS, *_modules()):
        importlib.import_module(name)
    gc.freeze()  # pages that the collector does not write to stay shared
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen(64)
    signal.signal(signal.SIGCHLD, lambda *_: _reap())
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    # At the end of stdin, who started it is gone.
    while select.select([listener, sys.stdin], [], [])[0] == [listener]:
        connection, _ = listener.accept()
        if os.fork():
            connection.close()
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        listener.close()
        job = json.loads(connection.makefile().readline())
        run = os.fork()
        if run == 0:
            connection.close()
            _become(job)
            sys.exit(scripts[job["command"]]())
        connection.sendall(f"{run}\n".encode())
        _, status = os.waitpid(run, 0)
        with suppress(BrokenPipeError):  # nobody waits any more for one that was killed
            connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)


def _modules() -> Iterator[str]:
    """The modules of the commands, but for those that run a command when they are imported."""
    for package in map(importlib.import_module, PACKAGES):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(".__main__"):
                yield module.name


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _become(job: dict[str, Any]) -> None:
    """Gives this process what a shell would have given it."""
    os.setsid()  # so that it can be killed together with what it started
    os.environ.clear()
    os.environ.update(job["environment"])
    os.chdir(job["folder"])
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in ((1, job["stdout"]), (2, job["stderr"])):
        os.dup2(os.open(path, flags, 0o600), number)
    script = Path(sys.executable).with_name(job["command"])
    sys.argv = [str(script), *job["arguments"]]


if __name__ == "__main__":
    main()
