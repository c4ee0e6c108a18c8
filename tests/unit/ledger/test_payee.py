"""The payee's book: admits against confirmed money, counts only what is signed, redeems once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from ledger.lane_journal import replay
from ledger.ports import LaneKey
from ledger.voucher import Domain, SessionKey, check_close_consent, close_digest, encode_voucher, sign_voucher
from market.errors import FabricError, Unavailable
from tests.fakes.lane_world import LaneWorld

A, B, C = b"a" * 16, b"b" * 16, b"c" * 16


@pytest.fixture
async def world() -> LaneWorld:
    return LaneWorld()


async def code_of(call: Callable[[], Awaitable[object]]) -> str:
    with pytest.raises(FabricError) as refused:
        await call()
    return refused.value.code


def domain(world: LaneWorld) -> Domain:
    return Domain(world.payee_chain.chain_id, world.payee_chain.escrow)


async def deposit(world: LaneWorld, amount: int) -> None:
    await world.payer_chain.deposit(world.lane.payee, world.lane.signer, amount)


async def test_a_lease_is_admitted_once_its_deposit_is_confirmed(autojump_clock: MockClock) -> None:
    world = LaneWorld(confirmations=3)
    await world.payer.reserve(A, world.lane.payee, 100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.payer.ensure_funded, A)
        await trio.sleep(2.5)  # Mined a moment ago, not confirmed.
        assert (await world.payer_chain.lane(world.lane)).balance == 100
        assert not await world.payee.admit(A, world.lane, 100)
        assert await world.payee.admit(A, world.lane, 100, confirmations=0)
    assert await world.payee.admit(A, world.lane, 100)


async def test_a_deposit_that_a_reorg_took_back_admits_nobody(autojump_clock: MockClock) -> None:
    world = LaneWorld(confirmations=3)
    await trio.sleep(10)
    await deposit(world, 100)
    world.chain.reorg(5)
    assert not await world.payee.admit(A, world.lane, 100)
    await trio.sleep(10)
    assert await world.payee.admit(A, world.lane, 100)


async def test_one_deposit_is_not_promised_twice(autojump_clock: MockClock, world: LaneWorld) -> None:
    await deposit(world, 150)

    assert await world.payee.admit(A, world.lane, 100)
    assert not await world.payee.admit(B, world.lane, 100)
    await world.crash_payee()
    assert not await world.payee.admit(B, world.lane, 100)
    assert await world.payee.admit(A, world.lane, 100)
    await deposit(world, 50)
    assert await world.payee.admit(B, world.lane, 100)
    assert world.payee.summary()[0].free == 0


async def test_a_stretch_is_enough_for_a_payer_who_adds_later(autojump_clock: MockClock, world: LaneWorld) -> None:
    await deposit(world, 30)

    assert not await world.payee.admit(A, world.lane, 100)
    assert await world.payee.admit(A, world.lane, 100, cover=10)
    # No more was taken than was asked for: the rest is there for others.
    assert not await world.payee.admit(B, world.lane, 60, cover=21)
    assert await world.payee.admit(B, world.lane, 60, cover=20)
    assert not await world.payee.admit(A, world.lane, 100, cover=11)
    await deposit(world, 100)
    assert await world.payee.admit(A, world.lane, 100, cover=70)
    assert await world.payee.admit(A, world.lane, 100, cover=5), "what was promised is not taken back"
    assert [world.payee.cover_of(lease) for lease in (A, B, C)] == [70, 20, 0]
    assert await world.payee.admit(B, world.lane, 60)
    too_much = sign_voucher(world.session, domain(world), world.lane, 71)
    assert await code_of(partial(world.payee.accept, A, 71, too_much)) == "over_cover"
    await world.payee.accept(A, 70, sign_voucher(world.session, domain(world), world.lane, 70))


async def test_nobody_is_admitted_while_the_payer_leaves(autojump_clock: MockClock, world: LaneWorld) -> None:
    await deposit(world, 100)
    await world.payer.begin_exit(world.lane.payee)

    assert not await world.payee.admit(A, world.lane, 100)


async def test_money_that_has_just_left_does_not_count_though_the_depths_still_show_it(
    autojump_clock: MockClock, world: LaneWorld
) -> None:
    await deposit(world, 100)
    await world.payer.begin_exit(world.lane.payee)
    await trio.sleep(3600)
    await world.payer.finish_exit_when_due(world.lane.payee)

    assert (await world.payee_chain.lane(world.lane, confirmations=50)).balance == 100
    assert not await world.payee.admit(A, world.lane, 100, confirmations=50)


async def test_a_lane_that_pays_somebody_else_is_refused(autojump_clock: MockClock, world: LaneWorld) -> None:
    other = replace(world.lane, payee=b"x" * 20)

    assert await code_of(partial(world.payee.admit, A, other, 0)) == "wrong_lane"
    assert await code_of(partial(world.payee.consent_close, other, 0, 1)) == "wrong_lane"


async def test_admission_does_not_change_terms_or_come_back(autojump_clock: MockClock, world: LaneWorld) -> None:
    await deposit(world, 300)
    assert await world.payee.admit(A, world.lane, 100)

    assert await code_of(partial(world.payee.admit, A, world.lane, 99)) == "lease_differs"
    assert await code_of(partial(world.payee.admit, B, world.lane, -1)) == "bad_cap"
    await world.payee.release(A)
    await world.payee.release(A)
    await world.payee.release(C)
    assert await code_of(partial(world.payee.admit, A, world.lane, 100)) == "lease_over"


async def test_an_accepted_voucher_survives_a_crash(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)
    await world.payee.accept(A, 30, encode_voucher(await world.payer.acknowledge(A, 30)))
    await world.crash_payee()

    assert world.payee.owed_cumulative(world.lane) == 30
    await world.payee.redeem()
    assert world.paid == 30


async def test_replays_and_overtaken_vouchers_change_nothing(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)
    first = await world.payer.acknowledge(A, 10)
    second = await world.payer.acknowledge(A, 20)
    await world.payee.accept(A, 20, second)
    before = await world.payee_journal.read_all()

    await world.payee.accept(A, 10, first)
    await world.payee.accept(A, 20, second)
    assert await world.payee_journal.read_all() == before


async def test_vouchers_of_two_leases_may_overtake_each_other(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)
    await world.funded(B, 100)
    for_a = await world.payer.acknowledge(A, 10)
    for_b = await world.payer.acknowledge(B, 5)

    await world.payee.accept(B, 5, for_b)
    await world.payee.accept(A, 10, for_a)
    [lane] = world.payee.summary()
    assert (lane.signed, lane.reserved) == (15, 185)
    # But the same money does not pay a third time.
    assert await code_of(partial(world.payee.accept, A, 11, for_b)) == "too_small"


async def test_every_bad_voucher_is_refused_by_name(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)
    here, lane = domain(world), world.lane
    stranger = SessionKey(b"\x09" * 32)
    good = sign_voucher(world.session, here, lane, 50)
    other_lane = replace(lane, signer=stranger.address)
    cases = {
        "not_admitted": (B, 50, good),
        "too_small": (A, 51, good),
        "over_cap": (A, 101, sign_voucher(world.session, here, lane, 101)),
        "over_balance": (A, 50, sign_voucher(world.session, here, lane, 101)),
        "wrong_lane": (A, 50, sign_voucher(stranger, here, other_lane, 50)),
        "voucher_signer": (A, 50, replace(good, signature=stranger.sign(b"d" * 32))),
        "voucher_range": (A, 50, encode_voucher(good)[:-1]),
    }
    for code, (lease, amount, voucher) in cases.items():
        assert await code_of(partial(world.payee.accept, lease, amount, voucher)) == code
    elsewhere = sign_voucher(world.session, Domain(1, here.escrow), lane, 50)
    assert await code_of(partial(world.payee.accept, A, 50, elsewhere)) == "voucher_signer"
    assert world.payee.owed_cumulative(lane) == 0


async def test_vouchers_are_taken_while_the_chain_is_away(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)
    world.payee_chain.offline = True
    await trio.sleep(1700)
    await world.crash_payee()
    await world.pay(A, 30)
    # By now the payer may have left without our seeing it.
    await trio.sleep(200)
    assert await code_of(partial(world.pay, A, 40)) == "chain_unreachable"
    world.payee_chain.offline = False
    await world.pay(A, 40)


async def test_a_voucher_beyond_a_balance_that_has_grown_is_taken(autojump_clock: MockClock, world: LaneWorld) -> None:
    await deposit(world, 30)
    assert await world.payee.admit(A, world.lane, 100, cover=10)
    await deposit(world, 70)

    await world.payee.accept(A, 90, sign_voucher(world.session, domain(world), world.lane, 90))
    assert world.payee.summary()[0].balance == 100


async def test_after_an_exit_old_money_is_not_counted(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)
    await world.pay(A, 30)
    await world.payer.begin_exit(world.lane.payee, force=True)
    await trio.sleep(3600)
    await world.payer.finish_exit_when_due(world.lane.payee)

    voucher = sign_voucher(world.session, domain(world), world.lane, 40)
    assert await code_of(partial(world.payee.accept, A, 40, voucher)) == "over_balance"


async def test_money_that_comes_late_is_still_taken(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)
    await world.pay(A, 30)
    late = await world.payer.acknowledge(A, 45)
    await world.payee.release(A)
    for _ in range(2):
        await world.payee.accept(A, 45, late)

    assert world.payee.owed_cumulative(world.lane) == 45
    assert await code_of(partial(world.payee.accept, A, 46, late)) == "too_small"
    await world.crash_payee()
    await world.payee.accept(A, 45, late)
    assert await code_of(partial(world.payee.accept, A, 101, late)) == "over_cap"


async def test_the_last_voucher_fits_on_a_full_disk(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)
    world.payee_journal.full = True

    await world.pay(A, 30)
    await world.payee.release(A)
    assert world.payee.owed_cumulative(world.lane) == 30


async def test_redeeming_pays_each_voucher_once(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)
    assert await world.payee.redeem() is None
    await world.pay(A, 30)

    mined = await world.payee.redeem()
    assert mined is not None
    assert mined.succeeded
    assert await world.payee.redeem() is None
    assert await world.payee.redeem([world.lane]) is None
    await world.pay(A, 31)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.payee.redeem)
        nursery.start_soon(world.payee.redeem)
    assert world.paid == 31
    assert world.payee.summary()[0].claimed == 31


async def test_what_a_watchtower_redeemed_is_not_redeemed_again(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)
    await world.pay(A, 30)
    await world.payer_chain.redeem_many(world.lane.payee, [(await world.payer.acknowledge(A, 30)).row()])

    assert world.paid == 30
    assert await world.payee.redeem() is None


async def test_a_redemption_whose_answer_is_lost_may_be_repeated(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)
    await world.pay(A, 30)
    world.payee_chain.answers_to_lose = 1
    with pytest.raises(Unavailable):
        await world.payee.redeem()
    await world.payee.redeem()
    await trio.sleep(5)

    assert world.paid == 30
    assert await world.payee.redeem() is None


async def test_a_redemption_that_a_reorg_took_back_is_sent_again(autojump_clock: MockClock) -> None:
    world = LaneWorld(confirmations=2)
    await world.funded(A, 100)
    await world.pay(A, 30)
    with trio.move_on_after(1.5):
        await world.payee.redeem()
    world.chain.reorg(2)
    world.chain._pending.clear()  # And its transaction is forgotten by the pool.
    await world.crash_payee()

    await world.payee.redeem()
    assert world.paid == 30


async def test_the_most_valuable_lanes_are_redeemed_first(
    autojump_clock: MockClock, world: LaneWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.payee.MAX_ROWS", 2)
    lanes: list[LaneKey] = []
    for index, amount in enumerate((10, 40, 20)):
        key = SessionKey(bytes([index + 50]) * 32)
        lane = replace(world.lane, signer=key.address)
        lanes.append(lane)
        await world.payer_chain.deposit(lane.payee, lane.signer, 100)
        lease = bytes([index]) * 16
        assert await world.payee.admit(lease, lane, 100)
        await world.payee.accept(lease, amount, sign_voucher(key, domain(world), lane, amount))

    await world.payee.redeem()
    assert world.paid == 60
    assert await world.payee.redeem(lanes[1:]) is None
    await world.payee.redeem()
    assert world.paid == 70


async def test_consent_to_close_is_given_for_all_that_is_owed_only(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)
    await world.pay(A, 30)
    lane, soon = world.lane, (await world.payee_chain.head()).timestamp + 600
    consent = world.payee.consent_close

    assert await code_of(partial(consent, lane, 30, soon)) == "lane_in_use"
    await world.payee.release(A)
    assert await code_of(partial(consent, lane, 29, soon)) == "too_small"
    assert await code_of(partial(consent, lane, 101, soon)) == "over_balance"
    assert await code_of(partial(consent, lane, 30, soon - 600)) == "bad_deadline"
    assert await code_of(partial(consent, lane, 30, soon + 3600)) == "bad_deadline"
    assert await code_of(partial(consent, replace(lane, signer=b"z" * 20), 0, soon)) == "nothing_held"
    signature = await consent(lane, 30, soon)
    digest = close_digest(domain(world), lane, epoch=0, cumulative=30, deadline_s=soon)
    check_close_consent(digest, signature, lane.payee)


async def test_no_lease_is_admitted_while_its_lane_may_be_closed_under_it(
    autojump_clock: MockClock, world: LaneWorld
) -> None:
    await deposit(world, 100)
    now_s = (await world.payee_chain.head()).timestamp
    assert await world.payee.admit(A, world.lane, 10)
    await world.payee.release(A)
    await world.payee.consent_close(world.lane, 0, now_s + 900)
    # A later consent that ends sooner does not set us free from the earlier one.
    await world.payee.consent_close(world.lane, 0, now_s + 10)

    for _ in range(2):
        assert not await world.payee.admit(B, world.lane, 10)
        await trio.sleep(700)
        await world.crash_payee()
    assert await world.payee.admit(B, world.lane, 10)


async def test_a_closed_lane_admits_again_at_once(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)
    for side in (world.payer, world.payee):
        await side.release(A)
    proposal = await world.payer.start_close(world.lane.payee)
    consent = await world.payee.consent_close(proposal.lane, proposal.cumulative, proposal.deadline_s)
    await world.payer.finish_close(proposal, consent)

    await world.funded(B, 50)


async def test_a_lane_of_strangers_leaves_no_trace(autojump_clock: MockClock, world: LaneWorld) -> None:
    for index in range(5):
        empty = replace(world.lane, signer=bytes([index]) * 20)
        assert not await world.payee.admit(A, empty, 10)
        await world.payee.lane_on_chain(empty)

    assert world.payee.summary() == ()
    assert await world.payee_journal.read_all() == []


async def test_the_books_follow_from_the_facts(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)
    await world.pay(A, 30)
    late = await world.payer.acknowledge(A, 35)
    await world.payee.release(A)
    await world.payee.accept(A, 35, late)
    await world.payee.redeem()

    [stream] = await world.payee_journal.streams("paid/")
    assert await replay(world.payee_journal, stream) == world.payee._lanes.books(world.lane)
