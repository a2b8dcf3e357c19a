"""What the server answers: the REST API, git over HTTP, the cable, a page for anything else."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING
from urllib.parse import unquote

from sandbox import auth, background, git_http, pages
from sandbox.api import ROUTER
from sandbox.context import Call, Instance
from sandbox.web import ApiError, Response, as_json, read_params

if TYPE_CHECKING:
    from sandbox.cable import Cable
    from sandbox.model import State
    from sandbox.web import Request

_API = "/api/v4"
_CABLE = "/-/cable"
_NO_PAGE = b"<!DOCTYPE html><html><body><h1>404: Page not found</h1></body></html>"


class Application:
    """GitLab, as far as the commands meet it.

    Args:
        instance: Its records and what works on them.
        cable: Its push.
        relative_root: The path that everything is below, such as `/gitlab`; empty for none.
    """

    def __init__(self, instance: Instance, cable: Cable, relative_root: str) -> None:
        self._instance = instance
        self._cable = cable
        self._root = relative_root

    def answer(self, request: Request) -> Response:
        """Answers a request, whatever it is."""
        path = request.path
        if path.startswith(f"{self._root}{_API}/"):
            return self._answer_api(request, path.removeprefix(self._root + _API))
        if path == f"{self._root}{_CABLE}":
            return self._cable.answer(request)
        repository = git_http.PATH.fullmatch(path.removeprefix(self._root))
        if repository and not repository["suffix"]:
            # As GitLab does: an address without `.git` leads to the one with it.
            located = request.target.replace(f"/{repository['rest']}", f".git/{repository['rest']}")
            return Response(301, headers={"Location": self._instance.state.origin + located})
        if repository:
            return git_http.answer(
                self._instance, request, repository["project"], repository["rest"]
            )
        return self._page(request) or Response(
            404, _NO_PAGE, {"Content-Type": "text/html; charset=utf-8"}
        )

    def _page(self, request: Request) -> Response | None:
        """A page for a browser, if there is one at the path."""
        if request.method not in ("GET", "HEAD"):
            return None
        state = self._instance.state
        with state.lock:
            background.catch_up(state)
            return pages.answer(state, unquote(request.path.removeprefix(self._root)))

    def _answer_api(self, request: Request, path: str) -> Response:
        try:
            return self._call(request, path)
        except ApiError as error:
            return as_json(error.body, error.status, error.headers)
        except Exception:  # noqa: BLE001 - a bug here must not leave the client waiting
            traceback.print_exc()
            return as_json({"message": "500 Internal Server Error"}, 500)

    def _call(self, request: Request, path: str) -> Response:
        state = self._instance.state
        route, path_params = ROUTER.find(request.method, path, state.version)
        # One lock for a whole call: what a handler reads is still so when it writes.
        with state.lock:
            background.catch_up(state)
            caller = auth.authenticate(state, request, route)
            params = read_params(request, path_params)
            answer = route.handler(Call(self._instance, request, caller, params))
            if unread := params.unread():
                raise _unread(state, request, unread)
            background.catch_up(state)
            state.changed.notify_all()
        return answer if isinstance(answer, Response) else as_json(answer)


def _unread(state: State, request: Request, names: list[str]) -> ApiError:
    """Refuse what the sandbox does not do, so that no client relies on something ignored."""
    where = f"{request.method} {request.path}"
    problem = f"The sandbox does not read {', '.join(names)} of {where}"
    state.problems.append(problem)
    return ApiError(400, {"error": problem})
