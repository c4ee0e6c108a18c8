"""Any order of leases, ticks, deliveries, crashes, lost answers and exits keeps the two books of a lane sound.

Invariants, numbered as in ``ledger/lane_rules.py``: the payer never signs above what its leases' caps add up to, nor
above the deposit (L1); the payee never counts more than was signed (L2); a deposit is never promised twice (L3). And:
tokens are neither made nor lost, no deposit is sent twice, and the books follow from the facts alone.
"""

from __future__ import annotations

from typing import Any

import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from ledger.lane_journal import replay
from ledger.voucher import Domain, Voucher, sign_voucher
from market.errors import FabricError, InvalidRequest, PeerFault, Unavailable
from tests.fakes.lane_world import TOKENS, LaneWorld

LEASES = [bytes([i]) * 16 for i in range(4)]
Step = tuple[Any, ...]

lease = st.sampled_from(LEASES)
amount = st.integers(0, 120)
kept = st.booleans()
everyday = [
    st.tuples(st.just("fund"), lease, st.integers(0, 100)),
    st.tuples(st.just("admit"), lease),
    st.tuples(st.just("vouch"), lease, amount),
    st.tuples(st.just("vouch"), lease, amount),
    st.tuples(st.just("deliver"), st.integers(0, 30)),
    st.tuples(st.just("deliver"), st.integers(0, 30)),
    st.tuples(st.just("release_payer"), lease),
    st.tuples(st.just("release_payee"), lease),
    st.just(("redeem",)),
    st.tuples(st.just("wait"), st.integers(1, 4)),
]
trouble = [
    st.tuples(st.just("crash_payer"), kept),
    st.tuples(st.just("crash_payee"), kept),
    st.tuples(st.just("lose_answer"), st.booleans()),
    st.tuples(st.just("cut_off"), st.one_of(everyday), st.floats(0, 3), kept),
    st.tuples(st.just("together"), st.lists(st.one_of(everyday), min_size=2, max_size=4)),
]
crashes = trouble[:3]
stretches = [
    st.tuples(st.just("fund_stretch"), lease, st.integers(0, 100), st.integers(0, 110)),
    st.tuples(st.just("fund_stretch"), lease, st.integers(0, 100), st.integers(0, 110)),
    st.tuples(st.just("admit_stretch"), lease, st.integers(0, 110)),
    st.tuples(st.just("vouch_stretch"), lease, amount),
    st.tuples(st.just("vouch_stretch"), lease, amount),
    *everyday[4:],
]
lies = [
    st.tuples(st.just("lie"), st.integers(0, 30), lease, amount),
    st.tuples(st.just("forge"), lease, amount, st.integers(0, 300)),
]
leaving = [
    st.just(("begin_exit",)),
    st.just(("finish_exit",)),
    st.just(("close",)),
    st.tuples(st.just("wait"), st.just(3600)),
]


def opening(lease_id: bytes, cap: int) -> list[Step]:
    """A lease that begins, and its first tick."""
    return [("fund", lease_id, cap), ("admit", lease_id), ("vouch", lease_id, cap // 2), ("deliver", -1)]


class Run:
    """One world under test, what was agreed in it, and every voucher that is on its way."""

    def __init__(self, *, with_exits: bool, honest: bool = True) -> None:
        self.world = LaneWorld()
        self.with_exits = with_exits
        self.honest = honest
        self.caps: dict[bytes, int] = {}
        self.sent: list[tuple[bytes, int, Voucher]] = []
        self.admitted: set[bytes] = set()
        self.forged = 0

    async def step(self, step: Step) -> None:
        name, *arguments = step
        try:
            await getattr(self, name)(*arguments)
        except (Unavailable, InvalidRequest):
            await trio.lowlevel.checkpoint()  # Refused for now; the next step finds the books as they were.
        self.check()

    async def fund(self, lease_id: bytes, cap: int) -> None:
        cap = self.caps.setdefault(lease_id, cap)
        await self.world.payer.reserve(lease_id, self.world.lane.payee, cap)
        await self.world.payer.ensure_funded(lease_id)

    async def admit(self, lease_id: bytes) -> None:
        if lease_id in self.caps and await self.world.payee.admit(lease_id, self.world.lane, self.caps[lease_id]):
            self.admitted.add(lease_id)

    async def fund_stretch(self, lease_id: bytes, cap: int, cover: int) -> None:
        """Only a part of the cap is set aside, or more of it."""
        cap = self.caps.setdefault(lease_id, cap)
        await self.world.payer.reserve(lease_id, self.world.lane.payee, cap)
        await self.world.payer.ensure_funded(lease_id, cover)
        assert self.world.payer.cover_of(lease_id) >= min(cover, cap)

    async def admit_stretch(self, lease_id: bytes, cover: int) -> None:
        """The payee sets no more aside than the payer: both go by what was paid, and the payee hears of it later."""
        cover = min(cover, self.world.payer.cover_of(lease_id))
        cap = self.caps.get(lease_id)
        if cap is not None and await self.world.payee.admit(lease_id, self.world.lane, cap, cover=cover):
            self.admitted.add(lease_id)

    async def vouch_stretch(self, lease_id: bytes, amount: int) -> None:
        """A payee works for what it has set aside, and asks for no more."""
        await self.vouch(lease_id, min(amount, self.world.payee.cover_of(lease_id)))

    async def vouch(self, lease_id: bytes, amount: int) -> None:
        try:
            voucher = await self.world.payer.acknowledge(lease_id, amount)
        except PeerFault:
            return
        self.sent.append((lease_id, amount, voucher))

    async def deliver(self, index: int) -> None:
        if not self.sent:
            return
        lease_id, amount, voucher = self.sent[index % len(self.sent)]
        try:
            await self.world.payee.accept(lease_id, amount, voucher)
        except PeerFault:
            if lease_id in self.admitted and self.honest and not self.with_exits:
                raise  # An honest voucher must be taken, however late and in whatever order it comes.

    async def lie(self, index: int, lease_id: bytes, amount: int) -> None:
        """A true voucher for something that it does not pay."""
        if self.sent:
            await self.claim(lease_id, amount, self.sent[index % len(self.sent)][2])

    async def forge(self, lease_id: bytes, amount: int, cumulative: int) -> None:
        """A payer that signs what its own books would never allow."""
        world = self.world
        domain = Domain(world.payer_chain.chain_id, world.payer_chain.escrow)
        self.forged = max(self.forged, cumulative)
        await self.claim(lease_id, amount, sign_voucher(world.session, domain, world.lane, cumulative))

    async def claim(self, lease_id: bytes, amount: int, voucher: Voucher) -> None:
        try:
            await self.world.payee.accept(lease_id, amount, voucher)
        except PeerFault:
            return

    async def release_payer(self, lease_id: bytes) -> None:
        await self.world.payer.release(lease_id)

    async def release_payee(self, lease_id: bytes) -> None:
        await self.world.payee.release(lease_id)

    async def redeem(self) -> None:
        await self.world.payee.redeem()

    async def wait(self, seconds: int) -> None:
        await trio.sleep(seconds)

    async def crash_payer(self, keep_in_flight: bool) -> None:
        await self.world.crash_payer(keep_in_flight=keep_in_flight)

    async def crash_payee(self, keep_in_flight: bool) -> None:
        await self.world.crash_payee(keep_in_flight=keep_in_flight)

    async def lose_answer(self, of_payer: bool) -> None:
        (self.world.payer_chain if of_payer else self.world.payee_chain).answers_to_lose = 1

    async def cut_off(self, step: Step, seconds: float, keep_in_flight: bool) -> None:
        """Both processes die in the middle of something."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.survive, step)
            await trio.sleep(seconds)
            payer = self.world.payer_journal.crash(keep_in_flight=keep_in_flight)
            payee = self.world.payee_journal.crash(keep_in_flight=keep_in_flight)
            nursery.cancel_scope.cancel()
        self.world.payer_journal, self.world.payee_journal = payer, payee
        await self.world.crash_payer()
        await self.world.crash_payee()

    async def together(self, steps: list[Step]) -> None:
        async with trio.open_nursery() as nursery:
            for step in steps:
                nursery.start_soon(self.step, step)

    async def begin_exit(self) -> None:
        await self.world.payer.begin_exit(self.world.lane.payee, force=True)

    async def finish_exit(self) -> None:
        await self.world.payer.finish_exit_when_due(self.world.lane.payee)

    async def close(self) -> None:
        proposal = await self.world.payer.start_close(self.world.lane.payee)
        try:
            consent = await self.world.payee.consent_close(proposal.lane, proposal.cumulative, proposal.deadline_s)
        except PeerFault:
            return
        await self.world.payer.finish_close(proposal, consent)

    async def survive(self, step: Step) -> None:
        try:
            await self.step(step)
        except FabricError as error:
            if error.code != "crashed":
                raise

    def check(self) -> None:
        world = self.world
        payer, payee = world.payer._lanes.books(world.lane), world.payee._lanes.books(world.lane)
        chain = world.chain.state_at(world.chain.head_number()).model.lane(world.lane)
        assert world.kept + world.held + world.paid == TOKENS
        assert payee.counted <= payee.signed <= max(payer.signed, self.forged), "L2"
        if not self.with_exits:
            assert payee.signed <= payee.balance <= chain.balance, "L2"
        if self.forged:
            return
        agreed = sum(self.caps.values())
        assert payer.signed == payer.counted <= agreed, "L1"
        assert chain.claimed <= payer.signed, "paid more than was signed"
        assert chain.balance <= agreed, "a deposit was sent twice"
        if not self.with_exits:
            assert payer.signed + payer.reserved <= chain.balance, "L1, L3 of the payer"
            assert payee.counted + payee.reserved <= payee.balance, "L3 of the payee"

    async def settle(self) -> None:
        """The end of every story: what the payee holds in vouchers is what it gets."""
        world = self.world
        world.payer_chain.answers_to_lose = world.payee_chain.answers_to_lose = 0
        await trio.sleep(5)
        await world.payee.redeem()
        chain = await world.payee_chain.lane(world.lane)
        assert chain.claimed == max(min(world.payee.owed_cumulative(world.lane), chain.balance), chain.claimed)
        if not self.with_exits:
            assert world.paid == world.payee.owed_cumulative(world.lane)
        for journal, side in ((world.payer_journal, world.payer), (world.payee_journal, world.payee)):
            for stream in await journal.streams("pa"):
                assert await replay(journal, stream) == side._lanes.books(world.lane)


def stories(*kinds: list[Any]) -> st.SearchStrategy[list[Step]]:
    """A lease or two that run, then anything."""
    begun = st.lists(st.builds(opening, lease, st.integers(1, 100)), min_size=1, max_size=2)
    steps = st.lists(st.one_of(*(one for kind in kinds for one in kind)), min_size=10, max_size=50)
    return st.tuples(begun, steps).map(lambda both: [step for one in both[0] for step in one] + both[1])


def play(steps: list[Step], *, with_exits: bool, honest: bool = True) -> None:
    async def main() -> None:
        run = Run(with_exits=with_exits, honest=honest)
        for step in steps:
            await run.step(step)
        await run.settle()

    trio.run(main, clock=MockClock(autojump_threshold=0))


@settings(max_examples=250, deadline=None)
@given(stories(everyday, trouble))
def test_no_order_of_events_breaks_the_books(steps: list[Step]) -> None:
    play(steps, with_exits=False)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(*stretches, *crashes), min_size=20, max_size=60))
def test_no_order_of_stretches_breaks_the_books(steps: list[Step]) -> None:
    play(steps, with_exits=False)


@settings(max_examples=150, deadline=None)
@given(stories(everyday, trouble, leaving))
@example([*opening(LEASES[0], 50), ("begin_exit",), ("wait", 3600), ("finish_exit",), *opening(LEASES[1], 10)])
def test_no_exit_or_close_breaks_the_books(steps: list[Step]) -> None:
    play(steps, with_exits=True)


@settings(max_examples=150, deadline=None)
@given(stories(everyday, lies))
def test_no_lie_counts_for_more_than_was_signed(steps: list[Step]) -> None:
    play(steps, with_exits=False, honest=False)


def test_the_stories_are_not_empty() -> None:
    """A guard against invariants that hold because nothing ever happens."""

    async def main() -> tuple[int, int]:
        run = Run(with_exits=False)
        for lease_id in LEASES:
            for step in opening(lease_id, 50):
                await run.step(step)
        await run.settle()
        return run.world.paid, len(run.admitted)

    assert trio.run(main, clock=MockClock(autojump_threshold=0)) == (100, 4)


def test_the_stories_of_stretches_are_not_empty() -> None:
    async def main() -> int:
        run = Run(with_exits=False)
        for cover in (30, 80):
            for step in (("fund_stretch", LEASES[0], 100, cover), ("wait", 3), ("admit_stretch", LEASES[0], cover)):
                await run.step(step)
            await run.step(("vouch_stretch", LEASES[0], 100))
            await run.step(("deliver", -1))
        await run.settle()
        return run.world.paid

    assert trio.run(main, clock=MockClock(autojump_threshold=0)) == 80
