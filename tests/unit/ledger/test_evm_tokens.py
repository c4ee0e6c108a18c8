"""Reading a token's log from an endpoint that is not careful. The rest is in tests/ports/test_token_account.py."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hexbytes import HexBytes

from ledger.evm_reader import MAX_EVENT_BLOCKS
from ledger.evm_rpc import Answer
from ledger.evm_tokens import EvmTokens
from market.errors import Unavailable

ACCOUNT, OWNER, STRANGER = b"\x01" * 20, b"\x0a" * 20, b"\x0b" * 20
TRANSFER = HexBytes("0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")


def entry(source: bytes, target: bytes, amount: int) -> dict[str, Any]:
    topics = [TRANSFER, *(HexBytes(one.rjust(32, b"\0")) for one in (source, target))]
    data = HexBytes(amount.to_bytes(32, "big"))
    return {"topics": topics, "data": data, "transactionHash": HexBytes(b"\x07" * 32), "blockNumber": 5}


class Endpoint:
    """Gives the same entries for every question about the log, whatever was asked for."""

    several = False

    def __init__(self, entries: list[dict[str, Any]], head: int = 9) -> None:
        self.entries = entries
        self.head = head
        self.time = 77
        self.asked: list[Any] = []

    async def ask(self, question: Callable[[Any], Any]) -> Any:
        return question(SimpleNamespace(eth=self))

    def get_block(self, _which: str) -> dict[str, Any]:
        return {"number": self.head, "hash": HexBytes(b"\x09" * 32), "timestamp": self.time}

    def get_logs(self, wanted: Any) -> list[dict[str, Any]]:
        self.asked.append(wanted)
        return self.entries


class Endpoints:
    """Several of them; one that is None does not answer."""

    several = True

    def __init__(self, *endpoints: Endpoint | None) -> None:
        self.endpoints = endpoints
        self.disputes: list[str] = []

    async def ask(self, question: Callable[[Any], Any]) -> Any:
        assert self.endpoints[0] is not None
        return await self.endpoints[0].ask(question)

    async def ask_each(self, question: Callable[[Any], Any], *, most: int) -> list[Answer[Any]]:
        awake = [(index, one) for index, one in enumerate(self.endpoints[:most]) if one is not None]
        return [Answer(index, await one.ask(question)) for index, one in awake]

    def dispute(self, what: str, _answers: object) -> None:
        self.disputes.append(what)


def tokens_at(endpoint: Endpoint | Endpoints) -> EvmTokens:
    chain: Any = SimpleNamespace(account=ACCOUNT, token=b"\x70" * 20, _rpc=endpoint, _sender=None)
    return EvmTokens(chain)


async def test_transfers_of_others_and_to_others_are_not_taken_for_ours() -> None:
    ours = entry(ACCOUNT, OWNER, 300)
    endpoint = Endpoint([entry(STRANGER, OWNER, 300), ours, entry(ACCOUNT, STRANGER, 300), {**ours, "topics": []}])
    (found,), head = await tokens_at(endpoint).transfers_since(OWNER, 1)
    assert (head.number, head.timestamp) == (9, 77)
    assert (found.to, found.amount, found.transaction, found.block) == (OWNER, 300, b"\x07" * 32, 5)
    assert [bytes(topic)[-20:] for topic in endpoint.asked[0]["topics"][1:]] == [ACCOUNT, OWNER]


async def test_a_long_time_is_asked_about_in_pieces_without_a_gap() -> None:
    last = 2 * MAX_EVENT_BLOCKS + 3
    endpoint = Endpoint([], head=last)
    await tokens_at(endpoint).transfers_since(OWNER, 4)
    spans = [(one["fromBlock"], one["toBlock"]) for one in endpoint.asked]
    assert spans[0][0] == 4
    assert spans[-1][1] == last
    assert all(after[0] == before[1] + 1 for before, after in pairwise(spans))
    assert all(high - low < MAX_EVENT_BLOCKS for low, high in spans)


async def test_one_endpoint_that_hides_a_transfer_does_not_make_it_look_lost() -> None:
    """Else the payout would be sent again."""
    ours = entry(ACCOUNT, OWNER, 300)
    for entries in ([[], [ours]], [[ours], []], [[], [], [ours]]):
        rpc = Endpoints(*(Endpoint(one) for one in entries))
        with pytest.raises(Unavailable) as refused:
            await tokens_at(rpc).transfers_since(OWNER, 1)
        assert refused.value.code == "endpoints_differ"
        assert len(rpc.disputes) == 1


async def test_one_endpoint_of_several_may_show_a_payout_and_not_that_there_was_none() -> None:
    (found,), _ = await tokens_at(Endpoints(Endpoint([entry(ACCOUNT, OWNER, 300)]), None)).transfers_since(OWNER, 1)
    assert found.amount == 300
    with pytest.raises(Unavailable) as refused:
        await tokens_at(Endpoints(Endpoint([]), None)).transfers_since(OWNER, 1)
    assert refused.value.code == "endpoints_differ"


async def test_what_two_endpoints_show_counts_and_the_slowest_says_how_far_was_looked() -> None:
    ours = entry(ACCOUNT, OWNER, 300)
    rpc = Endpoints(Endpoint([ours]), Endpoint([]), Endpoint([ours]))
    (found,), _ = await tokens_at(rpc).transfers_since(OWNER, 1)
    assert (found.amount, rpc.disputes) == (300, [])
    behind = Endpoint([], head=4)
    behind.time = 11
    none, head = await tokens_at(Endpoints(Endpoint([]), behind)).transfers_since(OWNER, 1)
    assert (none, head.number, head.timestamp) == ([], 4, 11)
