"""Whatever jobs begin, pay, end and whenever the process dies: no day's vouchers come to more than the limit."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from ledger.hot_payer import DAY_MS, HotPayer
from market.errors import FabricError
from tests.fakes.lane_world import LaneWorld

LIMIT = 1_000
LEASES = st.integers(0, 4)
STEPS = st.one_of(
    st.tuples(st.just("job"), st.booleans(), st.integers(1, LIMIT)),
    st.tuples(st.just("begin"), LEASES, st.integers(0, LIMIT + 200)),
    st.tuples(st.just("pay"), LEASES, st.integers(0, LIMIT + 200)),
    st.tuples(st.just("end"), LEASES, st.just(0)),
    st.tuples(st.just("wait"), st.just(0), st.integers(0, 20)),
    st.tuples(st.just("crash"), st.integers(0, 1), st.just(0)),
)


class Hot(LaneWorld):
    """A world whose payer has a limit, and what was signed on each day."""

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[int, int] = {}
        self.jobs = 100

    def _new_payer(self) -> HotPayer:
        return HotPayer(
            self.payer_chain, self.payer_journal, self.session, self.clock.now_ms, confirmations=1, limit=LIMIT
        )

    @property
    def signed(self) -> int:
        return sum(lane.signed for lane in self.payer.summary())

    async def step(self, kind: str, number: int, value: int) -> None:
        lease = bytes([number + 1]) * 16
        before = self.signed
        with suppress(FabricError):  # refusals are what a limit is for
            if kind == "job":
                self.jobs += 1
                lease = bytes([self.jobs]) * 16
                await self.payer.reserve(lease, self.lane.payee, value)
                await self.payer.ensure_funded(lease)
                await self.payer.acknowledge(lease, value // 2)
                await self.payer.acknowledge(lease, value)
                if number:
                    await self.payer.release(lease)
            elif kind == "begin":
                await self.payer.reserve(lease, self.lane.payee, value)
                await self.payer.ensure_funded(lease)
            elif kind == "pay":
                await self.payer.acknowledge(lease, value)
            elif kind == "end":
                await self.payer.release(lease)
            elif kind == "wait":
                await trio.sleep(value * 3600)
            else:
                await self.crash_payer(keep_in_flight=bool(number))
        day = self.clock.now_ms() // DAY_MS
        self.given[day] = self.given.get(day, 0) + self.signed - before


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(STEPS, max_size=30))
def test_no_day_gives_away_more_than_its_limit(steps: list[tuple[str, int, int]]):
    async def play() -> Any:
        world = Hot()
        await world.payer.load()
        for kind, number, value in steps:
            await world.step(kind, number, value)
            assert max(world.given.values()) <= LIMIT
            assert isinstance(world.payer, HotPayer)
            assert world.payer.left_today() <= LIMIT - world.payer.vouched_today()
            today = world.clock.now_ms() // DAY_MS
            assert world.payer.vouched_today() >= world.given.get(today, 0)

    trio.run(play, clock=MockClock(autojump_threshold=0))
