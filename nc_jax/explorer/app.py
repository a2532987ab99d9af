"""The answers of the server to the page: maps, points, code and reports on files."""

import json
import logging
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

try:
    from starlette.applications import Starlette
    from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles
except ImportError as error:
    raise ImportError(
        "nc_jax.explorer needs the packages of its extra: pip install 'nc-jax[explore]'"
    ) from error

from nc_jax.explorer.code import code_of_point, code_of_sizes
from nc_jax.explorer.maps import frames
from nc_jax.explorer.paths import Paths, describe_path
from nc_jax.explorer.points import describe_point, describe_sizes
from nc_jax.explorer.programs import Programs
from nc_jax.explorer.reports import Reports
from nc_jax.explorer.settings import (
    FieldError,
    MapSettings,
    decay_of,
    map_of,
    point_of,
    sizes_of,
)
from nc_jax.explorer.uploads import MAX_UPLOAD, diagnosis_of, save, too_large

PAGE = Path(__file__).parent / "page"
HOSTS = ("127.0.0.1", "localhost")
# Requests other than files are small: a few numbers.
MAX_REQUEST = 2**18
# The page loads nothing from other addresses, and the browser enforces this.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
log = logging.getLogger(__name__)


def make_app(programs: Programs, folder: Path, max_upload: int = MAX_UPLOAD) -> Starlette:
    """The application.

    Args:
        programs: the compiled programs.
        folder: folder for a dropped file while it is read.
        max_upload: largest size of a dropped file in bytes.
    """
    reports, paths = Reports(), Paths()

    async def page(request: Request) -> Response:
        return FileResponse(PAGE / "index.html", headers=HEADERS)

    async def answer_map(request: Request) -> Response:
        settings = map_of(await _json(request))
        return StreamingResponse(
            _until_gone(programs, settings), 200, HEADERS, "application/octet-stream"
        )

    async def answer_point(request: Request) -> Response:
        settings = point_of(await _json(request))
        return await _answer(describe_point, programs, settings)

    async def answer_sizes(request: Request) -> Response:
        return await _answer(describe_sizes, sizes_of(await _json(request)))

    async def answer_path(request: Request) -> Response:
        return await _answer(describe_path, paths, sizes_of(await _json(request)))

    async def answer_code(request: Request) -> Response:
        given = await _json(request)
        if "sizes" in given:
            return JSONResponse({"code": code_of_sizes(sizes_of(given))}, headers=HEADERS)
        return JSONResponse({"code": code_of_point(point_of(given))}, headers=HEADERS)

    async def answer_diagnosis(request: Request) -> Response:
        if int(request.headers.get("content-length", 0)) > max_upload:
            raise too_large(max_upload)
        name = request.query_params.get("name", "the file")[:100]
        with tempfile.TemporaryDirectory(dir=folder) as own:
            path = Path(own) / "features.npz"
            await save(request.stream(), path, max_upload)
            decay = decay_of(request.query_params)
            html = await run_in_threadpool(diagnosis_of, path, name, decay)
        return JSONResponse({"report": f"/reports/{reports.add(html)}"}, headers=HEADERS)

    async def answer_report(request: Request) -> Response:
        return reports.answer(request.path_params["name"])

    routes = [
        Route("/", page),
        Route("/api/map", answer_map, methods=["POST"]),
        Route("/api/point", answer_point, methods=["POST"]),
        Route("/api/sizes", answer_sizes, methods=["POST"]),
        Route("/api/path", answer_path, methods=["POST"]),
        Route("/api/code", answer_code, methods=["POST"]),
        Route("/api/diagnosis", answer_diagnosis, methods=["POST"]),
        Route("/reports/{name}", answer_report),
        Mount("/page", StaticFiles(directory=PAGE)),
    ]
    guards = [
        # A foreign name that resolves to this machine (DNS rebinding) sends its own Host.
        Middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS), www_redirect=False),
        Middleware(SameOrigin),
    ]
    handlers: dict[Any, Callable[..., Any]] = {
        FieldError: _say_field,
        ClientDisconnect: _say_nothing,
        Exception: _say_sorry,
    }
    return Starlette(routes=routes, middleware=guards, exception_handlers=handlers)


class SameOrigin:
    """Refuses requests from pages of other origins, so that they cannot start work here."""

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers 403 to a foreign Origin; see the ASGI specification."""
        if scope["type"] == "http":
            headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
            origin = headers.get(b"origin")
            if origin is not None and origin != f"http://{headers.get(b'host')}":
                refused = _error("Requests from other pages are refused.", "", 403)
                await refused(scope, receive, send)
                return
        await self.app(scope, receive, send)


async def _json(request: Request) -> dict[str, Any]:
    """The request's JSON object."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_REQUEST:
            raise FieldError("", "The request is too large.")
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        raise FieldError("", "The request is not JSON.") from None
    if not isinstance(given, dict):
        raise FieldError("", "The request must be a JSON object.")
    return given


async def _answer(function: Callable[..., Any], *given: Any) -> Response:
    """The result of a slow function, which runs in a thread."""
    return JSONResponse(await run_in_threadpool(function, *given), headers=HEADERS)


async def _until_gone(programs: Programs, settings: MapSettings) -> AsyncIterator[bytes]:
    """Frames that are made in a thread, until the client disconnects."""
    gone = threading.Event()
    try:
        async for part in iterate_in_threadpool(frames(programs, settings, gone)):
            yield part
    finally:
        gone.set()


def _error(sentence: str, field: str, status: int) -> JSONResponse:
    return JSONResponse({"error": sentence, "field": field}, status, HEADERS)


async def _say_field(request: Request, error: Exception) -> Response:
    return _error(str(error), getattr(error, "field", ""), 422)


async def _say_nothing(request: Request, error: Exception) -> Response:
    return Response(status_code=400)


async def _say_sorry(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _error(
        "The server failed to answer this request; the error is shown in its terminal.", "", 500
    )
