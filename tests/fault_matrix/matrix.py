"""A case of the matrix: a run of a command in which a request meets a fault, and its verdict."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.fault_matrix.commands import COMMANDS, PROJECT, effects, new_world
from tests.fault_matrix.console_scripts import ConsoleScripts, Ended
from tests.fault_matrix.faults import writes
from tests.fault_matrix.front import ELSEWHERE, HOST, Front, Key, Plan, Recorded
from tests.fault_matrix.table import UNKNOWN, Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from tests.fault_matrix.commands import Command, World
    from tests.fault_matrix.faults import Fault
    from tests.fault_matrix.front import Route

REQUEST_TIMEOUT = 3
RETRY_FOR = 6
# Seconds that only a run reaches that would never end: the longest is that of git, which gets ten
# times the limit of a request, and once again after its first failure.
LIMIT = RETRY_FOR + 2 * 10 * REQUEST_TIMEOUT + 10
# More than this beside those of a run without a fault is no retrying, but an attack.
MOST_REQUESTS_MORE = 40
AT_ONCE = 12
BUG = 70  # what no input, answer or file makes
READS = ("GET", "HEAD")
PROXY_PASSWORD = "proxy-secret-4f7c"


@dataclass(frozen=True)
class Target:
    """A request of a normal run: the first with its key, or the second, and its place among all."""

    key: Key
    nth: int
    place: int

    def __str__(self) -> str:
        return f"{self.key}{' again' if self.nth > 1 else ''}"


@dataclass(frozen=True)
class Cell:
    """A command, a way to the server, and a fault.

    Attributes:
        commands: The command, and others that take its place if it cannot meet the fault.
        route: The way to the server.
        fault: The fault.
        one: Which of the requests alone meets it, counted round; None: one after the other.
    """

    commands: tuple[Command, ...]
    route: Route
    fault: Fault
    one: int | None = None

    def __str__(self) -> str:
        return f"{self.commands[0]}, {self.route}, {self.fault}"


@dataclass(frozen=True)
class Normal:
    """A run without a fault: its requests, and what it did."""

    recorded: list[Recorded]
    effects: Counter[str]
    code: int | None

    def targets(self, fault: Fault, known: set[Key]) -> Iterator[Target]:
        """The requests that can meet a fault: each read once, for waits poll; a write twice.

        Args:
            fault: The fault.
            known: The reads that another row of the table has, too.
        """
        seen: Counter[Key] = Counter()
        for place, recorded in enumerate(self.recorded):
            seen[recorded.key] += 1
            often = 2 if writes(recorded) else 0 if recorded.key in known else 1
            if seen[recorded.key] <= often and fault.meets(recorded):
                yield Target(recorded.key, seen[recorded.key], place)


@dataclass
class Run:
    """A run, and everything that it left."""

    ended: Ended
    front: Front
    world: World
    effects: Counter[str]
    said_wrongly: list[str]
    files: dict[str, str] = field(default_factory=dict)

    def texts(self) -> dict[str, str]:
        """Everything that it wrote, by place."""
        return {"stdout": self.ended.stdout, "stderr": self.ended.stderr, **self.files}


class Matrix:
    """Runs cells side by side, while its `with` block runs.

    Args:
        folder: For the files of the runs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._scripts = ConsoleScripts()
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._normal: dict[tuple[Command, Route], Normal] = {}
        self._lock = threading.Lock()
        self._locks: dict[tuple[Command, Route], threading.Lock] = {}
        self.authority = folder / "authority.pem"
        self._certificate = _certificate(self.authority)

    def __enter__(self) -> Self:
        self._scripts.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._scripts.__exit__(*exception)

    def run(self, cells: Iterable[Cell]) -> list[list[Row] | Exception]:
        """Runs cells, and returns what came of the cases of each."""
        begun = [self._pool.submit(self._cases, cell) for cell in cells]
        return [_result(cases) for cases in begun]

    def normal(self, command: Command, route: Route) -> Normal:
        """A run of a command without a fault; there is one alone."""
        key = (command, route)
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._normal:
                run = self._run(command, route, Plan())
                problems = [] if run.ended.code == command.code else [run.ended.stderr]
                problems += _always(run)
                assert not problems, f"{command}, {route}, without a fault: {problems}"
                self._normal[key] = Normal(run.front.recorded, run.effects, run.ended.code)
        return self._normal[key]

    def _cases(self, cell: Cell) -> list[Future[Row]]:
        for command in cell.commands:
            normal = self.normal(command, cell.route)
            targets = list(normal.targets(cell.fault, self._known(command, cell.route)))
            if cell.route != "direct":  # where a proxy makes a difference
                targets = [t for t in targets if t.key.method not in READS or t.place == 0]
            if targets and cell.one is not None:
                targets = [targets[cell.one % len(targets)]]
            if targets:
                return [
                    self._pool.submit(self._case, command, cell, target, normal)
                    for target in targets
                ]
        return []

    def _known(self, command: Command, route: Route) -> set[Key]:
        """The reads of the rows before one that differ from it in what they write alone."""
        before = COMMANDS[: COMMANDS.index(command)]
        alike = [c for c in before if (c.script, c.token) == (command.script, command.token)]
        return {r.key for each in alike for r in self.normal(each, route).recorded}

    def _case(self, command: Command, cell: Cell, target: Target, normal: Normal) -> Row:
        fault = cell.fault
        plan = Plan(target.key, target.nth, fault.act, fault.lasting, target.place, fault.refuse)
        run = self._run(command, cell.route, plan)
        return Row(
            command.name,
            cell.route,
            fault.name,
            str(target),
            run.ended.code,
            run.ended.code == command.code,
            run.ended.seconds,
            (
                *_always(run),
                *_verdict(command, fault, target, normal, run),
                *(() if fault.lies else _effect_complaints(command, normal, run)),
            ),
        )

    def _run(self, command: Command, route: Route, plan: Plan) -> Run:
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            root = Path(name)
            for folder in ("work", "home", "temporary", "output"):
                (root / folder).mkdir()
            world = new_world(root / "gitlab")
            with Front(route, self._certificate) as front, world.gitlab:
                world.gitlab.state.external_url = front.url
                front.on_revoke = world.revoke
                command.prepare(world)
                before = effects(world)
                front.serve(world.gitlab.url, plan)
                ended = self._scripts.run(
                    command.script,
                    self._arguments(command, front, world),
                    environment=self._environment(command, front, world, root),
                    folder=root / "work",
                    output=root / "output",
                    limit=LIMIT,
                )
                front.settle()
                wrong = list(_said_wrongly(command, world, ended))
                run = Run(ended, front, world, effects(world) - before, wrong)
            for folder in ("work", "home", "temporary"):
                for path in (root / folder).rglob("*"):
                    if path.is_file():
                        text = path.read_text(errors="replace")
                        run.files[str(path.relative_to(root))] = text
            return run

    def _arguments(self, command: Command, front: Front, world: World) -> list[str]:
        arguments = [each.format(**world.values) for each in command.arguments]
        return [
            *("--base-url", front.url, "--project", PROJECT, *arguments),
            *("--request-timeout", str(REQUEST_TIMEOUT), "--retry-for", str(RETRY_FOR)),
            *("--output", "json", "--dotenv", "result.env", "-v"),
            *(("--ca-file", str(self.authority)) if front.route == "connect" else ()),
            *(("--junit", "result.xml") if command.waits else ()),
        ]

    def _environment(
        self, command: Command, front: Front, world: World, root: Path
    ) -> dict[str, str]:
        proxy = f"http://proxy-user:{PROXY_PASSWORD}@127.0.0.1:{front.port}"
        proxies = {"forward": {"http_proxy": proxy}, "connect": {"https_proxy": proxy}}
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(root / "home"),
            "TMPDIR": str(root / "temporary"),
            "LANG": "C.UTF-8",
            **proxies.get(front.route, {}),
            **command.environment(world),
        }


def _result(cases: Future[list[Future[Row]]]) -> list[Row] | Exception:
    """What came of a cell: the fault of one is not that of its neighbours."""
    try:
        return [case.result() for case in cases.result()]
    except Exception as error:  # noqa: BLE001 - the test of the cell raises it
        return error


def _certificate(path: Path) -> ssl.SSLContext:
    """A certificate that signs itself, written to a file together with its key."""
    key = path.with_suffix(".key")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", f"/CN={HOST}", "-addext",
         f"subjectAltName=DNS:{HOST},DNS:{ELSEWHERE}", "-keyout", key, "-out", path],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, key)
    return context


def _always(run: Run) -> Iterator[str]:
    """What is wrong with a run, whatever happened to it."""
    ended = run.ended
    if ended.code is None:
        yield f"still running after {LIMIT} s: {_last_line(ended.stderr)}"
        return
    if ended.code == BUG:
        yield f"exit 70: {_line_with('bug:', ended.stderr)}"
    if "Traceback (most recent call last)" in ended.stderr:
        yield f"a traceback: {_last_line(ended.stderr)}"
    yield from _document_complaints(ended)
    yield from _leaks(run)
    if run.front.elsewhere:
        yield f"another host got {run.front.elsewhere[0].splitlines()[0]}"
    for place, text in run.texts().items():
        if re.search(r"^INJECTED=", text, re.MULTILINE) or "\x1b" in text:
            yield f"{place} holds what the server injected"
    left = [name for name in run.files if name not in ("work/result.env", "work/result.xml")]
    if left:
        yield f"files are left: {', '.join(sorted(left)[:3])}"


def _leaks(run: Run) -> Iterator[str]:
    """The secrets that came out."""
    spellings = run.world.secrets()
    heads = "\n".join(run.front.connects)
    for name in sorted({name for secret, name in spellings.items() if secret in heads}):
        yield f"the {name} is in a CONNECT"
    spellings[PROXY_PASSWORD] = "proxy's password"
    places = run.texts() | {f"a request to another host: {t}": t for t in run.front.elsewhere}
    for place, text in places.items():
        for name in sorted({name for secret, name in spellings.items() if secret in text}):
            yield f"the {name} is in {place}"


def _document_complaints(ended: Ended) -> Iterator[str]:
    try:
        document = json.loads(ended.stdout)
    except ValueError:
        yield f"stdout is not one JSON document: {ended.stdout[:60]!r}"
        return
    error = document.get("error")
    if ended.code == 0 and error:
        yield "exit 0 with an error in the document"
    if ended.code and (not error or error.get("code") != ended.code):
        yield f"exit {ended.code} with error {error} in the document"


def _verdict(
    command: Command, fault: Fault, target: Target, normal: Normal, run: Run
) -> Iterator[str]:
    """What is wrong with a run in which a request met a fault."""
    ended = run.ended
    if not run.front.plan.fired and not command.waits:
        yield "the request that was to meet the fault did not come"
    more_requests = _number_of_requests(run.front.recorded) - _number_of_requests(normal.recorded)
    if not command.waits and more_requests > MOST_REQUESTS_MORE:
        yield f"{more_requests} requests more than without a fault"
    if ended.code in (None, BUG) or fault.lies:
        return
    allowed = {command.code, UNKNOWN, *fault.codes, *((7,) if command.waits else ())}
    if ended.code not in allowed:
        yield f"exit {ended.code}: {_line_with('error:', ended.stderr)}"
    elif fault.recovers and _must_recover(fault, target, normal) and ended.code != command.code:
        yield f"not sent again: exit {ended.code}: {_line_with('error:', ended.stderr)}"


def _number_of_requests(recorded: list[Recorded]) -> int:
    """Those of the server: git asks a proxy to CONNECT for each."""
    return sum(each.key.method != "CONNECT" for each in recorded)


def _effect_complaints(command: Command, normal: Normal, run: Run) -> Iterator[str]:
    """What is wrong with what was done, and with what is said of it."""
    ended = run.ended
    ours = Counter({what: n for what, n in run.effects.items() if "theirs" not in what})
    if more := ours - normal.effects:
        yield f"done beside what was wanted: {_told(more)} (exit {ended.code})"
    if ended.code in (None, BUG):
        return
    if ended.code == 0 and (missing := normal.effects - ours):
        yield f"exit 0, and it is not done: {_told(missing)}"
    if ended.code == command.code and ours == normal.effects:
        yield from run.said_wrongly
    if ended.code not in (command.code, UNKNOWN) and ours and not _results(ended):
        yield f"exit {ended.code} without a result, and it is done: {_told(ours)}"
    if "canceled pipeline" in run.effects:
        yield "a pipeline was canceled"


def _said_wrongly(command: Command, world: World, ended: Ended) -> Iterator[str]:
    """What the results say wrongly of what was done."""
    for result in _results(ended):
        try:
            if problem := command.says(world, result):
                yield problem
        except (KeyError, TypeError) as error:
            yield f"the result lacks something: {error!r}"


def _must_recover(fault: Fault, target: Target, normal: Normal) -> bool:
    """Whether the request must be sent again: a read, and a write that certainly did not happen."""
    if fault.is_part_of == "throttling" or fault.refuse:
        return True
    if target.key.method == "CONNECT":  # for the request that comes next
        return normal.recorded[target.place + 1].key.method in READS
    return target.key.method in READS


def _results(ended: Ended) -> list[dict[str, Any]]:
    try:
        document = json.loads(ended.stdout)
    except ValueError:
        return []
    if isinstance(document, list):
        return document
    return list(document["results"]) if "error" in document else [document]


def _told(what: Counter[str]) -> str:
    return ", ".join(f"{n} x {name}" if n > 1 else name for name, n in sorted(what.items()))


def _line_with(start: str, text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith(start)]
    return lines[-1][:200] if lines else _last_line(text)


def _last_line(text: str) -> str:
    return next((line[:200] for line in reversed(text.splitlines()) if line.strip()), "")
