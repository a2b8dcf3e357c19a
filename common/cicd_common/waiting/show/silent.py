"""Nobody shows the events of a wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from cicd_common.waiting.model import Event


class Silent:
    """Shows nothing, as Python callers want it."""

    every: float | None = None

    def __enter__(self) -> Self:
        """Begins nothing."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends nothing."""

    def show(self, event: Event) -> None:
        """Shows nothing."""
