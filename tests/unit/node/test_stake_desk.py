"""A provider's stake, from the owner's side: added, left, taken, and lost to who proves a contradiction."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from ledger.statement import contradiction_of, digest_of
from ledger.voucher import Domain, SessionKey
from market.errors import InvalidRequest, Unavailable
from market.statements import Statement, StatementKind, equivocation
from node.equivocation_file import write_proof
from node.stake_desk import StakeDesk
from node.trading import World
from tests.fakes.desks import RecordingNetwork
from tests.fakes.lane_world import TrioClock
from tests.fakes.memory_chain import MemoryChain, MemoryChainView
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.samples import BUYER

LIAR, WITNESS = SessionKey(b"\x21" * 32), SessionKey(b"\x22" * 32)
TOKENS = 80_000_000


class Bench:
    """Two accounts on one chain, each with its desk."""

    def __init__(self) -> None:
        self.clock = TrioClock()
        self.chain = MemoryChain(self.clock)
        self.views: dict[bytes, MemoryChainView] = {}

    def desk(self, wallet: SessionKey, journal: MemoryJournal | None = None) -> StakeDesk:
        self.chain.give_gas(wallet.address)
        self.views[wallet.address] = self.chain.view(wallet.address)
        world = World(
            network=RecordingNetwork(BUYER.key),  # type: ignore[arg-type]
            journal=journal or MemoryJournal(),
            chain=self.views[wallet.address],
            clock=self.clock,
            rng=random.Random(1),
            signer=BUYER,
            session_key=wallet,
            wallet=wallet,
            folder=Path("unused"),
        )
        return StakeDesk(world)

    def tokens(self, wallet: SessionKey) -> int:
        return self.chain.state_at(self.chain.head_number()).model.tokens.get(wallet.address, 0)


async def refused(question: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        await question
    return caught.value.code


async def test_stake_is_added_left_and_taken(autojump_clock: MockClock) -> None:
    bench = Bench()
    bench.chain.mint(LIAR.address, TOKENS)
    desk = bench.desk(LIAR)
    assert (await desk.stake())["amount"]["units"] == 0
    assert await refused(desk.leave_stake()) == "nothing_staked"
    assert await refused(desk.take_stake()) == "stake_locked"
    change = await desk.add_stake("50")
    assert change["stake"]["amount"]["units"] == 50_000_000
    assert await refused(desk.take_stake()) == "stake_locked"
    left = await desk.leave_stake()
    assert left["stake"]["unlock_at"] is not None
    assert left["stake"]["can_take"] is False
    assert await refused(desk.leave_stake()) == "stake_leaving"
    assert await refused(desk.take_stake()) == "stake_locked"
    await trio.sleep(2 * 255 * 3600)
    assert (await desk.stake())["can_take"] is True
    assert (await desk.take_stake())["stake"]["amount"]["units"] == 0
    assert bench.tokens(LIAR) == TOKENS
    lines = await desk.stake_lines()
    assert [line["kind"] for line in lines] == ["stake_add", "stake_leave", "stake_take"]
    assert all(line["ok"] and line["transaction"] for line in lines)


async def test_adding_stops_a_leave(autojump_clock: MockClock) -> None:
    bench = Bench()
    bench.chain.mint(LIAR.address, TOKENS)
    desk = bench.desk(LIAR)
    await desk.add_stake("10")
    await desk.leave_stake()
    assert (await desk.add_stake("1"))["stake"]["unlock_at"] is None


@pytest.mark.parametrize("amount", ["0", "-5", "x", ""])
async def test_an_amount_that_is_none_is_refused(amount: str, autojump_clock: MockClock) -> None:
    bench = Bench()
    bench.chain.mint(LIAR.address, TOKENS)
    with pytest.raises(InvalidRequest):
        await bench.desk(LIAR).add_stake(amount)
    assert bench.tokens(LIAR) == TOKENS


async def test_a_lost_answer_is_not_followed_by_a_second_stake(autojump_clock: MockClock) -> None:
    bench = Bench()
    bench.chain.mint(LIAR.address, TOKENS)
    bench.chain._now().model.approve(LIAR.address)
    desk = bench.desk(LIAR)
    bench.views[LIAR.address].answers_to_lose = 1
    with pytest.raises(Unavailable):
        await desk.add_stake("50")
    with pytest.raises(Unavailable) as caught:
        await desk.add_stake("50")
    assert caught.value.code == "transaction_pending"
    assert [line["ok"] for line in await desk.stake_lines()] == [None]


async def test_what_was_never_sent_is_not_waited_for(autojump_clock: MockClock) -> None:
    bench = Bench()
    bench.chain.mint(LIAR.address, TOKENS)
    desk = bench.desk(LIAR)
    assert await refused(desk.add_stake("5000000")) == "tokens_short"
    await desk.add_stake("50")
    assert [(line["ok"], line["transaction"] is None) for line in await desk.stake_lines()] == [
        (False, True),
        (True, False),
    ]


async def test_an_account_is_asked_for(autojump_clock: MockClock) -> None:
    desk = Bench().desk(LIAR)
    assert await refused(desk.stake("me")) == "bad_account"
    assert await refused(desk.stake("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92267")) == "bad_account"
    assert (await desk.stake("0x" + "ab" * 20))["provider"] == "0x" + "ab" * 20


async def test_a_contradiction_costs_half_the_stake(autojump_clock: MockClock) -> None:
    bench = Bench()
    bench.chain.mint(LIAR.address, TOKENS)
    proof, witness = a_proof(bench.chain.domain), bench.desk(WITNESS)
    assert await refused(witness.slash(proof)) == "nothing_staked"
    await bench.desk(LIAR).add_stake("40")
    change = await witness.slash(proof)
    assert change["stake"]["amount"]["units"] == 20_000_000
    assert bench.tokens(WITNESS) == 5_000_000
    assert await refused(witness.slash(proof)) == "stake_refused"  # once for each lease and number


@pytest.mark.parametrize(
    "changes",
    [
        {"sequence": 8}, {"kind": "gossip"}, {"body_b": "01" * 32}, {"provider": "0x12"}, {"sequence": -1},
        {"sequence": 2**70}, {"subject": 5}, {"signature_a": "00" * 64}, {"kind": "grant"}, {"body_a": "zz"},
        {"format": "computefabric/equivocation/2"}, {"chain_id": 7}, {"escrow": "0x" + "0e" * 20},
    ],
)  # fmt: skip
async def test_what_proves_nothing_is_not_sent(changes: dict[str, Any], autojump_clock: MockClock) -> None:
    bench = Bench()
    bench.chain.mint(LIAR.address, TOKENS)
    await bench.desk(LIAR).add_stake("40")
    witness = bench.desk(WITNESS)
    assert await refused(witness.slash({**a_proof(bench.chain.domain), **changes})) == "bad_proof"
    assert await witness.stake_lines() == []


async def test_a_proof_of_another_chain_is_not_sent(autojump_clock: MockClock) -> None:
    bench = Bench()
    bench.chain.mint(LIAR.address, TOKENS)
    await bench.desk(LIAR).add_stake("40")
    elsewhere = Domain(chain_id=1, escrow=bench.chain.domain.escrow)
    assert await refused(bench.desk(WITNESS).slash(a_proof(elsewhere))) == "bad_proof"
    assert await refused(bench.desk(WITNESS).slash({})) == "bad_proof"


def a_proof(domain: Domain) -> dict[str, Any]:
    """Two receipts under one number, as ``cfab receipts prove`` writes them."""
    a, b = (_signed(domain, body) for body in (b"\x01" * 32, b"\x02" * 32))
    content: dict[str, Any] = json.loads(
        write_proof(domain, contradiction_of(domain, LIAR.address, equivocation(a, b)))
    )
    return content


def _signed(domain: Domain, body: bytes) -> Statement:
    statement = Statement(kind=StatementKind.RECEIPT, subject=b"\x05" * 32, sequence=7, body=body)
    return replace(statement, signature=LIAR.sign(digest_of(domain, statement)))
