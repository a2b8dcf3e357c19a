"""Why a pipeline does not come to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.model import Pipeline


class ConfigError(Exception):
    """The CI configuration is wrong, or uses what the sandbox does not support.

    Its text is what GitLab shows as a pipeline's `yaml_errors`.
    """


class PipelineRefused(Exception):  # noqa: N818 - a refusal is an answer, not a fault of ours
    """A pipeline was asked for and is not to run.

    Args:
        messages: GitLab's texts.
        pipeline: What was saved all the same, for the sources where GitLab does so.
        field: What the texts are about, as the API names it.
    """

    def __init__(
        self, messages: list[str], pipeline: Pipeline | None = None, *, field: str = "base"
    ) -> None:
        super().__init__("; ".join(messages))
        self.messages = messages
        self.field = field
        self.pipeline = pipeline
