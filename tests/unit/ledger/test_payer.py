"""The payer's book: funds once, vouches within caps and deposit, survives crashes, gets its money back."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from ledger.lane_journal import replay
from ledger.payer import Payer
from ledger.voucher import Domain, SessionKey, check_voucher
from market.errors import FabricError, InvalidRequest, PeerFault, Unavailable
from tests.fakes.lane_world import TOKENS, LaneWorld

A, B, C = b"a" * 16, b"b" * 16, b"c" * 16


@pytest.fixture
async def world() -> LaneWorld:
    return LaneWorld()


async def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(FabricError) as refused:
        await call()  # type: ignore[misc]
    return refused.value.code


async def test_a_lease_is_funded_up_to_its_cap(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.payer.reserve(A, world.lane.payee, 100)
    mined = await world.payer.ensure_funded(A)

    assert mined is not None
    assert mined.succeeded
    assert (world.held, world.kept) == (100, TOKENS - 100)


async def test_a_lane_with_a_strangers_signer_is_ours_only_when_it_is_in_the_books(
    autojump_clock: MockClock, world: LaneWorld
) -> None:
    before, foreign = world.lane, replace(world.lane, signer=b"s" * 20)
    await world.payer.reserve(A, before.payee, 5)
    await world.payer.ensure_funded(A)
    world.session = SessionKey(b"n" * 32)
    await world.restart_payer()
    now = world.payer.lane(before.payee)
    assert [world.payer.is_ours(lane) for lane in (now, before, foreign)] == [True, True, False]
    assert not world.payer.is_ours(replace(now, payer=b"x" * 20))


async def test_funding_again_or_after_a_restart_deposits_nothing(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)

    assert await world.payer.ensure_funded(A) is None
    await world.crash_payer()
    assert await world.payer.ensure_funded(A) is None
    assert world.held == 100


async def test_what_a_lease_left_over_funds_the_next(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)
    await world.pay(A, 30)
    await world.payer.release(A)

    await world.payer.reserve(B, world.lane.payee, 70)
    assert await world.payer.ensure_funded(B) is None
    await world.payer.reserve(C, world.lane.payee, 50)
    await world.payer.ensure_funded(C)
    assert world.held == 150


async def test_one_deposit_is_never_promised_to_two_leases(autojump_clock: MockClock, world: LaneWorld) -> None:
    for lease in (A, B):
        await world.payer.reserve(lease, world.lane.payee, 100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.payer.ensure_funded, A)
        nursery.start_soon(world.payer.ensure_funded, B)

    assert world.held == 200
    assert world.payer.summary()[0].free == 0


async def test_a_voucher_pays_the_lease_and_counts_for_the_lane(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)
    await world.funded(B, 100)

    assert (await world.payer.acknowledge(A, 10)).cumulative == 10
    assert (await world.payer.acknowledge(B, 5)).cumulative == 15
    voucher = await world.payer.acknowledge(A, 12)
    assert voucher.cumulative == 17
    check_voucher(Domain(world.payer_chain.chain_id, world.payer_chain.escrow), voucher)


async def test_the_same_or_a_smaller_amount_gets_the_newest_voucher(
    autojump_clock: MockClock, world: LaneWorld
) -> None:
    await world.funded(A, 100)
    newest = await world.payer.acknowledge(A, 10)

    assert await world.payer.acknowledge(A, 10) == newest
    assert await world.payer.acknowledge(A, 3) == newest
    await world.crash_payer()
    assert await world.payer.acknowledge(A, 10) == newest
    await world.payer.release(A)
    assert await world.payer.acknowledge(A, 10) == newest


async def test_nothing_is_signed_beyond_cap_cover_or_lease(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)
    await world.payer.reserve(B, world.lane.payee, 50)

    assert await code_of(partial(world.payer.acknowledge, A, 101)) == "over_cap"
    assert await code_of(partial(world.payer.acknowledge, B, 1)) == "over_balance"
    assert await code_of(partial(world.payer.acknowledge, C, 1)) == "unknown_lease"
    await world.payer.release(A)
    assert await code_of(partial(world.payer.acknowledge, A, 1)) == "lease_over"
    assert world.payer.summary()[0].signed == 0


async def test_nothing_is_signed_that_is_not_written_down(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)
    await world.payer.acknowledge(A, 10)
    before = await world.payer_journal.read_all()
    with trio.CancelScope() as scope:
        scope.cancel()
        await world.payer.acknowledge(A, 50)

    assert await world.payer_journal.read_all() == before
    assert (await world.payer.acknowledge(A, 20)).cumulative == 20


async def test_a_voucher_may_use_the_room_kept_back_on_a_full_disk(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)
    world.payer_journal.full = True

    assert (await world.payer.acknowledge(A, 10)).cumulative == 10
    await world.payer.release(A)
    assert await code_of(partial(world.payer.reserve, B, world.lane.payee, 1)) == "disk_full"


async def test_concurrent_leases_on_one_lane_get_vouchers_in_a_row(autojump_clock: MockClock, world: LaneWorld) -> None:
    leases = [bytes([i]) * 16 for i in range(8)]
    for lease in leases:
        await world.payer.reserve(lease, world.lane.payee, 10)
        await world.payer.ensure_funded(lease)
    signed: list[int] = []

    async def pay(lease: bytes) -> None:
        signed.extend([(await world.payer.acknowledge(lease, amount)).cumulative for amount in (3, 7, 10)])

    async with trio.open_nursery() as nursery:
        for lease in leases:
            nursery.start_soon(pay, lease)
    assert len(set(signed)) == 24
    assert max(signed) == 80


async def test_a_lost_answer_does_not_deposit_twice(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.payer.reserve(A, world.lane.payee, 100)
    world.payer_chain.answers_to_lose = 1
    assert await code_of(partial(world.payer.ensure_funded, A)) == "chain_unreachable"
    # The deposit is in the pool; the lane does not show it yet.
    assert await code_of(partial(world.payer.ensure_funded, A)) == "deposit_pending"
    await world.crash_payer()
    assert await code_of(partial(world.payer.ensure_funded, A)) == "deposit_pending"

    await trio.sleep(5)
    assert await world.payer.ensure_funded(A) is None
    assert (world.held, world.kept) == (100, TOKENS - 100)
    assert (await world.payer.acknowledge(A, 100)).cumulative == 100


@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
async def test_a_crash_while_a_deposit_is_sent_does_not_deposit_twice(
    autojump_clock: MockClock, world: LaneWorld, seconds: float
) -> None:
    await world.payer.reserve(A, world.lane.payee, 100)
    with trio.move_on_after(seconds):
        await world.payer.ensure_funded(A)
    await world.crash_payer(keep_in_flight=True)

    while True:
        try:
            await world.payer.ensure_funded(A)
            break
        except Unavailable:
            await trio.sleep(0.1)
    assert (world.held, world.kept) == (100, TOKENS - 100)


async def test_a_deposit_found_again_is_signed_against_once_it_is_confirmed(autojump_clock: MockClock) -> None:
    world = LaneWorld()
    await trio.sleep(10)
    patient = partial(Payer, world.payer_chain, session_key=world.session, now_ms=world.clock.now_ms, confirmations=5)
    payer = patient(journal=world.payer_journal)
    await payer.reserve(A, world.lane.payee, 100)
    world.payer_chain.answers_to_lose = 1
    assert await code_of(partial(payer.ensure_funded, A)) == "chain_unreachable"
    payer = patient(journal=world.payer_journal.crash())
    await payer.load()

    mined_at = 0
    while True:
        mined_at = mined_at or (world.chain.head_number() if world.held else 0)
        try:
            assert await payer.ensure_funded(A) is None
            break
        except Unavailable as error:
            assert error.code == "deposit_pending"  # noqa: PT017 - one of many turns
            await trio.sleep(0.5)
    assert world.chain.head_number() >= mined_at + 5
    assert world.held == 100


async def test_a_deposit_that_was_written_down_but_never_sent_is_sent(
    autojump_clock: MockClock, world: LaneWorld
) -> None:
    await world.payer.reserve(A, world.lane.payee, 100)
    deposit = world.payer_chain.deposit

    async def die(*_: object) -> None:
        world.payer_chain.offline = True
        raise Unavailable("gone")

    world.payer_chain.deposit = die  # type: ignore[method-assign, assignment]
    with pytest.raises(Unavailable):
        await world.payer.ensure_funded(A)
    world.payer_chain.deposit = deposit  # type: ignore[method-assign]
    world.payer_chain.offline = False
    await world.crash_payer()

    await world.payer.ensure_funded(A)
    assert world.held == 100


async def test_a_wallet_that_is_short_is_told_and_may_try_again(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.payer.reserve(A, world.lane.payee, TOKENS + 1)
    assert await code_of(partial(world.payer.ensure_funded, A)) == "tokens_short"

    world.chain.mint(world.lane.payer, 1)
    await world.payer.ensure_funded(A)
    assert world.held == TOKENS + 1


async def test_reserving_is_idempotent_but_terms_do_not_change(autojump_clock: MockClock, world: LaneWorld) -> None:
    payee = world.lane.payee
    for _ in range(2):
        await world.payer.reserve(A, payee, 100)

    assert await code_of(partial(world.payer.reserve, A, payee, 99)) == "lease_differs"
    assert await code_of(partial(world.payer.reserve, A, b"x" * 20, 100)) == "lease_differs"
    assert await code_of(partial(world.payer.reserve, B, payee, -1)) == "bad_cap"
    assert await code_of(partial(world.payer.reserve, B, payee, 2**63)) == "bad_cap"
    await world.payer.release(A)
    await world.payer.release(A)
    await world.payer.release(C)
    await world.crash_payer()
    assert await code_of(partial(world.payer.reserve, A, payee, 100)) == "lease_over"


async def test_a_close_brings_the_unused_deposit_back(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)
    await world.pay(A, 30)
    assert await code_of(partial(world.payer.start_close, world.lane.payee)) == "lane_in_use"
    await world.payer.release(A)
    await world.payee.release(A)
    assert await world.payer.refundable(world.lane.payee) == 70

    proposal = await world.payer.start_close(world.lane.payee)
    consent = await world.payee.consent_close(proposal.lane, proposal.cumulative, proposal.deadline_s)
    mined = await world.payer.finish_close(proposal, consent)

    assert mined is not None
    assert mined.succeeded
    assert (world.paid, world.held, world.kept) == (30, 0, TOKENS - 30)
    assert await world.payer.finish_close(proposal, consent) is None


async def test_a_close_is_refused_when_it_is_stale_or_not_consented_to(
    autojump_clock: MockClock, world: LaneWorld
) -> None:
    await world.funded(A, 100)
    await world.payer.release(A)
    proposal = await world.payer.start_close(world.lane.payee)

    with pytest.raises(PeerFault):
        await world.payer.finish_close(proposal, world.payer_wallet.sign(b"d" * 32))
    await world.payee.release(A)
    consent = await world.payee.consent_close(proposal.lane, proposal.cumulative, proposal.deadline_s)
    await world.payer.reserve(B, world.lane.payee, 10)
    assert await code_of(partial(world.payer.finish_close, proposal, consent)) == "lane_in_use"
    await world.payer.ensure_funded(B)
    await world.payer.acknowledge(B, 1)
    await world.payer.release(B)
    assert await code_of(partial(world.payer.finish_close, proposal, consent)) == "stale_proposal"


async def test_the_next_lease_goes_on_counting_after_a_close(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)
    await world.pay(A, 30)
    for side in (world.payer, world.payee):
        await side.release(A)
    proposal = await world.payer.start_close(world.lane.payee)
    consent = await world.payee.consent_close(proposal.lane, proposal.cumulative, proposal.deadline_s)
    await world.payer.finish_close(proposal, consent)

    await world.funded(B, 50)
    await world.pay(B, 20)
    assert (await world.payer.acknowledge(B, 20)).cumulative == 50
    await world.payee.redeem()
    assert (world.paid, world.held) == (50, 30)


async def test_an_exit_brings_money_back_without_the_payee(autojump_clock: MockClock, world: LaneWorld) -> None:
    payee = world.lane.payee
    await world.funded(A, 100)
    await world.pay(A, 30)
    assert await code_of(partial(world.payer.begin_exit, payee)) == "lane_in_use"
    await world.payer.release(A)

    assert await world.payer.begin_exit(payee) is not None
    assert await world.payer.begin_exit(payee) is None
    assert await world.payer.finish_exit_when_due(payee) is None
    await trio.sleep(3600)
    await world.crash_payer()
    assert await world.payer.finish_exit_when_due(payee) is not None
    assert await world.payer.finish_exit_when_due(payee) is None
    assert world.kept == TOKENS
    # The payee slept through the window; what was signed is still owed, and the next deposit pays it.
    await world.payer.reserve(B, payee, 10)
    await world.payer.ensure_funded(B)
    assert world.held == 40


async def test_a_new_lease_stops_a_running_exit(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)
    assert await world.payer.begin_exit(world.lane.payee, force=True) is not None

    await world.payer.ensure_funded(A)
    assert (await world.payee.lane_on_chain(world.lane)).exit_at == 0


async def test_an_exit_of_an_empty_lane_is_not_sent(autojump_clock: MockClock, world: LaneWorld) -> None:
    assert await world.payer.begin_exit(world.lane.payee) is None


async def test_books_that_are_older_than_the_chain_catch_up(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)
    backup = copy.deepcopy(world.payer_journal)
    await world.pay(A, 60)
    await world.payee.redeem()
    world.payer_journal = backup
    await world.crash_payer()

    await world.payer.ensure_funded(A)
    assert world.payer.summary()[0].signed == 60
    assert (await world.payer.acknowledge(A, 10)).cumulative == 60
    assert (await world.payer.acknowledge(A, 70)).cumulative == 70


async def test_the_books_follow_from_the_facts(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)
    await world.pay(A, 30)
    for side in (world.payer, world.payee):
        await side.release(A)
    await world.funded(B, 20)

    [stream] = await world.payer_journal.streams("paying/")
    assert await replay(world.payer_journal, stream) == world.payer._lanes.books(world.lane)


async def test_the_summary_adds_up(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)
    await world.pay(A, 30)
    [lane] = world.payer.summary()

    assert (lane.balance, lane.signed, lane.reserved, lane.free) == (100, 30, 70, 0)
    assert lane.lane == world.lane


async def test_nothing_is_invalid_about_a_free_lease(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.payer.reserve(A, world.lane.payee, 0)
    assert await world.payer.ensure_funded(A) is None
    assert (await world.payer.acknowledge(A, 0)).cumulative == 0
    with pytest.raises(InvalidRequest):
        await world.payer.ensure_funded(C)
