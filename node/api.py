"""The local HTTP API: a thin door in front of :class:`NodeControl`, over the node's own unix socket.

Every answer is JSON, every stream is NDJSON, every error has one shape (``api_errors``). It decides nothing about
jobs or money, loads nothing from elsewhere, and never listens on a network.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any, cast

import trio
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from hypercorn.config import Config, Sockets
from hypercorn.trio.run import worker_serve
from hypercorn.utils import wrap_app
from starlette.exceptions import HTTPException

from market.errors import FabricError, InvalidRequest
from node.api_errors import API_HEADER, API_VERSION, error_body, error_status, surprise
from node.api_routes import router
from node.api_socket import listening_socket
from node.control import NodeControl
from node.wallet_routes import router as wallet_router

log = logging.getLogger(__name__)

server_log = logging.getLogger(f"{__name__}.server")
server_log.setLevel(logging.WARNING)  # it announces the socket by the temporary name it was made under
_GRACE_S = 1.0


async def serve_api(control: NodeControl, socket_path: Path, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
    """Serve until cancelled; then open streams get a second to end and the socket is removed.

    Raises:
        InvalidRequest: another node listens there, or the path cannot be used.
    """
    config = Config()
    config.graceful_timeout = _GRACE_S
    config.accesslog = None
    config.errorlog = server_log
    config.include_server_header = False
    app = wrap_app(cast(Any, make_app(control)), config.wsgi_max_body_size, "asgi")
    with listening_socket(socket_path) as listener:
        async with trio.open_nursery() as nursery:
            sockets = Sockets([], [listener], [])
            await nursery.start(partial(worker_serve, app, config, sockets=sockets))
            task_status.started()


def make_app(control: NodeControl) -> FastAPI:
    """The ASGI application. Its interactive pages are off: they would load scripts from a content network."""
    app = FastAPI(title="ComputeFabric", version="1", docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json")
    app.state.control = control
    app.include_router(router)
    app.include_router(wallet_router)

    @app.exception_handler(FabricError)
    async def ours(request: Request, error: FabricError) -> JSONResponse:
        return _refusal(error, error_status(error))

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return _refusal(InvalidRequest(first["msg"], code="invalid_request", where=where), 400)

    @app.exception_handler(HTTPException)
    async def unrouted(request: Request, error: HTTPException) -> JSONResponse:
        code = {404: "no_such_path", 405: "wrong_method"}.get(error.status_code, "invalid_request")
        return _refusal(InvalidRequest(str(error.detail), code=code), error.status_code)

    @app.exception_handler(Exception)
    async def surprised(request: Request, error: Exception) -> JSONResponse:
        log.error("the local API failed on %s %s", request.method, request.url.path, exc_info=error)
        return _refusal(surprise(), 500)

    return app


def _refusal(error: FabricError, status: int) -> JSONResponse:
    """A refusal says which version refuses: what a newer command asks for may only be unknown here."""
    return JSONResponse(error_body(error), status, headers={API_HEADER: str(API_VERSION)})
