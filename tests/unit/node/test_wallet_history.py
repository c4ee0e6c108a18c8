"""What happened to this node's money, told from its journal alone: both sides, and others' doings."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from ledger.payer import CloseProposal
from ledger.ports import JournalEntry
from market.errors import Unavailable
from node.wallet_history import lane_lines, payout_lines
from tests.fakes.lane_world import LaneWorld

LEASE = b"l" * 16


async def told(world: LaneWorld, side: str = "paying") -> list[Any]:
    journal = world.payer_journal if side == "paying" else world.payee_journal
    (stream,) = await journal.streams(f"{side}/")
    return list(lane_lines(side, await journal.read(stream)))


def sums(lines: list[Any], kind: str, field: str = "amount") -> list[int]:
    return [line[field]["units"] for line in lines if line["kind"] == kind and line[field]]


async def close(world: LaneWorld) -> CloseProposal:
    proposal = await world.payer.start_close(world.lane.payee)
    consent = await world.payee.consent_close(world.lane, proposal.cumulative, proposal.deadline_s)
    await world.payer.finish_close(proposal, consent)
    return proposal


async def test_a_job_from_deposit_to_close_on_both_sides(autojump_clock: MockClock) -> None:
    world = LaneWorld()
    await world.funded(LEASE, 1_000)
    await world.pay(LEASE, 100)
    await world.pay(LEASE, 340)
    assert sums(await told(world), "vouchers") == [340]  # of a lease that is still open
    await world.payer.release(LEASE)
    await world.payee.release(LEASE)
    await close(world)
    lines = await told(world)
    assert [line["kind"] for line in lines] == ["deposit", "vouchers", "close"]
    deposit, vouchers, closed = lines
    assert (deposit["amount"]["units"], deposit["ok"]) == (1_000, True)
    assert deposit["transaction"].startswith("0x")
    assert (vouchers["amount"]["units"], vouchers["lease"], vouchers["transaction"]) == (340, LEASE.hex(), None)
    assert (closed["amount"]["units"], closed["returned"]["units"]) == (340, 660)
    assert {line["account"] for line in lines} == {"0x" + world.lane.payee.hex()}
    await world.payee.lane_on_chain(world.lane)
    paid = await told(world, "paid")
    assert (sums(paid, "vouchers"), sums(paid, "close"), sums(paid, "close", "returned")) == ([340], [340], [660])
    assert {line["account"] for line in paid} == {"0x" + world.lane.payer.hex()}


async def test_a_redemption_is_the_providers_and_the_payer_sees_it(autojump_clock: MockClock) -> None:
    world = LaneWorld()
    await world.funded(LEASE, 1_000)
    await world.pay(LEASE, 250)
    await world.payee.redeem()
    await trio.sleep(5)
    await world.payee.lane_on_chain(world.lane)
    (redeemed,) = [line for line in await told(world, "paid") if line["kind"] == "redeem"]
    assert redeemed["amount"]["units"] == 250
    assert redeemed["transaction"] is not None
    await world.payer.refundable(world.lane.payee)
    (seen,) = [line for line in await told(world) if line["kind"] == "redeem"]
    assert (seen["amount"]["units"], seen["transaction"]) == (250, None)


async def test_an_exit_is_started_and_finished(autojump_clock: MockClock) -> None:
    world = LaneWorld()
    await world.funded(LEASE, 1_000)
    await world.pay(LEASE, 250)
    await world.payer.release(LEASE)
    await world.payer.begin_exit(world.lane.payee)
    await trio.sleep(3_700)
    await world.payer.finish_exit_when_due(world.lane.payee)
    lines = await told(world)
    assert [line["kind"] for line in lines][-2:] == ["exit_started", "exit"]
    assert lines[-1]["returned"]["units"] == 1_000
    assert sums(lines, "deposit") == [1_000]


async def test_a_deposit_of_somebody_else_is_told_without_a_transaction(autojump_clock: MockClock) -> None:
    world = LaneWorld()
    cold = b"\x77" * 20
    world.chain.mint(cold, 500)
    world.chain.give_gas(cold)
    world.chain._now().model.approve(cold)
    await world.funded(LEASE, 100)
    world.chain.send(cold, 1, lambda model, _now: model.deposit(cold, world.lane, 500))
    await trio.sleep(5)
    await world.payer.refundable(world.lane.payee)
    lines = await told(world)
    assert sums(lines, "deposit") == [100, 500]
    assert [line["transaction"] is None for line in lines if line["kind"] == "deposit"] == [False, True]


async def test_a_deposit_whose_answer_was_lost_is_told_once(autojump_clock: MockClock) -> None:
    world = LaneWorld()
    await world.payer.reserve(LEASE, world.lane.payee, 1_000)
    world.chain._now().model.approve(world.lane.payer)
    world.payer_chain.answers_to_lose = 1
    with pytest.raises(Unavailable):
        await world.payer.ensure_funded(LEASE)
    (line,) = await told(world)
    assert (line["amount"]["units"], line["ok"]) == (1_000, None)
    await world.crash_payer()
    await trio.sleep(5)
    await world.payer.ensure_funded(LEASE)
    (line,) = await told(world)
    assert (line["amount"]["units"], line["ok"], line["transaction"]) == (1_000, True, None)


async def test_many_rounds_add_up_to_what_the_chain_holds(autojump_clock: MockClock) -> None:
    world = LaneWorld()
    for number in range(1, 6):
        lease = bytes([number]) * 16
        await world.funded(lease, 1_000)
        await world.pay(lease, 100 * number)
        await world.payer.release(lease)
        await world.payee.release(lease)
        if number % 2:
            await close(world)
        else:
            await world.payee.redeem()
            await trio.sleep(5)
    await world.payer.refundable(world.lane.payee)
    lines = await told(world)
    drawn = sum(sums(lines, "redeem")) + sum(sums(lines, "close"))
    assert drawn == world.paid == sum(sums(lines, "vouchers")) == 1_500
    assert sum(sums(lines, "deposit")) - sum(sums(lines, "close", "returned")) - drawn == world.held


def test_entries_nobody_knows_are_passed_over() -> None:
    strange = JournalEntry(position=1, stream="paying/x", kind="SomethingNewer", at_ms=1, body=b"\xc1")
    assert lane_lines("paying", [strange]) == []
    assert payout_lines([strange]) == []
