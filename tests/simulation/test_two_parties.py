"""Ten thousand random histories of a payer and a payee: nobody ever loses more than was printed, to the unit.

Each history has jobs, lost, doubled and reordered letters, forks, lost answers, deaths at any journal or chain
boundary, restored backups, and in half of them one side that cheats. A history is its seed: ``await history(seed)``.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from market.errors import BrokenInvariant
from tests.fakes.two_parties import Found
from tests.fakes.two_party_controls import CONTROLS
from tests.fakes.two_party_histories import history, tally

HISTORIES, PARTS = 10_000, 5
TRIED_ON_A_CONTROL = 1000


async def live(seeds: range) -> Counter[str]:
    seen: Counter[str] = Counter()
    for seed in seeds:
        try:
            seen.update(tally(await history(seed)))
        except (Found, BrokenInvariant) as found:
            raise AssertionError(f"the history of seed {seed}: {found}") from found
    return seen


@pytest.mark.parametrize("part", range(PARTS))
def test_nobody_loses_more_than_was_printed(part: int) -> None:
    each = HISTORIES // PARTS
    seeds = range(part * each, (part + 1) * each)
    seen = trio.run(live, seeds, clock=MockClock(autojump_threshold=0))
    print(f"seeds {seeds.start} to {seeds.stop - 1}: {dict(seen.most_common())}")
    # A world in which nothing happens would pass everything above.
    for what in ("Deposited", "Redeemed", "LaneClosed", "ExitStarted", "ExitCancelled", "restarts", "restored"):
        assert seen[what] > each // 40, what
    for refusal in ("voucher_signer", "too_small", "unknown_lease", "over_balance", "not_admitted"):
        assert seen[f"refused {refusal}"] > 0, refusal
    assert seen["worked"] > 10 * each


@pytest.mark.parametrize("name", CONTROLS)
def test_each_known_mistake_is_caught(name: str) -> None:
    async def first_catch(kinds: dict[str, Any]) -> int | None:
        for seed in range(TRIED_ON_A_CONTROL):
            try:
                await history(seed, **kinds)
            except Found:
                return seed
        return None

    caught = trio.run(first_catch, CONTROLS[name], clock=MockClock(autojump_threshold=0))
    assert caught is not None
    print(f"{name}: caught by seed {caught}")
