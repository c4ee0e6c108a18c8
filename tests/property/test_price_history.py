"""Price history over random markets and gaps: every bar proves itself, nothing grows, a restart changes nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from market.price_history import DAY_MS, HOUR_MS, KEPT_MS, STEP_MS, PriceHistory, check_bar, joined
from market.records import Offer
from market.signing import Verified
from tests.fakes.samples import NOW, a_signer, offered_by

SIGNERS = [a_signer(f"p{number}") for number in range(3)]
Pick = tuple[int, int, int, bool]
"""Provider, price, free slots, simulated."""
picks = st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(0, 2), st.booleans())
moments = st.lists(
    st.tuples(st.sampled_from((STEP_MS // 3, STEP_MS, HOUR_MS, DAY_MS, 5 * DAY_MS)), st.lists(picks, max_size=4)),
    max_size=12,
)


def market(chosen: list[Pick], now: int) -> list[Verified[Offer]]:
    return [
        offered_by(
            SIGNERS[provider],
            machine=f"m{place}",
            price=price,
            free_slots=free,
            simulated=simulated,
            issued_at=now,
            expires_at=now + 60_000,
        )
        for place, (provider, price, free, simulated) in enumerate(chosen)
    ]


@given(gaps=moments, step_ms=st.sampled_from((0, STEP_MS, HOUR_MS, DAY_MS)))
def test_every_bar_proves_itself_and_a_restart_changes_nothing(
    gaps: list[tuple[int, list[Pick]]], step_ms: int
) -> None:
    history, now = PriceHistory(), NOW
    for gap, chosen in gaps:
        now += gap
        history.close(market(chosen, now), now)
    bars = history.bars(step_ms=step_ms)
    for bar in bars:
        assert check_bar(bar, now, max_skew_ms=0) == bar
        assert bar.closed_at > now - KEPT_MS
    places = [(bar.gpu, bar.simulated, (bar.closed_at - 1) // max(step_ms, STEP_MS)) for bar in bars]
    assert len(places) == len(set(places)) or step_ms <= STEP_MS
    again = PriceHistory()
    assert again.restore(history.dump(), now)
    assert again.bars(step_ms=step_ms) == bars


@given(gaps=moments)
def test_joining_keeps_the_extremes(gaps: list[tuple[int, list[Pick]]]) -> None:
    history, now = PriceHistory(), NOW
    for gap, chosen in gaps:
        now += min(gap, STEP_MS)
        history.close(market(chosen, now), now)
    bars = [bar for bar in reversed(history.bars()) if not bar.simulated]
    whole = joined(bars, DAY_MS)
    assert min((bar.lowest for bar in whole), default=None) == min((bar.lowest for bar in bars), default=None)
    assert max((bar.dearest for bar in whole), default=None) == max((bar.dearest for bar in bars), default=None)
    assert {bar.median for bar in whole} <= {bar.median for bar in bars}
