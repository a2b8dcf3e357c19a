"""The one GraphQL subscription that the sandbox knows, and GitLab's errors about it.

Sources: `GraphqlChannel` and `Subscriptions::Ci::Pipelines::StatusUpdated` in GitLab's source; the
texts of errors are graphql-ruby's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sandbox.model import Pipeline

FIELD = "ciPipelineStatusUpdated"
_QUERY = re.compile(
    r"""\s* subscription \s+ (?P<operation>\w+)
        \s* \( \s* \$(?P<variable>\w+) \s* : \s* CiPipelineID! \s* \)
        \s* \{ \s* (?P<field>\w+) \s* \( \s* pipelineId \s* : \s* \$(?P=variable) \s* \)
        \s* \{ (?P<selection>[\s\w]*) \} \s* \} \s*""",
    re.VERBOSE,
)
_PIPELINE_ID = re.compile(r"gid://gitlab/Ci::Pipeline/(\d+)")
_FIELDS: Mapping[str, Callable[[Pipeline], str]] = {
    "id": lambda pipeline: f"gid://gitlab/Ci::Pipeline/{pipeline.id}",
    "status": lambda pipeline: pipeline.status.upper(),
}


class QueryError(Exception):
    """GitLab answers with errors."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.error = error


@dataclass(frozen=True)
class Query:
    """A query that GitLab would take.

    Attributes:
        pipeline_id: The pipeline that it is about.
        field: The position of the field, as errors tell it.
        selection: The pipeline's fields that it asks for.
    """

    pipeline_id: int
    field: int
    selection: tuple[str, ...]

    def result(self, pipeline: Pipeline) -> dict[str, Any]:
        """What is sent when the pipeline changes."""
        return {"data": {FIELD: {name: _FIELDS[name](pipeline) for name in self.selection}}}

    def nothing(self) -> dict[str, Any]:
        """The first result, which is always empty."""
        return {"data": {FIELD: None}}

    def unauthorized(self) -> dict[str, Any]:
        """The first result where there is no such pipeline, or the token cannot see it."""
        error = {
            "message": "Unauthorized subscription",
            "locations": [{"line": 1, "column": self.field}],
            "path": [FIELD],
        }
        return {**self.nothing(), "errors": [error]}


def parse(query: str, variables: Mapping[str, Any], *, knows_field: bool) -> Query | None:
    """Reads a query.

    Args:
        query: The text, on one line.
        variables: Its variables.
        knows_field: Whether the server is new enough to know the field.

    Returns:
        The query; None if a variable is so wrong that GitLab does not answer at all.

    Raises:
        QueryError: GitLab answers with errors.
    """
    match = _QUERY.fullmatch(query)
    if match is None:
        raise QueryError({"message": f"The sandbox reads no query but that of {FIELD}."})
    operation = f"subscription {match['operation']}"
    if match["field"] != FIELD or not knows_field:
        raise _undefined(match, match.start("field"), match["field"], "Subscription", [operation])
    selection = tuple(match["selection"].split())
    for name in selection:
        if name not in _FIELDS:
            place = match.start("selection") + match["selection"].index(name)
            raise _undefined(match, place, name, "Pipeline", [operation, FIELD])
    found = _PIPELINE_ID.fullmatch(str(variables.get(match["variable"])))
    return Query(int(found[1]), match.start("field") + 1, selection) if found else None


def _undefined(
    match: re.Match[str], place: int, name: str, kind: str, path: list[str]
) -> QueryError:
    line = match.string.count("\n", 0, place) + 1
    column = place - (match.string.rfind("\n", 0, place) + 1) + 1
    return QueryError(
        {
            "message": f"Field '{name}' doesn't exist on type '{kind}'",
            "locations": [{"line": line, "column": column}],
            "path": [*path, name],
            "extensions": {"code": "undefinedField", "typeName": kind, "fieldName": name},
        }
    )
