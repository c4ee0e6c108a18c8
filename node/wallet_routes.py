"""The paths of the local API about money: each asks :class:`WalletControl` one thing."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from market.errors import InvalidRequest
from node.api_routes import json_body
from node.control import Json
from node.wallet_control import WalletControl


def desk_of(request: Request) -> WalletControl:
    """The wallet desk of the node that this application serves.

    Raises:
        InvalidRequest: ``no_chain``: the node has no money.
    """
    desk: WalletControl = request.app.state.control.wallet_desk
    return desk


Desk = Annotated[WalletControl, Depends(desk_of)]
Body = Annotated[dict[str, Any], Depends(json_body)]

router = APIRouter(prefix="/v1")


@router.get("/wallet/lanes/{provider}/deposit")
async def plan_deposit(desk: Desk, provider: str, amount: str, sender: str = "") -> Any:
    return await desk.plan_deposit(provider, amount, sender=sender)


@router.post("/wallet/lanes/{provider}/deposit")
async def deposit(desk: Desk, provider: str, body: Body) -> Any:
    return await desk.deposit(provider, _text(body, "amount"))


@router.post("/wallet/lanes/{provider}/withdraw")
async def withdraw(desk: Desk, provider: str, body: Body) -> Any:
    alone = body.get("alone", False)
    if not isinstance(alone, bool):
        raise InvalidRequest("'alone' is true or false", code="invalid_request")
    return await desk.withdraw(provider, alone=alone)


@router.get("/wallet/history")
async def wallet_history(desk: Desk) -> list[Any]:
    return list(await desk.wallet_history())


@router.get("/wallet/payouts")
async def payouts(desk: Desk) -> Any:
    return await desk.payouts()


@router.get("/provider/earnings")
async def earnings(desk: Desk, by: str = "day") -> Any:
    return await desk.earnings(by)


@router.get("/stake")
async def stake(desk: Desk, provider: str = "") -> Any:
    return await desk.stake(provider)


@router.post("/stake/add")
async def add_stake(desk: Desk, body: Body) -> Any:
    return await desk.add_stake(_text(body, "amount"))


@router.post("/stake/leave")
async def leave_stake(desk: Desk) -> Any:
    return await desk.leave_stake()


@router.post("/stake/take")
async def take_stake(desk: Desk) -> Any:
    return await desk.take_stake()


@router.post("/stake/slash")
async def slash(desk: Desk, body: Body) -> Json:
    return dict(await desk.slash(body))


def _text(body: Json, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise InvalidRequest(f"'{name}' is a text", code="invalid_request", fix=f'{{"{name}": "2.5"}}')
    return value
