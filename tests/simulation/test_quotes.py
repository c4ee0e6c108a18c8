"""Quotes in a whole market: who gives way gets the job and is paid what it said; one that is not good is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from market import money
from market.matching import Match
from market.signing import Verified
from market.transcript import check_award, read_file
from node.awarding import Awarding
from node.job_journal import history
from tests.simulation.marketplace import JobScript, Marketplace, Participant, request, simulate

CHEAP, DEAR, QUOTED = 100_000, 110_000, 88_000
RUNS_MS = 42_000
Meddle = Callable[[Participant], None]


def a_job_with_quotes(*, quotes: bool = True, meddle: Meddle = lambda dear: None) -> Any:
    """One job; of two sellers the dearer gives a fifth away when it is asked."""

    async def scenario(market: Marketplace) -> dict[str, Any]:
        buyer, cheap, dear = market.add("buyer", tokens=10**9), market.add("cheap"), market.add("dear")
        cheap.sells(CHEAP)
        dear.sells(DEAR, quote_discount=200)
        for seller in (cheap, dear):
            seller.job = JobScript(duration_ms=RUNS_MS)
        async with trio.open_nursery() as nursery, market.introducing():
            for participant in (buyer, cheap, dear):
                nursery.start_soon(_stay, participant)
            await _until(lambda: buyer.node is not None and len(buyer.node.intake.book) == 2)
            meddle(dear)
            job = await buyer.node.buying.desk.submit(request(quotes=quotes))
            await _until(lambda: job not in buyer.node.buying.desk.jobs)
            events = await history(buyer.journal, job)
            file = read_file((market.folder / "buyer" / "awards" / f"{job}.award").read_bytes())
            chain = market.chain.view(buyer.wallet.address)
            earned = [await chain.token_balance(seller.wallet.address) for seller in (cheap, dear)]
            nursery.cancel_scope.cancel()
        return {"events": events, "file": file, "earned": earned, "keys": [cheap.signer.key, dear.signer.key]}

    return simulate(1, scenario)


async def _stay(participant: Participant) -> None:
    async with participant.running():
        await trio.sleep_forever()


async def _until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(600):
        while not condition():
            await trio.sleep(0.1)


def _all(seen: Any, kind: str) -> list[dict[str, Any]]:
    return [event for event in seen["events"] if event["type"] == kind]


def test_who_gives_way_gets_the_job_and_is_paid_its_quote() -> None:
    seen = a_job_with_quotes()
    (quoted,), (leased,), (settled,) = (_all(seen, kind) for kind in ("quoted", "leased", "settled"))
    assert (quoted["price"]["nano_per_gpu_second"], quoted["tag"]["nano_per_gpu_second"]) == (QUOTED, DEAR)
    assert leased["provider"] == quoted["provider"] == seen["keys"][1].hex()
    assert leased["cap"]["units"] == money.amount_due(QUOTED, 600_000)
    due = money.amount_due(QUOTED, RUNS_MS)
    assert settled["paid"]["units"] == due
    assert seen["earned"] == [0, due]


def test_anybody_can_check_that_the_quote_was_the_best() -> None:
    found = check_award(a_job_with_quotes()["file"])
    assert (found.place, found.price, found.offers) == (1, QUOTED, 2)


def test_without_the_wish_for_quotes_the_tags_decide() -> None:
    seen = a_job_with_quotes(quotes=False)
    assert _all(seen, "quoted") == []
    assert seen["earned"] == [money.amount_due(CHEAP, RUNS_MS), 0]


def _clock_jumps(monkeypatch: pytest.MonkeyPatch) -> Meddle:
    """The dearer seller's clock goes on by more than a quote lives, between its quote and the award."""

    def meddle(dear: Participant) -> None:
        sign = Awarding.sign

        def later(self: Awarding, match: Match, *rest: Any) -> Any:
            dear.clock.skew_ms = 11_000
            return sign(self, match, *rest)

        monkeypatch.setattr(Awarding, "sign", later)

    return meddle


def _anothers_quote(monkeypatch: pytest.MonkeyPatch) -> Meddle:
    """The buyer hands in, as the dearer seller's quote, one that it signed itself."""

    def meddle(dear: Participant) -> None:
        sign = Awarding.sign

        def forge(self: Awarding, match: Match, *rest: Any) -> Any:
            award: Verified[Any] = sign(self, match, *rest)
            if match.quote is None:
                return award
            forged = self._signer.sign(replace(match.quote.record, provider=self._signer.key))
            return self._signer.sign(replace(award.record, quote=forged.raw))

        monkeypatch.setattr(Awarding, "sign", forge)

    return meddle


@pytest.mark.parametrize("trouble", [_clock_jumps, _anothers_quote], ids=["expired", "not its own"])
def test_a_quote_that_is_not_good_is_refused_and_the_next_best_gets_the_job(
    monkeypatch: pytest.MonkeyPatch, trouble: Callable[[pytest.MonkeyPatch], Meddle]
) -> None:
    seen = a_job_with_quotes(meddle=trouble(monkeypatch))
    (refused,) = _all(seen, "refused")
    assert (refused["provider"], refused["reason"]) == (seen["keys"][1].hex(), "bad_quote")
    assert seen["earned"] == [money.amount_due(CHEAP, RUNS_MS), 0]
    found = check_award(seen["file"])
    assert (found.place, found.refused, found.price) == (2, 1, CHEAP)
