"""The paths about money over a real unix socket, with a scripted wallet behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from market.errors import InvalidRequest, Unavailable
from node.api import serve_api
from tests.fakes.scripted_control import ScriptedControl
from tests.fakes.scripted_wallet import PAYEE


@pytest.fixture
def control() -> ScriptedControl:
    return ScriptedControl()


@pytest.fixture
async def client(control: ScriptedControl, tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[httpx.AsyncClient]:
    control.attach()
    await nursery.start(serve_api, control, tmp_path / "api.sock")
    transport = httpx.AsyncHTTPTransport(uds=str(tmp_path / "api.sock"))
    async with httpx.AsyncClient(transport=transport, base_url="http://node", timeout=20) as client:
        yield client


async def test_every_reading_path_answers(client: httpx.AsyncClient) -> None:
    paths = (
        f"wallet/lanes/{PAYEE}/deposit?amount=2.5",
        "wallet/history",
        "wallet/payouts",
        "provider/earnings?by=gpu",
        "stake",
        f"stake?provider={PAYEE}",
    )
    for path in paths:
        answer = await client.get(f"/v1/{path}")
        assert answer.status_code == 200, path
        assert answer.json(), path


async def test_verbs_reach_the_wallet(client: httpx.AsyncClient, control: ScriptedControl) -> None:
    asked: list[tuple[str, Any]] = [
        ("wallet/lanes/0x03/deposit", {"amount": "2.5"}),
        ("wallet/lanes/0x03/withdraw", {}),
        ("wallet/lanes/0x03/withdraw", {"alone": True}),
        ("stake/add", {"amount": "50"}),
        ("stake/leave", {}),
        ("stake/take", {}),
        ("stake/slash", {"kind": "receipt"}),
    ]
    for path, body in asked:
        assert (await client.post(f"/v1/{path}", json=body)).is_success, path
    assert control.wallet_desk.calls == [
        "deposit 0x03 2.5",
        "withdraw 0x03",
        "withdraw 0x03 alone",
        "stake add 50",
        "stake leave",
        "stake take",
        "stake slash receipt",
    ]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("wallet/lanes/x/deposit", {}),
        ("wallet/lanes/x/deposit", {"amount": 5}),
        ("wallet/lanes/x/withdraw", {"alone": "yes"}),
        ("stake/add", {"amount": None}),
        ("stake/add", []),
    ],
)
async def test_a_body_of_another_shape_is_explained(
    client: httpx.AsyncClient, control: ScriptedControl, path: str, body: Any
) -> None:
    answer = await client.post(f"/v1/{path}", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_request"
    assert control.wallet_desk.calls == []


async def test_errors_keep_their_code(client: httpx.AsyncClient, control: ScriptedControl) -> None:
    control.wallet_desk.fail["deposit"] = Unavailable("not now", code="deposit_pending")
    control.wallet_desk.fail["payouts"] = InvalidRequest("no", code="no_chain")
    answer = await client.post("/v1/wallet/lanes/x/deposit", json={"amount": "1"})
    assert (answer.status_code, answer.json()["error"]["retryable"]) == (503, True)
    assert (await client.get("/v1/wallet/payouts")).json()["error"]["code"] == "no_chain"
    assert (await client.get("/v1/wallet/lanes/x/deposit")).status_code == 400
