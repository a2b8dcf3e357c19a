"""Pages of a list, and the headers that tell of the other pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlencode

from sandbox.web import as_json, invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sandbox.context import Call
    from sandbox.web import Response

MOST_PER_PAGE = 100

Record = TypeVar("Record")


def paginate(
    call: Call, records: Sequence[Record], present: Callable[[Record], dict[str, Any]]
) -> Response:
    """Answers with one page of records.

    Args:
        call: The request; its `page` counts from 1, its `per_page` goes up to 100.
        records: All of them, in order.
        present: Writes one; only those of the page are written.

    Raises:
        ApiError: 400 for a page below 1.
    """
    page = call.params.integer("page", 1)
    per_page = min(call.params.integer("per_page", 20), MOST_PER_PAGE)
    if page < 1 or per_page < 1:
        raise invalid(f"{'page' if page < 1 else 'per_page'} does not have a valid value")
    last = max(1, -(-len(records) // per_page))
    shown = records[(page - 1) * per_page : page * per_page]
    following = page + 1 if page < last else None
    previous = page - 1 if page > 1 else None
    links = {"prev": previous, "next": following, "first": 1, "last": last}
    return as_json(
        [present(record) for record in shown],
        headers={
            "Link": ", ".join(
                f'<{_url(call, to, per_page)}>; rel="{rel}"' for rel, to in links.items() if to
            ),
            "X-Next-Page": str(following or ""),
            "X-Page": str(page),
            "X-Per-Page": str(per_page),
            "X-Prev-Page": str(previous or ""),
            "X-Total": str(len(records)),
            "X-Total-Pages": str(last),
        },
    )


def _url(call: Call, page: int, per_page: int) -> str:
    query = dict(parse_qsl(call.request.query, keep_blank_values=True))
    query |= {"page": str(page), "per_page": str(per_page)}
    return f"{call.state.origin}{call.request.path}?{urlencode(query)}"
