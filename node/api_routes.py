"""The paths of the local API: each asks :class:`NodeControl` one thing."""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, cast

from fastapi import APIRouter, BackgroundTasks, Depends, Query, Request
from fastapi.responses import StreamingResponse

from market.errors import FabricError, InvalidRequest
from node.api_errors import error_body, surprise
from node.control import Json, NodeControl

log = logging.getLogger(__name__)

MAX_BODY = 4 * 1024 * 1024
"""A job's command and environment have bounds of their own; this one is for what is not a job at all."""
MAX_CONTAINERS = 2000
"""Bounds the depth too. Some libraries raise the recursion limit, and then a deep document ends the process: the JSON
parser runs out of stack before the limit stops it."""
_STRING = re.compile(rb'"(?:[^"\\]|\\.?)*(?:"|$)', re.DOTALL)
"""A JSON string, or the rest of the text when it is not closed, so that the search stays linear."""
_NDJSON = "application/x-ndjson"


def control_of(request: Request) -> NodeControl:
    """The node this application serves."""
    control: NodeControl = request.app.state.control
    return control


async def json_body(request: Request) -> Json:
    """The request's JSON object, read up to a bound.

    Raises:
        InvalidRequest: larger than the bound, or not a JSON object.
    """
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY:
            raise InvalidRequest(f"the request is larger than {MAX_BODY} bytes", code="too_large")
    containers = _STRING.sub(b"", raw)
    if containers.count(b"[") + containers.count(b"{") > MAX_CONTAINERS:
        raise InvalidRequest(f"the request has more than {MAX_CONTAINERS} lists and objects", code="too_large")
    try:
        body = json.loads(raw or b"{}")
    except ValueError:
        raise InvalidRequest("the request is not JSON", code="invalid_request") from None
    if not isinstance(body, dict):
        raise InvalidRequest("the request is not a JSON object", code="invalid_request")
    return body


Control = Annotated[NodeControl, Depends(control_of)]
Body = Annotated[dict[str, Any], Depends(json_body)]
After = Annotated[int, Query(ge=0)]

router = APIRouter(prefix="/v1")


@router.get("/status")
async def status(control: Control) -> Json:
    return await control.status()


@router.get("/offers")
async def offers(control: Control, request: Request) -> list[Any]:
    return list(await control.offers(_offer_query(dict(request.query_params))))


@router.get("/bids")
async def bids(control: Control) -> list[Any]:
    return list(await control.bids())


@router.get("/depth")
async def depth(control: Control, request: Request) -> list[Any]:
    return list(await control.depth(_offer_query(dict(request.query_params))))


@router.get("/history")
async def history(control: Control, gpu: str = "", over_ms: After = 0, step_ms: After = 0) -> list[Any]:
    return list(await control.history({"gpu": gpu, "over_ms": over_ms, "step_ms": step_ms}))


@router.get("/jobs")
async def jobs(control: Control) -> list[Any]:
    return list(await control.jobs())


@router.post("/jobs", status_code=201)
async def submit(control: Control, body: Body) -> Json:
    return await control.submit(body)


@router.get("/jobs/{job}")
async def job(control: Control, job: str) -> Any:
    return await control.job(job)


@router.post("/plan")
async def plan(control: Control, body: Body) -> Any:
    return await control.plan(body)


@router.get("/jobs/{job}/award")
async def award_file(control: Control, job: str) -> Json:
    return await control.award_file(job)


@router.get("/jobs/{job}/explain")
async def explain(control: Control, job: str) -> Any:
    return await control.explain(job)


@router.get("/jobs/{job}/events")
async def job_events(control: Control, job: str, after: After = 0) -> StreamingResponse:
    await control.job(job)  # an unknown job must be a 404, not a stream that breaks off
    return StreamingResponse(_lines(_generator(control.job_events(job, after=after))), media_type=_NDJSON)


@router.get("/jobs/{job}/logs")
async def logs(control: Control, job: str, offset: After = 0, follow: bool = False) -> StreamingResponse:
    await control.job(job)
    return StreamingResponse(_log_lines(control, job, offset, follow), media_type=_NDJSON)


@router.post("/jobs/{job}/cancel")
async def cancel(control: Control, job: str) -> Any:
    return await control.cancel(job)


@router.get("/receipts")
async def receipts(control: Control, job: str = "") -> list[Any]:
    return list(await control.receipts(job or None))


@router.get("/receipts/evidence")
async def receipt_evidence(control: Control, job: str = "") -> StreamingResponse:
    return StreamingResponse(_lines(_generator(control.receipt_evidence(job or None))), media_type=_NDJSON)


@router.post("/receipts/chain")
async def receipts_on_chain(control: Control, body: Body) -> Json:
    return await control.receipts_on_chain(body)


@router.get("/wallet")
async def wallet(control: Control) -> Any:
    return await control.wallet()


@router.post("/wallet/lanes/{payee}/exit")
async def exit_lane(control: Control, payee: str) -> Json:
    return await control.exit_lane(payee)


@router.get("/doctor")
async def doctor(control: Control) -> list[Any]:
    return list(await control.doctor())


@router.post("/provider/pause")
async def provider_pause(control: Control) -> Json:
    return await control.provider_pause()


@router.post("/provider/resume")
async def provider_resume(control: Control) -> Json:
    return await control.provider_resume()


@router.post("/provider/price")
async def provider_price(control: Control, body: Body) -> Json:
    price, machine = body.get("price"), body.get("machine", "")
    if not isinstance(price, str) or not isinstance(machine, str):
        raise InvalidRequest("'price' and 'machine' are texts", code="invalid_request", fix='{"price": "0.32/h"}')
    return await control.provider_price(price, machine)


@router.post("/shutdown", status_code=202)
async def shutdown(control: Control, background: BackgroundTasks) -> Json:
    # Afterwards: a node that stops at once would cut off its own answer.
    background.add_task(control.shutdown)
    return {"stopping": True}


def _offer_query(given: dict[str, str]) -> Json:
    known: dict[str, type] = {
        "where": str,
        "order": str,
        "gpu": str,
        "region": str,
        "max_price": str,
        "min_vram_mib": int,
        "free": bool,
        "simulated": bool,
        "limit": int,
    }
    query: Json = {}
    for name, text in given.items():
        kind = known.get(name)
        if kind is None:
            raise InvalidRequest(
                f"unknown filter '{name[:64]}'", code="invalid_request", fix=f"known: {', '.join(known)}"
            )
        if kind is int and not (text.isascii() and text.isdigit() and len(text) <= 12):
            raise InvalidRequest(f"'{name}' takes a whole number", code="invalid_request")
        if kind is bool and text not in ("true", "false"):
            raise InvalidRequest(f"'{name}' takes true or false", code="invalid_request")
        query[name] = text == "true" if kind is bool else kind(text)
    return query


async def _log_lines(control: NodeControl, job: str, offset: int, follow: bool) -> AsyncGenerator[bytes, None]:
    """Job output is bytes, and JSON is text: each piece travels as base64 with its offset."""

    async def framed() -> AsyncGenerator[Json, None]:
        async with aclosing(_generator(control.logs(job, offset=offset, follow=follow))) as pieces:
            async for piece in pieces:
                yield {"offset": piece["offset"], "data": base64.b64encode(piece["data"]).decode()}

    async with aclosing(_lines(framed())) as lines:
        async for line in lines:
            yield line


async def _lines(items: AsyncGenerator[Json, None]) -> AsyncGenerator[bytes, None]:
    """One JSON object per line. The status line is gone by now, so an error becomes the stream's last line."""
    try:
        async with aclosing(items) as stream:
            async for item in stream:
                yield json.dumps(item, separators=(",", ":")).encode() + b"\n"
    except FabricError as error:
        yield json.dumps(error_body(error)).encode() + b"\n"
    except Exception:
        log.exception("a stream of the local API broke off")
        yield json.dumps(error_body(surprise())).encode() + b"\n"


def _generator(items: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
    """The port promises generators (see its docstring); an async def with a yield is declared as an iterator."""
    return cast("AsyncGenerator[Any, None]", items)
