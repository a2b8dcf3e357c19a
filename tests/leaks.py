"""Finds the secrets of a test wherever a command lets them out, in all their spellings.

The fixture `leaks` watches each functional and image test. It knows the tokens of every sandbox and
the secrets in the command's environment. It reads stdout, stderr, log records, the files that the
command writes, the arguments and the environments of its child processes, and what it sends to
another server than the secret's own.
"""

from __future__ import annotations

import base64
import functools
import io
import json
import logging
import os
import re
import socket
import ssl
import subprocess
import sys
import tarfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit

import pytest

from sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import FrameType

    from docker.models.containers import Container

    from sandbox.server import RecordedRequest

SHORTEST = 8
_SECRET_VARIABLE = re.compile(r"TOKEN$|PASSWORD$|_proxy$", re.IGNORECASE)
_COMMANDS = ("cicd_common", "cicd_doctor", "cmd_")
_COMMAND_LINE = re.compile(r"cicd_doctor|cicd-doctor|cmd[_-]\w+")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Secret(NamedTuple):
    """What a secret is, and the port of the one server that gets it; None if any can."""

    name: str
    port: int | None


@functools.cache
def spellings(secret: str) -> frozenset[str]:
    """A secret as it is, and as it is encoded for a URL, in JSON, and in base64 with other text."""
    data = secret.encode()
    # Without the characters that the text before and after it changes.
    encoded = {base64.b64encode(bytes(n) + data)[n and 4 : -4].decode() for n in range(3)}
    encoded |= {text.replace("+", "-").replace("/", "_") for text in encoded}
    texts = {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], *encoded}
    return frozenset(text for text in texts if len(text) >= SHORTEST)


class Leaks:
    """The secrets of a test, and the places where they came out.

    Attributes:
        found: A line for each.
    """

    def __init__(self) -> None:
        self.found: list[str] = []
        self.written: set[Path] = set()
        self._of_variables: dict[str, Secret] = {}

    def know(self, environment: Mapping[str, str]) -> None:
        """Adds the secrets of a command's environment."""
        for name, value in environment.items():
            if not _SECRET_VARIABLE.search(name):
                continue
            is_registrys = name == "CI_REGISTRY_PASSWORD"
            address = environment.get("CI_REGISTRY" if is_registrys else "CI_SERVER_URL", "")
            secret = (urlsplit(value).password or "") if "://" in value else value
            if len(secret) >= SHORTEST:
                port = _port(f"//{address}" if is_registrys else address)
                self._of_variables[secret] = Secret(name, port)

    def check(self, place: str, content: str | bytes, port: int | None = None) -> None:
        """Notes each secret in a content.

        Args:
            place: Where the content is.
            content: A text, or bytes.
            port: The port of the server that gets it.
        """
        text = content.decode("latin-1") if isinstance(content, bytes) else content
        for secret, (name, own) in self._secrets().items():
            if port and own in (None, port):
                continue
            if any(each in text for each in spellings(secret)):
                self.found.append(f"{place} has {name}")

    def check_files(self, paths: Iterable[Path]) -> None:
        """Notes each secret in files; one that is not there has none."""
        for path in paths:
            with suppress(OSError):
                if path.is_file():
                    self.check(f"the file {path.name}", path.read_bytes())

    def check_child(self, arguments: Sequence[Any], environment: Mapping[str, str]) -> None:
        """Notes each secret that a child process of a command gets."""
        program, *words = map(os.fsdecode, arguments)
        self.check(f"an argument of {program}", "\0".join(words))
        # The address to which git sends the one token that it gets.
        own = re.sub(r"^http\.|\.extraHeader$", "", environment.get("GIT_CONFIG_KEY_1", ""))
        for name, value in environment.items():
            if name.lower() not in ("http_proxy", "https_proxy", "all_proxy"):
                self.check(f"{name} of {program}", value, _port(own) if program == "git" else None)

    def check_servers(self) -> None:
        """Notes each secret that came to another server than its own."""
        for gitlab in list(_sandboxes):
            for request in list(gitlab.requests):
                self.check(f"a request to {gitlab.url}", _sent(request), _port(gitlab.url))
            for request in list(gitlab.storage.requests):
                self.check("a request to the object storage", _sent(request), gitlab.storage.port)

    def check_container(self, container: Container) -> None:
        """Notes each secret in the output of a container, and in the files that it has written."""
        self.check("the output of a container", container.logs())
        for changed in container.diff() or []:
            path = str(changed["Path"])
            archive = io.BytesIO(b"".join(container.get_archive(path)[0]))
            with tarfile.open(fileobj=archive) as members:
                for member in members:
                    if content := members.extractfile(member):
                        self.check(f"the file {path} of a container", content.read())

    def _secrets(self) -> dict[str, Secret]:
        found = dict(self._of_variables)
        for gitlab in list(_sandboxes):
            state, port = gitlab.state, _port(gitlab.url)
            found |= dict.fromkeys(list(state.tokens), Secret("an access token", port))
            for project in list(state.projects.values()):
                for token in list(project.trigger_tokens):
                    found[token.secret] = Secret("a trigger token", port)
            for job in list(state.jobs.values()):
                if job.token:
                    found[job.token] = Secret("a job token", port)
        return found


def _port(address: str) -> int | None:
    try:
        return urlsplit(address).port
    except ValueError:  # a test gives a malformed one
        return None


def _sent(request: RecordedRequest) -> bytes:
    return f"{request.method} {request.path}\n{request.headers}\n".encode() + request.body


# What is watched

_sandboxes: set[Sandbox] = set()
_ended: set[Sandbox] = set()
_tests: list[Leaks] = []  # the last one is that of the test that runs


@contextmanager
def watching() -> Iterator[Leaks]:
    """Notes the secrets that come out in the block."""
    found = Leaks()
    _tests.append(found)
    try:
        yield found
    finally:
        _tests.pop()
    found.check_files(found.written)
    found.check_servers()


def _is_of_a_command() -> bool:
    """Whether a command does what happens now, and not the sandbox or the test itself."""
    frame: FrameType | None = sys._getframe(1)
    while frame:
        name = str(frame.f_globals.get("__name__"))
        if name.startswith(_COMMANDS):
            return True
        if name.startswith(("sandbox", "tests")) and name != __name__:
            return False  # called back in the middle of a command
        frame = frame.f_back
    return False


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    """Follows what a command does with files and child processes (PEP 578)."""
    if event in _EVENTS and _tests and _is_of_a_command():
        _tests[-1].know(os.environ)
        _EVENTS[event](_tests[-1], *arguments)


def _on_open(leaks: Leaks, path: object, _: object, flags: int) -> None:
    if flags & _WRITES and isinstance(path, (str, bytes)):
        leaks.written.add(Path(os.fsdecode(path)).absolute())


def _on_new_name(leaks: Leaks, _: object, path: Any, *__: int) -> None:
    leaks.written.add(Path(os.fsdecode(path)).absolute())


def _on_remove(leaks: Leaks, path: Any, *_: object) -> None:
    leaks.check_files([Path(os.fsdecode(path))])


def _on_rmtree(leaks: Leaks, path: Any, *_: object) -> None:
    leaks.check_files(Path(os.fsdecode(path)).rglob("*"))


def _on_child(leaks: Leaks, _: object, arguments: Any, __: object, environment: Any) -> None:
    words = [arguments] if isinstance(arguments, (str, bytes)) else arguments
    leaks.check_child(words, os.environ if environment is None else environment)


_EVENTS: dict[str, Callable[..., None]] = {
    "open": _on_open,
    "os.rename": _on_new_name,
    "os.link": _on_new_name,
    "os.remove": _on_remove,
    "shutil.rmtree": _on_rmtree,
    "subprocess.Popen": _on_child,
}


def _checked_send(send: Callable[..., None], connection: socket.socket, *data: Any) -> None:
    if _tests and _is_of_a_command():
        with suppress(OSError):
            port = connection.getpeername()[1]
            _tests[-1].check(f"a request to port {port}", bytes(data[0]), port)
    send(connection, *data)


def _checked_debug(
    debug: Callable[..., None], logger: logging.Logger, text: str, *values: Any, **options: Any
) -> None:
    if _tests and logger.name.startswith(_COMMANDS):  # also where no -v asks for it
        _tests[-1].check(f"a record of {logger.name}", text % values)
    debug(logger, text, *values, **options)


def _checked_record(make: Callable[..., logging.LogRecord], *about: Any, **more: Any) -> Any:
    record = make(*about, **more)
    if _tests:
        _tests[-1].check(f"a record of {record.name}", record.getMessage())
    return record


def _checked_end(
    communicate: Callable[..., Any], process: subprocess.Popen[Any], *arguments: Any, **options: Any
) -> Any:
    output = communicate(process, *arguments, **options)
    if _tests and _COMMAND_LINE.search(str(process.args)):
        for text in output:
            _tests[-1].check("the output of a process", text or "")
    return output


def _around(function: Callable[..., Any], checked: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments, **options: checked(function, *arguments, **options)


def _noted_start(enter: Callable[[Sandbox], Sandbox], gitlab: Sandbox) -> Sandbox:
    _sandboxes.add(gitlab)
    return enter(gitlab)


def _noted_end(leave: Callable[..., None], gitlab: Sandbox, *exception: object) -> None:
    _ended.add(gitlab)
    leave(gitlab, *exception)


@pytest.fixture(scope="session", autouse=True)
def _everything_is_followed() -> Iterator[None]:
    """Follows all that can let a secret out; it is noted while a test is watched."""
    sys.addaudithook(_audit)
    with pytest.MonkeyPatch.context() as patch:
        for owner, name, checked in (
            (Sandbox, "__enter__", _noted_start),
            (Sandbox, "__exit__", _noted_end),
            (socket.socket, "sendall", _checked_send),
            (ssl.SSLSocket, "sendall", _checked_send),
            (logging.Logger, "debug", _checked_debug),
            (logging, "_logRecordFactory", _checked_record),
            (subprocess.Popen, "communicate", _checked_end),
        ):
            patch.setattr(owner, name, _around(getattr(owner, name), checked))
        yield


@pytest.fixture(autouse=True)
def leaks() -> Iterator[Leaks]:
    """Fails each test in which a command lets a secret out."""
    with watching() as found:
        yield found
    _sandboxes.difference_update(_ended)
    _ended.clear()
    assert not found.found, "a secret came out: " + "; ".join(dict.fromkeys(found.found))
