"""Price history: bars of the right offers, thinned with age, bounded, kept over a restart, and checked by others."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from market import price_history
from market.errors import PeerFault
from market.price_history import (
    DAY_MS,
    HOUR_MS,
    KEPT_MS,
    MAX_MODELS,
    STEP_MS,
    Bar,
    PriceHistory,
    check_bar,
    model_of,
    take_bars,
)
from market.records import Offer
from market.signing import Verified
from tests.fakes.samples import NOW, a_signer, offered_by

START = NOW // DAY_MS * DAY_MS
SIGNERS = [a_signer(f"p{number}") for number in range(5)]


def offer(price: int, number: int = 0, *, at: int = START, **changes: Any) -> Verified[Offer]:
    dates = {"issued_at": at - 1_000, "expires_at": at + 60_000}
    return offered_by(SIGNERS[number], price=price, machine=f"m{price}", **(dates | changes))


def taken(*offers: Verified[Offer], at: int = START) -> Bar:
    (bar,) = take_bars(offers, at)
    return bar


def test_a_bar_shows_the_cheapest_the_median_and_the_dearest() -> None:
    offers = [offer(30, 1), offer(10), offer(20, 1), offer(40, 2, free_slots=1)]
    bar = taken(*offers)
    assert (bar.lowest, bar.median, bar.dearest) == (10, 20, 40)
    assert bar.evidence() == (offers[1].raw, offers[2].raw, offers[3].raw)
    assert (bar.offers, bar.providers, bar.slots) == (4, 3, 7)
    assert (bar.gpu, bar.simulated, bar.closed_at, bar.span_ms) == ("RTX4090", False, START, STEP_MS)


def test_one_offer_is_all_three_and_is_kept_once() -> None:
    one = offer(10)
    assert taken(one).evidence() == (one.raw,) * 3
    assert taken(one).size == len(one.raw)


def test_what_cannot_be_had_is_in_no_bar() -> None:
    gone = [offer(1, free_slots=0), offer(2, withdrawn=True), offer(3, expires_at=START)]
    assert take_bars(gone, START) == []
    assert taken(*gone, offer(4)).lowest == 4


def test_spellings_of_a_model_share_a_bar_and_simulated_cards_have_their_own() -> None:
    bars = take_bars(
        [offer(1, gpu="rtx4090"), offer(2, gpu="NVIDIA GeForce RTX 4090"), offer(3, simulated=True)], START
    )
    assert [(bar.gpu, bar.simulated, bar.offers) for bar in bars] == [("RTX4090", False, 2), ("RTX4090", True, 1)]
    assert model_of("NVIDIA H100 80GB HBM3") == "H100"
    assert model_of("Unheard Of 9000") == "Unheard Of 9000"


def test_made_up_models_do_not_push_out_real_ones() -> None:
    crowd = [offer(number, gpu=f"X{number}") for number in range(1, 100)]
    bars = take_bars([*crowd, offer(500, gpu="T4")], START)
    assert len(bars) == MAX_MODELS
    assert bars[0].gpu == "T4"


def test_an_interval_has_one_bar() -> None:
    history = PriceHistory()
    assert history.close([offer(10)], START)
    assert not history.close([offer(11)], START + STEP_MS - 1)
    assert not history.close([offer(11)], START - 1)
    assert history.close([offer(12, at=START + STEP_MS)], START + STEP_MS)
    assert [bar.median for bar in history.bars()] == [12, 10]


def filled(steps: int, *, start: int = START) -> PriceHistory:
    """One bar for each interval, at prices 1000, 1001, …"""
    history = PriceHistory()
    for number in range(steps):
        at = start + number * STEP_MS
        history.close([offer(1000 + number, at=at)], at)
    return history


def test_bars_become_hours_after_a_day_and_go_after_two_weeks() -> None:
    steps = 15 * 144
    history = filled(steps)
    end = START + (steps - 1) * STEP_MS
    bars = history.bars()
    assert {bar.span_ms for bar in bars if bar.closed_at > end - DAY_MS} == {STEP_MS}
    assert {bar.span_ms for bar in bars if bar.closed_at <= end - DAY_MS - HOUR_MS} == {HOUR_MS}
    assert min(bar.closed_at for bar in bars) > end - KEPT_MS - HOUR_MS
    assert len(bars) <= 150 + 14 * 24


def test_an_hour_has_the_extremes_and_the_median_of_its_bars() -> None:
    history = PriceHistory()
    prices = [(5, 50), (6, 60), (7, 70), (8, 80), (9, 90), (1, 10)]
    for number, pair in enumerate(prices):
        at = START + (number + 1) * STEP_MS
        history.close([offer(price, at=at) for price in pair], at)
    (hour,) = history.bars(step_ms=HOUR_MS)
    assert (hour.lowest, hour.median, hour.dearest) == (1, 6, 90)
    assert (hour.closed_at, hour.span_ms) == (START + HOUR_MS, HOUR_MS)
    assert check_bar(hour, hour.closed_at, max_skew_ms=0) == hour


def test_bars_can_be_asked_for_by_model_and_time() -> None:
    history = PriceHistory()
    history.close([offer(1), offer(2, gpu="NVIDIA A100-SXM4-80GB")], START)
    history.close([offer(3, at=START + STEP_MS)], START + STEP_MS)
    assert [bar.median for bar in history.bars("RTX 4090")] == [3, 1]
    assert [bar.median for bar in history.bars("a100")] == [2]
    assert [bar.median for bar in history.bars(since=START)] == [3]
    assert history.bars("H100") == []


def test_memory_is_bounded_and_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    size = taken(offer(1)).size
    monkeypatch.setattr(price_history, "MAX_BYTES", 5 * size + 50)
    history = filled(9)
    assert [bar.median for bar in history.bars()] == [1008, 1007, 1006, 1005, 1004]


def test_a_restart_loses_nothing() -> None:
    history, again = filled(200), PriceHistory()
    assert again.restore(history.dump(), START + 200 * STEP_MS)
    assert again.bars() == history.bars()
    assert again.close([offer(1, at=START + 200 * STEP_MS)], START + 200 * STEP_MS)


@pytest.mark.parametrize("raw", [b"", b"\xc1", msgspec.msgpack.encode([{"gpu": 1}]), b"\x91" * 5000])
def test_a_damaged_file_is_no_history(raw: bytes) -> None:
    history = filled(1)
    assert not history.restore(raw, START)
    assert len(history) == 1


def test_bars_written_under_a_wrong_clock_do_not_stop_the_right_one() -> None:
    history = PriceHistory()
    history.close([offer(1, at=START + DAY_MS)], START + DAY_MS)
    assert history.close([offer(2)], START)
    assert [bar.median for bar in history.bars()] == [2]


def test_an_honest_bar_is_believed() -> None:
    bar = taken(offer(1), offer(2, 1), offer(3, 2))
    assert check_bar(bar, START, max_skew_ms=0) is bar


@pytest.mark.parametrize(
    "changes",
    [
        {"lowest": 9},
        {"median": 11},
        {"dearest": 11},
        {"gpu": "A100"},
        {"simulated": True},
        {"closed_at": START + 61_000 + STEP_MS},
        {"closed_at": START - 2_000},
        {"providers": 4},
        {"offers": 10},
        {"low": b""},
        {"low": b"\x00" * 100},
        {"mid": offer(40, 2).raw, "median": 40},
        {"high": offer(30, 2, free_slots=0).raw},
        {"high": offer(30, 2, withdrawn=True).raw},
    ],
)
def test_a_bar_that_lies_is_refused(changes: dict[str, Any]) -> None:
    bar = taken(offer(10), offer(20, 1), offer(30, 2))
    with pytest.raises(PeerFault):
        check_bar(msgspec.structs.replace(bar, **changes), START + STEP_MS * 2, max_skew_ms=0)


def test_a_bar_of_one_offer_cannot_claim_three_prices() -> None:
    bar = taken(offer(10))
    with pytest.raises(PeerFault):
        check_bar(msgspec.structs.replace(bar, lowest=5), START, max_skew_ms=0)


def test_a_bar_of_the_future_is_refused() -> None:
    with pytest.raises(PeerFault):
        check_bar(taken(offer(10)), START - 1, max_skew_ms=0)
