"""The local API over a real unix socket, with a scripted node behind it."""

from __future__ import annotations

import base64
import json
import os
import socket
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.testing

from market.errors import InvalidRequest, PeerFault, Unavailable
from node.api import make_app, serve_api
from tests.fakes.scripted_control import HOLD, JOB, ScriptedControl, success

DEADLINE_S = 20


@pytest.fixture
def control() -> ScriptedControl:
    return ScriptedControl()


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    return tmp_path / "api.sock"


@pytest.fixture
async def client(
    control: ScriptedControl, socket_path: Path, nursery: trio.Nursery
) -> AsyncIterator[httpx.AsyncClient]:
    control.attach()
    await nursery.start(serve_api, control, socket_path)
    transport = httpx.AsyncHTTPTransport(uds=str(socket_path))
    async with httpx.AsyncClient(transport=transport, base_url="http://node", timeout=DEADLINE_S) as client:
        yield client


def a_request(**changes: Any) -> dict[str, Any]:
    return {
        "name": "a",
        "spec": {"image": "python:3.12", "command": ["true"], "max_duration_ms": 60_000},
        "max_price": 1,
        "max_total": 1,
        **changes,
    }


async def test_socket_belongs_to_its_owner_only(client: httpx.AsyncClient, socket_path: Path) -> None:
    assert stat.S_IMODE(os.stat(socket_path).st_mode) == 0o600
    assert (await client.get("/v1/status")).json()["name"] == "alice"


async def test_stale_socket_is_replaced_and_removed_at_the_end(control: ScriptedControl, socket_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(socket_path))
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_api, control, socket_path)
        async with await trio.open_unix_socket(str(socket_path)):
            pass
        nursery.cancel_scope.cancel()
    assert not await trio.Path(socket_path).exists()


async def test_second_node_of_a_home_is_refused(
    client: httpx.AsyncClient, control: ScriptedControl, socket_path: Path
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await serve_api(control, socket_path)
    assert refused.value.code == "already_running"
    assert (await client.get("/v1/status")).status_code == 200


async def test_live_socket_without_a_lock_is_not_taken_over(control: ScriptedControl, socket_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(socket_path))
        other.listen()
        with pytest.raises(InvalidRequest) as refused:
            await serve_api(control, socket_path)
    assert refused.value.code == "already_running"
    assert await trio.Path(socket_path).exists()


async def test_path_that_cannot_be_a_socket_is_one_clear_error(control: ScriptedControl, tmp_path: Path) -> None:
    for path in (tmp_path / ("x" * 120), tmp_path / "absent" / "api.sock"):
        with pytest.raises(InvalidRequest) as refused:
            await serve_api(control, path)
        assert refused.value.code == "bad_socket_path"
        assert refused.value.fix


async def test_ordinary_file_in_its_place_is_kept(control: ScriptedControl, socket_path: Path) -> None:
    await trio.Path(socket_path).write_text("precious")
    with pytest.raises(InvalidRequest) as refused:
        await serve_api(control, socket_path)
    assert refused.value.code == "bad_socket_path"
    assert await trio.Path(socket_path).read_text() == "precious"


async def test_every_reading_path_answers_json(client: httpx.AsyncClient) -> None:
    for path in ("status", "offers", "jobs", f"jobs/{JOB}", "receipts", "wallet", "doctor"):
        answer = await client.get(f"/v1/{path}")
        assert answer.status_code == 200, path
        assert isinstance(answer.json(), dict | list), path


async def test_verbs_reach_the_node(client: httpx.AsyncClient, control: ScriptedControl) -> None:
    for path in (f"jobs/{JOB}/cancel", "provider/pause", "provider/resume", "wallet/lanes/0x03/exit", "shutdown"):
        assert (await client.post(f"/v1/{path}")).is_success, path
    with trio.fail_after(DEADLINE_S):
        while control.calls[-1] != "shutdown":  # asked of the node after its answer is out
            await trio.testing.wait_all_tasks_blocked(0.01)
    assert control.calls == ["cancel", "pause", "resume", "exit 0x03", "shutdown"]


async def test_a_price_reaches_the_node_as_it_was_sent(client: httpx.AsyncClient, control: ScriptedControl) -> None:
    for body in ({"price": "0.32/h"}, {"price": "0.32/h", "machine": "m1"}):
        assert (await client.post("/v1/provider/price", json=body)).json()["price"]["hourly"] == "0.3200/h"
    assert control.calls == ["price 0.32/h", "price 0.32/h m1"]
    for bad in ({}, {"price": 1}, {"price": "0.32/h", "machine": 5}, {"price": "0.32"}):
        assert (await client.post("/v1/provider/price", json=bad)).status_code == 400


async def test_submitted_request_arrives_as_it_was_sent(client: httpx.AsyncClient, control: ScriptedControl) -> None:
    answer = await client.post("/v1/jobs", json=a_request(name="train"))
    assert answer.status_code == 201
    assert answer.json() == {"job": JOB}
    assert control.submitted[0].name == "train"
    assert control.submitted[0].spec.command == ("true",)


async def test_a_plan_is_asked_for_as_a_job_is_submitted_and_submits_nothing(
    client: httpx.AsyncClient, control: ScriptedControl
) -> None:
    control.plan_answer = {"matches": 1}
    answer = await client.post("/v1/plan", json=a_request(name="train"))
    assert (answer.status_code, answer.json()) == (200, {"matches": 1})
    assert (control.planned[0].name, control.submitted) == ("train", [])
    assert (await client.post("/v1/plan", json={"name": "train"})).status_code == 400


async def test_an_explanation_belongs_to_its_job(client: httpx.AsyncClient, control: ScriptedControl) -> None:
    control.explanation = {"job": JOB, "auctions": []}
    assert (await client.get(f"/v1/jobs/{JOB}/explain")).json() == control.explanation


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"[]",
        json.dumps(a_request(suprise=1)).encode(),
        json.dumps(a_request(max_price=-1)).encode(),
        json.dumps(a_request(strategy="zzz")).encode(),
        json.dumps(a_request(inputs=[{"source": "relative", "target": "/work/a"}])).encode(),
        json.dumps(a_request(inputs=[{"source": "/a", "target": "/work/../etc"}])).encode(),
    ],
)
async def test_malformed_request_is_refused_with_a_reason(
    client: httpx.AsyncClient, control: ScriptedControl, body: bytes
) -> None:
    answer = await client.post("/v1/jobs", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
    assert control.submitted == []


@pytest.mark.parametrize("bomb", [b"[" * 200_000, b'{"a":' * 200_000, b'"\\"' + b'\\"' * 500_000])
async def test_deep_document_cannot_end_the_node(client: httpx.AsyncClient, bomb: bytes) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10**6)  # as libraries do; with the usual limit the parser protects itself
    try:
        assert (await client.post("/v1/jobs", content=bomb)).status_code in (400, 413)
    finally:
        sys.setrecursionlimit(limit)


async def test_brackets_inside_text_are_text(client: httpx.AsyncClient, control: ScriptedControl) -> None:
    spec = {"image": "a", "command": ["sh", "-c", '[{"\\' * 5000], "max_duration_ms": 60_000}
    assert (await client.post("/v1/jobs", json=a_request(spec=spec))).status_code == 201
    assert control.submitted[0].spec.command == tuple(spec["command"])


async def test_endless_request_is_cut_off(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/jobs", content=b" " * (5 * 1024 * 1024))
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "too_large"


@pytest.mark.parametrize(
    ("error", "status", "retryable"),
    [
        (InvalidRequest("no", code="x", fix="do this", where="here"), 400, False),
        (InvalidRequest("no", code="not_found"), 404, False),
        (PeerFault("they broke it"), 502, False),
        (Unavailable("gone", code="chain"), 503, True),
    ],
)
async def test_our_errors_have_one_shape_and_a_status_by_who_must_act(
    client: httpx.AsyncClient, control: ScriptedControl, error: Any, status: int, retryable: bool
) -> None:
    control.fail["status"] = error
    answer = await client.get("/v1/status")
    assert answer.status_code == status
    assert answer.json()["error"] == {
        "code": error.code,
        "message": error.message,
        "fix": error.fix,
        "where": error.where,
        "retryable": retryable,
    }


async def test_surprise_shows_nothing_of_itself(client: httpx.AsyncClient, control: ScriptedControl) -> None:
    control.fail["status"] = KeyError("hunter2")
    answer = await client.get("/v1/status")
    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert answer.json()["error"]["code"] == "internal"


async def test_wrong_path_method_and_filter_are_errors_of_the_same_shape(client: httpx.AsyncClient) -> None:
    for method, path, status in (
        ("GET", "/v1/nothing", 404),
        ("DELETE", "/v1/jobs", 405),
        ("GET", "/v1/offers?colour=red", 400),
        ("GET", "/v1/offers?limit=-1", 400),
        ("GET", f"/v1/jobs/{JOB}/events?after=x", 400),
        ("GET", "/v1/jobs/unknown/events", 404),
        ("GET", "/v1/jobs/unknown/logs", 404),
    ):
        answer = await client.request(method, path)
        assert answer.status_code == status, path
        assert answer.json()["error"]["code"], path


async def test_offer_filters_arrive_typed(client: httpx.AsyncClient, control: ScriptedControl) -> None:
    await client.get("/v1/offers?gpu=RTX4090&limit=5&free=true&simulated=false&min_vram_mib=10")
    assert control.query == {"gpu": "RTX4090", "limit": 5, "free": True, "simulated": False, "min_vram_mib": 10}


async def test_events_resume_after_a_sequence_number(client: httpx.AsyncClient) -> None:
    lines = (await client.get(f"/v1/jobs/{JOB}/events?after=3")).text.splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["seq"] for event in events] == list(range(4, len(success()) + 1))
    assert events[-1]["type"] == "succeeded"


async def test_logs_survive_every_byte_and_resume_inside_a_piece(
    client: httpx.AsyncClient, control: ScriptedControl
) -> None:
    every_byte = bytes(range(256))
    control.output = [every_byte, b"tail"]
    lines = (await client.get(f"/v1/jobs/{JOB}/logs?offset=10")).text.splitlines()
    pieces = [json.loads(line) for line in lines]
    assert pieces[0]["offset"] == 10
    assert b"".join(base64.b64decode(piece["data"]) for piece in pieces) == every_byte[10:] + b"tail"


async def test_event_is_sent_as_it_happens_and_a_reader_that_leaves_frees_the_stream(
    client: httpx.AsyncClient, control: ScriptedControl
) -> None:
    control.events = [{"type": "queued"}, HOLD, {"type": "succeeded"}]
    with trio.fail_after(DEADLINE_S):
        async with client.stream("GET", f"/v1/jobs/{JOB}/events") as response:
            lines = response.aiter_lines()
            assert json.loads(await anext(lines))["type"] == "queued"
            assert control.streams_open == 1
        while control.streams_open:
            await trio.testing.wait_all_tasks_blocked(0.01)


async def test_stream_that_breaks_says_so_on_its_last_line(client: httpx.AsyncClient, control: ScriptedControl) -> None:
    for error, code in ((Unavailable("gone", code="disk"), "disk"), (ValueError("hunter2"), "internal")):
        control.events = [{"type": "queued"}, error]
        text = (await client.get(f"/v1/jobs/{JOB}/events")).text
        assert json.loads(text.splitlines()[-1])["error"]["code"] == code
        assert "hunter2" not in text


async def test_open_stream_does_not_keep_the_node_from_stopping(control: ScriptedControl, socket_path: Path) -> None:
    control.events = [{"type": "queued"}, HOLD]
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_api, control, socket_path)
            stream = await trio.open_unix_socket(str(socket_path))
            await stream.send_all(f"GET /v1/jobs/{JOB}/events HTTP/1.1\r\nHost: node\r\n\r\n".encode())
            assert b"200" in await stream.receive_some()
            nursery.cancel_scope.cancel()


async def test_own_description_loads_nothing_from_elsewhere() -> None:
    app = make_app(ScriptedControl())
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
        assert (await client.get("/docs")).status_code == 404
        description = (await client.get("/v1/openapi.json")).json()
    assert "/v1/jobs/{job}/events" in description["paths"]
