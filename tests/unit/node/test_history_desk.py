"""The desk of the price history: one bar per interval, kept in a file, shown to peers within bounds."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from market import codec
from market.errors import PeerFault
from market.price_history import STEP_MS, Bar, check_bar
from market.records import Offer
from market.signing import Verified
from node import wire
from node.history_desk import HISTORY_RATE, HISTORY_TOTAL, HistoryAnswer, HistoryDesk, HistoryRequest, fitting
from tests.fakes.desks import RecordingNetwork, SetClock
from tests.fakes.samples import BUYER, NOW, SELLER, an_offer


class Shop:
    """A desk over a list of offers."""

    def __init__(self, path: Path | None = None) -> None:
        self.network, self.clock = RecordingNetwork(), SetClock(NOW // STEP_MS * STEP_MS)
        self.offers: list[Verified[Offer]] = []
        self.desk = HistoryDesk(self.network, self.clock, lambda now: self.offers, path=path)
        self.desk.register()

    def sells(self, price: int) -> None:
        now = self.clock.now
        self.offers = [SELLER.sign(an_offer(price=price, issued_at=now, expires_at=now + 60_000))]

    async def keep_for(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self.desk.keep_forever()

    async def ask(self, **request: object) -> HistoryAnswer:
        asked = codec.pack_record(HistoryRequest(**request))  # type: ignore[arg-type]
        answer = await self.network.handlers[wire.PROTOCOL_HISTORY](BUYER.key, asked)
        return codec.unpack_record(answer, HistoryAnswer, limit=wire.MAX_RESPONSE)

    @property
    def medians(self) -> list[int]:
        return [bar.median for bar in self.desk.history.bars()]


async def test_one_bar_is_taken_in_each_interval(autojump_clock: MockClock) -> None:
    shop = Shop()
    await shop.keep_for(100)
    assert shop.medians == []
    shop.sells(10)
    await shop.keep_for(100)
    shop.sells(20)
    await shop.keep_for(100)
    assert shop.medians == [10]
    shop.clock.now += STEP_MS
    shop.sells(30)
    await shop.keep_for(100)
    assert shop.medians == [30, 10]


async def test_a_restart_goes_on_from_the_file(tmp_path: Path) -> None:
    first, second = Shop(tmp_path / "prices"), Shop(tmp_path / "prices")
    first.sells(10)
    await first.desk._look()
    await second.desk._load()
    assert second.medians == [10]
    assert (tmp_path / "prices").stat().st_mode & 0o777 == 0o600


async def test_a_damaged_or_closed_file_is_no_reason_to_stop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "prices").write_bytes(b"not a history")
    shop = Shop(tmp_path / "prices")
    await shop.desk._load()
    assert "is no price history" in caplog.text
    folder = Shop(tmp_path)
    folder.sells(10)
    await folder.desk._load()
    await folder.desk._look()
    assert "could not be saved" in caplog.text
    assert folder.medians == [10]


async def test_peers_are_shown_bars_they_can_check() -> None:
    shop = Shop()
    shop.sells(10)
    await shop.desk._look()
    answer = await shop.ask()
    assert answer.complete
    assert [check_bar(bar, shop.clock.now, max_skew_ms=0).median for bar in answer.bars] == [10]
    assert (await shop.ask(gpu="RTX 4090")).bars == answer.bars
    assert (await shop.ask(gpu="A100")).bars == ()
    assert (await shop.ask(since=shop.clock.now)).bars == ()


@pytest.mark.parametrize("request_", [b"", b"\xc1", codec.pack({"step_ms": -1}), codec.pack({"gpu": "x" * 65})])
async def test_a_request_that_is_none_is_a_fault(request_: bytes) -> None:
    with pytest.raises(PeerFault):
        await Shop().network.handlers[wire.PROTOCOL_HISTORY](BUYER.key, request_)


async def test_a_peer_that_asks_all_the_time_is_shown_nothing(autojump_clock: MockClock) -> None:
    shop = Shop()
    shop.sells(10)
    await shop.desk._look()
    answers = [await shop.ask() for _ in range(int(HISTORY_RATE.burst) + 1)]
    assert [bool(answer.bars) for answer in answers] == [True] * int(HISTORY_RATE.burst) + [False]
    assert not answers[-1].complete
    await trio.sleep(1 / HISTORY_RATE.per_second)
    assert (await shop.ask()).bars


async def test_many_new_identities_are_shown_no_more_than_one_crowd(autojump_clock: MockClock) -> None:
    shop = Shop()
    shop.sells(10)
    await shop.desk._look()
    asked = codec.pack_record(HistoryRequest())
    empty = codec.pack_record(HistoryAnswer(complete=False))
    answers = [
        await shop.network.handlers[wire.PROTOCOL_HISTORY](number.to_bytes(32, "big"), asked)
        for number in range(int(HISTORY_TOTAL.burst) + 5)
    ]
    assert answers.count(empty) == 5


def test_an_answer_holds_the_newest_that_fit() -> None:
    offer = SELLER.sign(an_offer())
    bars = [
        Bar(gpu="A100", closed_at=at, offers=1, providers=1, slots=1, lowest=1, median=1, dearest=1, low=offer.raw)
        for at in range(100, 0, -1)
    ]
    answer = fitting(bars, 10_000)
    assert answer.bars == tuple(bars[: len(answer.bars)])
    assert not answer.complete
    assert 5_000 < len(codec.pack_record(answer)) <= 10_000
    assert fitting(bars[:3], 10_000).complete
