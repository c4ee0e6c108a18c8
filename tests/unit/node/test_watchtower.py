"""A provider that is away loses nothing to a payer that leaves, while one tower holds its vouchers."""

from __future__ import annotations

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from ledger.ports import LaneKey, LaneOnChain, Transaction
from ledger.voucher import Domain, SessionKey, sign_voucher
from market import codec
from market.errors import BrokenInvariant, Unavailable
from node import watchtower
from node.watchtower import FOREVER, our_turn_s
from tests.fakes.memory_chain_view import MemoryChainView
from tests.fakes.mortal_journal import MortalJournal
from tests.fakes.watch_world import PROVIDER, TOWER, WatchWorld

A = b"a" * 16
DELAY_S = 3600


@pytest.fixture
async def world() -> WatchWorld:
    world = WatchWorld(exit_delay_s=DELAY_S)
    await world.open_tower()
    await world.funded(A, 1_000)
    await world.pay(A, 300)
    await world.hand_over.hand_over(TOWER)
    return world


async def leave(world: WatchWorld) -> None:
    await world.payer.begin_exit(world.lane.payee, force=True)


async def test_the_money_of_a_provider_that_is_away_is_saved(autojump_clock: MockClock, world: WatchWorld) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.watch)
        await leave(world)
        await trio.sleep(DELAY_S / 3)
        assert world.paid == 0, "the first half of the window is the provider's own"
        assert world.tower.view().leaving == 1
        await trio.sleep(DELAY_S / 3)
        assert world.paid == 300
        await trio.sleep(DELAY_S)
        await world.payer.finish_exit_when_due(world.lane.payee)
        assert world.held == 0
        view = world.tower.view()
        assert (view.saved, view.leaving, view.trouble) == (300, 0, "")
        nursery.cancel_scope.cancel()
    assert world.tokens(world.tower_wallet.address) == 0


async def test_a_provider_that_helps_itself_is_left_alone(autojump_clock: MockClock, world: WatchWorld) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.watch)
        await leave(world)
        await trio.sleep(60)
        gas = await world.tower_chain.gas_balance(world.tower_wallet.address)
        await world.payee.redeem()
        await trio.sleep(DELAY_S)
        assert await world.tower_chain.gas_balance(world.tower_wallet.address) == gas
        assert world.tower.view().lanes == 0, "what was paid takes no place"
        nursery.cancel_scope.cancel()


async def test_a_tower_that_was_away_itself_finds_the_exit_when_it_comes_back(
    autojump_clock: MockClock, world: WatchWorld
) -> None:
    await leave(world)
    await trio.sleep(DELAY_S * 0.8)
    world.tower_journal = world.tower_journal.crash()
    await world.open_tower()
    with trio.move_on_after(120):
        await world.watch()
    assert world.paid == 300


async def test_a_chain_that_is_away_and_a_wallet_without_gas_are_tried_again(
    autojump_clock: MockClock, world: WatchWorld
) -> None:
    gas = world.chain._now().gas
    gas[world.tower_wallet.address] = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.watch)
        await leave(world)
        await trio.sleep(DELAY_S * 0.6)
        assert (world.paid, bool(world.tower.view().trouble)) == (0, True)
        world.chain.give_gas(world.tower_wallet.address)
        world.tower_chain.offline = True
        await trio.sleep(DELAY_S * 0.2)
        world.tower_chain.offline = False
        await trio.sleep(120)
        assert (world.paid, world.tower.view().trouble) == (300, "")
        nursery.cancel_scope.cancel()


async def test_vouchers_that_are_not_worth_their_gas_are_not_sent(autojump_clock: MockClock, world: WatchWorld) -> None:
    async def dear() -> int:
        await trio.lowlevel.checkpoint()
        return 10**9

    world.gas_price, world.coin_units = dear, 10**7
    await world.open_tower()
    with trio.move_on_after(DELAY_S * 0.9):
        await leave(world)
        await world.watch()
    assert world.paid == 0


async def test_dust_does_not_crowd_out_what_is_worth_saving(
    autojump_clock: MockClock, world: WatchWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a payer that leaves opens lanes of a unit each that come first, and the tower sends none of them."""

    async def price() -> int:
        await trio.lowlevel.checkpoint()
        return 10**9

    monkeypatch.setattr(watchtower, "MAX_ROWS", 2)
    world.gas_price, world.coin_units = price, 10**6
    await world.open_tower()
    payee, key = world.lane.payee, SessionKey(b"d" * 32)
    for number in range(1, 4):
        payer = number.to_bytes(20, "big")
        assert payer < world.lane.payer
        world.chain.mint(payer, 3)
        world.chain.give_gas(payer)
        view = world.chain.view(payer)
        await view.deposit(payee, key.address, 3)
        await view.start_exit(payee, key.address)
        dust = sign_voucher(key, Domain(view.chain_id, view.escrow), LaneKey(payer, payee, key.address), 3)
        await world.book.take(b"Q" * 32, payee, dust.row())
    with trio.move_on_after(DELAY_S * 0.9):
        await leave(world)
        await world.watch()
    assert world.paid >= 300


async def test_strangers_are_refused_where_only_clients_are_served(
    autojump_clock: MockClock, world: WatchWorld
) -> None:
    await world.open_tower(clients=(b"Q" * 32,))
    request = world.line.asked[0]
    assert codec.unpack(await world.line.handler(PROVIDER, request)) == {"refused": "not_a_client"}
    assert codec.unpack(await world.line.handler(b"Q" * 32, request)) == {"held": 1}


async def test_vouchers_that_come_too_fast_wait_and_others_do_not(autojump_clock: MockClock, world: WatchWorld) -> None:
    (voucher,) = world.payee.vouchers()
    many = codec.pack({"payee": world.lane.payee, "rows": voucher.row() * 500})

    async def ask(peer: bytes) -> object:
        return codec.unpack(await world.line.handler(peer, many))

    answers = [await ask(b"Q" * 32) for _ in range(9)]
    assert answers == [{"held": 500}] * 8 + [{"refused": "too_fast"}]
    assert await ask(b"R" * 32) == {"held": 500}
    await trio.sleep(10)
    assert await ask(b"Q" * 32) == {"held": 500}


@pytest.mark.parametrize("asked", [None, {}, {"payee": b"p" * 20}, {"payee": 7, "rows": b""}, {"rows": b"x" * 96}])
async def test_requests_that_are_none_are_a_fault(autojump_clock: MockClock, world: WatchWorld, asked: object) -> None:
    with pytest.raises(Exception, match="rows") as caught:
        await world.line.handler(PROVIDER, codec.pack(asked))
    assert type(caught.value).__name__ == "PeerFault"


async def test_an_endpoint_that_lies_for_a_while_makes_a_tower_drop_nothing(
    autojump_clock: MockClock, world: WatchWorld
) -> None:
    true = world.tower_chain.lane

    async def lie(lane: LaneKey, *, confirmations: int = 0) -> LaneOnChain:
        found = await true(lane, confirmations=confirmations)
        return replace(found, claimed=found.balance)

    world.tower_chain.lane = lie  # type: ignore[method-assign]
    with trio.move_on_after(1_500):
        await world.watch()
    world.tower_chain.lane = true  # type: ignore[method-assign]
    assert world.tower.view().lanes == 1
    with trio.move_on_after(DELAY_S * 0.9):
        await leave(world)
        await world.watch()
    assert world.paid == 300


async def test_a_lane_that_only_seems_empty_is_not_given_up_at_once(
    autojump_clock: MockClock, world: WatchWorld
) -> None:
    """The tower's endpoint is behind: it has not seen the deposit yet."""
    seen = MemoryChainView.lane

    async def behind(*_arguments: object, **_named: object) -> LaneOnChain:
        await trio.lowlevel.checkpoint()
        return LaneOnChain()

    world.tower_chain.lane = behind  # type: ignore[method-assign]
    with trio.move_on_after(2 * 3600):
        await world.watch()
    assert world.tower.view().lanes == 1
    world.tower_chain.lane = seen.__get__(world.tower_chain)  # type: ignore[method-assign]
    with trio.move_on_after(DELAY_S * 0.9):
        await leave(world)
        await world.watch()
    assert world.paid == 300


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("writes", range(3))
async def test_a_tower_killed_at_any_write_saves_what_it_had_confirmed(
    autojump_clock: MockClock, world: WatchWorld, writes: int, kept: bool
) -> None:
    world.tower_journal = mortal = MortalJournal(world.tower_journal, writes, kept=kept)
    await world.open_tower()
    confirmed = 300
    for amount in (400, 500, 600):
        await world.pay(A, amount)
        try:
            await world.hand_over.hand_over(TOWER)
        except BrokenInvariant:
            break
        confirmed = amount
    assert mortal.died == (writes < 3)
    world.tower_journal = mortal.crash()
    await world.open_tower()
    with trio.move_on_after(DELAY_S * 0.9):
        await leave(world)
        await world.watch()
    assert confirmed <= world.paid <= confirmed + 100 * kept


async def left_for(world: WatchWorld, number: int, units: int) -> bytes:
    """A payee of its own whose payer leaves now; the tower has its voucher of so many units."""
    payer, payee, key = (bytes([number, one]) * 10 for one in (1, 2, 3))
    session = SessionKey(key + bytes(12))
    world.chain.mint(payer, units)
    world.chain.give_gas(payer)
    view = world.chain.view(payer)
    await view.deposit(payee, session.address, units)
    await view.start_exit(payee, session.address)
    voucher = sign_voucher(session, Domain(view.chain_id, view.escrow), LaneKey(payer, payee, session.address), units)
    await world.book.take(bytes([number]) * 32, payee, voucher.row())
    return payee


async def test_many_payees_that_leave_at_once_do_not_hold_up_each_other(
    autojump_clock: MockClock, world: WatchWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits for its redemption to be mined: one after the other the last would come after its window."""
    monkeypatch.setattr(watchtower, "AT_ONCE", 4)
    payees = [await left_for(world, number, 10 + number) for number in range(1, 9)]
    begun: list[bytes] = []
    busy = most = 0

    async def slow(payee: bytes, rows: object, *, urgent: bool = False) -> Transaction:
        nonlocal busy, most
        begun.append(payee)
        busy += 1
        most = max(most, busy)
        await trio.sleep(600)
        busy -= 1
        if payee == payees[2]:
            raise Unavailable("not this one", code="chain_unreachable")
        return Transaction(hash=bytes(32), block=1, succeeded=True, gas_used=1)

    world.tower_chain.redeem_many = slow  # type: ignore[method-assign,assignment]
    with trio.move_on_after(DELAY_S * 0.9):
        await world.watch()
    assert set(begun) >= set(payees)
    assert most == 4
    assert "not this one" in world.tower.view().trouble


async def test_whose_window_ends_first_and_then_who_has_the_most_is_redeemed_first(
    autojump_clock: MockClock, world: WatchWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchtower, "AT_ONCE", 1)
    late, small, large = [await left_for(world, number, units) for number, units in ((1, 900), (7, 5), (8, 50))]
    begun: list[bytes] = []

    async def note(payee: bytes, rows: object, *, urgent: bool = False) -> Transaction:
        await trio.lowlevel.checkpoint()
        begun.append(payee)
        return Transaction(hash=bytes(32), block=1, succeeded=True, gas_used=1)

    world.tower_chain.redeem_many = note  # type: ignore[method-assign,assignment]
    really = world.tower_chain.lane
    end_s = (await world.tower_chain.head()).timestamp + DELAY_S

    async def same_moment(lane: LaneKey, *, confirmations: int = 0) -> LaneOnChain:
        found = await really(lane, confirmations=confirmations)
        return replace(found, exit_at=found.exit_at and end_s + 60 * (lane.payee == late))

    world.tower_chain.lane = same_moment  # type: ignore[method-assign]
    await trio.sleep(DELAY_S * 0.7)
    world.tower._to_look.update(world.book.vouchers)
    await world.tower.act()
    assert begun == [large, small, late]


def invented(world: WatchWorld, first: int, count: int) -> bytes:
    """A hand-over of vouchers that are well signed, for lanes that never held a token."""
    key = SessionKey(b"i" * 32)
    domain = Domain(world.tower_chain.chain_id, world.tower_chain.escrow)
    payee, rows = world.lane.payee, b""
    for number in range(first, first + count):
        rows += sign_voucher(key, domain, LaneKey(number.to_bytes(20, "big"), payee, key.address), 9).row()
    return codec.pack({"payee": payee, "rows": rows})


async def test_invented_lanes_do_not_keep_a_provider_out(
    autojump_clock: MockClock, world: WatchWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.watch_book.MAX_PLACES", 64)
    await world.book.drop(world.lane)
    request = world.line.asked[0]
    for number in range(16):
        await world.line.handler(bytes([number]) * 32, invented(world, 8 * number, 8))
    with trio.move_on_after(30):
        await world.watch()
    await world.line.handler(b"Q" * 32, invented(world, 500, 8))
    assert codec.unpack(await world.line.handler(PROVIDER, request)) == {"held": 1}
    with trio.move_on_after(30):
        await world.watch()
    for number in range(64):
        await world.line.handler(bytes([number]) * 32, invented(world, 1_000 + 8 * number, 8))
    assert world.lane in world.book.vouchers
    assert world.book.proven(PROVIDER)


async def test_the_chain_is_asked_about_invented_lanes_within_a_budget(
    autojump_clock: MockClock, world: WatchWorld
) -> None:
    world.per_peer = 400
    await world.open_tower()
    really, asked = world.tower_chain.lane, 0

    async def count(lane: LaneKey, *, confirmations: int = 0) -> LaneOnChain:
        nonlocal asked
        asked += not confirmations
        return await really(lane, confirmations=confirmations)

    world.tower_chain.lane = count  # type: ignore[method-assign]
    await world.line.handler(b"Q" * 32, invented(world, 0, 400))
    assert asked == 0, "not while the peer waits"
    with trio.move_on_after(9.5):
        await world.watch()
    assert 100 < asked <= 10 * watchtower.LOOKS


async def test_strangers_that_talk_without_end_do_not_silence_who_has_money_at_stake(
    autojump_clock: MockClock, world: WatchWorld
) -> None:
    with trio.move_on_after(5):
        await world.watch()
    (voucher,) = world.payee.vouchers()
    many = codec.pack({"payee": world.lane.payee, "rows": voucher.row() * 500})
    refused = 0
    for number in range(40):
        refused += b"too_fast" in await world.line.handler(bytes([number]) * 32, many)
    assert refused
    assert codec.unpack(await world.line.handler(PROVIDER, many)) == {"held": 500}


def test_the_first_half_of_the_lanes_own_window_is_the_providers() -> None:
    assert our_turn_s(LaneOnChain(exit_at=10_000, delay_s=4_000), 100) == 8_000
    assert our_turn_s(LaneOnChain(exit_at=10_000), 100) == 9_950
    assert our_turn_s(LaneOnChain(), 100) == FOREVER
