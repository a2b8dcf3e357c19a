"""Listens to GitLab's push messages, so that a wait polls after a change and otherwise less often.

A wait without push ends in the same way. The listener runs in one daemon thread, and logs only
with -v.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from cicd_common.gitlab.tokens import TokenKind
from cicd_common.waiting.push import cable
from cicd_common.waiting.push.cable import ClosedError, Meaning, Message, UnusableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from cicd_common.gitlab.connection import Connection
    from cicd_common.gitlab.tokens import Token
    from cicd_common.waiting.clock import Clock
    from cicd_common.waiting.pipelines import Pipeline
    from cicd_common.waiting.push.websocket import Cable

log = logging.getLogger(__name__)

# GitLab sends a ping every 3 s. Every 10 minutes it checks the token of a connection; if the token
# is not valid any more, it ends the subscriptions without a message.
STALE_SECONDS = 15.0
RENEW_SECONDS = 540.0
# Delay before subscribing to a pipeline that was just found, or whose subscription has ended.
CHORES_SECONDS = 1.0
# Changes often come together, such as the end of a stage and the start of the next.
GATHER_SECONDS = 0.1
AGAIN_SECONDS = 30.0
# Between attempts to connect.
FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0
# How long the end of a wait waits for the thread, which needs far less unless it is connecting.
LEAVE_SECONDS = 0.2


@dataclass(eq=False)
class _Subscription:
    """Holds the state of a subscription to one pipeline.

    Attributes:
        pipeline_id: The pipeline.
        project_id: The project to poll when it has changed.
        due: When to subscribe, or to subscribe again.
        standing: The identifier that the server last confirmed; empty for none.
        confirmed: When the server confirmed it.
    """

    pipeline_id: int
    project_id: str
    due: float = -math.inf
    standing: str = ""
    confirmed: float = -math.inf


class Push:
    """Listens to GitLab in the background while its `with` block runs.

    Args:
        server: The server and the token.
        clock: The clock that gets the hints.
    """

    def __init__(self, server: Connection, clock: Clock) -> None:
        self._server = server
        self._clock = clock
        self._thread: threading.Thread | None = None
        self._over = threading.Event()
        self._leave: Callable[[], None] | None = None
        # Always replaced, never changed, so that the thread can iterate over it at any time.
        self._subscriptions: dict[int, _Subscription] = {}
        # Used by the thread alone: the subscriptions of this connection, by identifier.
        self._asked: dict[str, _Subscription] = {}
        self._gathered: dict[str, float] = {}  # projects to hint at, and since when
        self._heard = -math.inf
        self._delay = FIRST_DELAY

    def __enter__(self) -> Self:
        """Connects later: there is no pipeline to listen to yet."""
        token = self._server.token
        if token is None or token.kind not in {TokenKind.ACCESS, TokenKind.OAUTH}:
            self._turn_off(
                f"it does not accept a {token.kind.value}" if token else "it needs a token"
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the connection and ends the thread."""
        self._over.set()
        if self._leave:
            with suppress(Exception):  # a fault of the library must not end the wait
                self._leave()
        if self._thread:
            self._thread.join(LEAVE_SECONDS)

    def listen(self, pipeline: Pipeline) -> None:
        """Listens to a pipeline and its known downstream pipelines from now on.

        Args:
            pipeline: The pipeline; hints are for its project, because that is what is polled.
        """
        if self._over.is_set():
            return
        self._add(pipeline, pipeline.project_id)
        if self._thread is None and self._server.token:
            self._thread = threading.Thread(
                target=self._run, args=[self._server.token], name="push", daemon=True
            )
            self._thread.start()

    def covers(self, pipeline_id: int) -> bool:
        """Returns whether push reports changes of a pipeline, as far as the client can tell."""
        subscription = self._subscriptions.get(pipeline_id)
        now = time.monotonic()
        return (
            subscription is not None
            and now < self._heard + STALE_SECONDS
            and now < subscription.confirmed + RENEW_SECONDS + STALE_SECONDS
        )

    def _add(self, pipeline: Pipeline, project_id: str) -> None:
        if pipeline.id not in self._subscriptions:
            added = _Subscription(pipeline.id, project_id)
            self._subscriptions = {**self._subscriptions, pipeline.id: added}
        for job in pipeline.jobs:
            if job.downstream:
                self._add(job.downstream, project_id)

    # In the thread

    def _run(self, token: Token) -> None:
        while not self._over.is_set():
            try:
                self._connect(token)
            except ClosedError as error:
                if not self._over.is_set():
                    log.debug("The connection of GitLab's push was closed: %s", error)
            except UnusableError as error:
                self._turn_off(str(error))
            except Exception as bug:  # noqa: BLE001 - push must not break a wait
                self._turn_off(f"{type(bug).__name__}: {bug}")
            self._lose()
            self._over.wait(self._delay * random.uniform(0.5, 1))  # noqa: S311 - to spread clients
            self._delay = min(2 * self._delay, LONGEST_DELAY)

    def _connect(self, token: Token) -> None:
        # The import is slow, and only this thread waits for it.
        from cicd_common.waiting.push import websocket  # noqa: PLC0415

        with websocket.opened(self._server, token, self._leave_by) as connection:
            self._converse(connection)

    def _leave_by(self, leave: Callable[[], None]) -> None:
        self._leave = leave
        if self._over.is_set():
            leave()

    def _converse(self, connection: Cable) -> None:
        heard = time.monotonic()
        welcome = False
        while not self._over.is_set():
            text = connection.receive(GATHER_SECONDS if self._gathered else CHORES_SECONDS)
            now = time.monotonic()
            if text is not None:
                self._heard = heard = now
                message = cable.read(text)
                welcome = welcome or message.meaning is Meaning.WELCOME
                self._take(connection, message, now)
            elif now > heard + STALE_SECONDS:
                raise ClosedError(f"no message for {STALE_SECONDS:g} s")
            self._hint(now, quiet=text is None)
            if welcome:
                self._ask(connection, now)

    def _hint(self, now: float, *, quiet: bool) -> None:
        """Passes on gathered changes when no more arrive, or after a while if more keep coming."""
        for project_id, since in list(self._gathered.items()):
            if quiet or now >= since + CHORES_SECONDS:
                del self._gathered[project_id]
                self._clock.hint(project_id)

    def _ask(self, connection: Cable, now: float) -> None:
        """Sends the subscriptions that are due."""
        for subscription in self._subscriptions.values():
            if subscription.due <= now:
                subscription.due = now + RENEW_SECONDS
                identifier = cable.identifier_of(subscription.pipeline_id, str(uuid.uuid4()))
                self._asked[identifier] = subscription
                connection.send(cable.subscribe(identifier))

    def _take(self, connection: Cable, message: Message, now: float) -> None:
        subscription = self._asked.get(message.identifier)
        if subscription is None:
            return
        if message.meaning is Meaning.CONFIRMED:
            self._delay = FIRST_DELAY
            if subscription.standing:
                connection.send(cable.unsubscribe(subscription.standing))
                del self._asked[subscription.standing]
            subscription.standing, subscription.confirmed = message.identifier, now
        elif message.meaning is Meaning.GONE:
            subscription.confirmed, subscription.due = -math.inf, now + AGAIN_SECONDS
        # A poll shows what happened before a confirmation, and what is missed from now on.
        self._gathered.setdefault(subscription.project_id, now)

    def _lose(self) -> None:
        """Forgets the subscriptions of a lost connection; a poll shows what push misses."""
        self._asked.clear()
        self._gathered.clear()
        self._heard = -math.inf
        for subscription in self._subscriptions.values():
            stood, subscription.standing = subscription.standing, ""
            subscription.due = subscription.confirmed = -math.inf
            if stood:
                self._clock.hint(subscription.project_id)

    def _turn_off(self, reason: str) -> None:
        if not self._over.is_set():
            log.debug("No push from GitLab for the rest of this run: %s", reason)
            self._over.set()
