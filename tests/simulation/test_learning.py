"""What a node learns from its own deals, in virtual time: lengths of jobs, and owners that break off."""

from __future__ import annotations

from typing import Any

import trio

from market.ask import facts_of_spec
from market.records import RefusalReason
from tests.simulation.marketplace import JobScript, Marketplace, Participant, request, simulate

PRICE = 100_000


async def run(participant: Participant) -> None:
    async with participant.running():
        await trio.sleep_forever()


async def buy(buyer: Participant, **changes: object) -> None:
    assert buyer.node is not None
    desk = buyer.node.buying.desk
    job_id = await desk.submit(request(**changes))
    while job_id in desk.jobs:
        await trio.sleep(0.5)


async def offers(buyer: Participant, count: int) -> None:
    with trio.fail_after(30):
        while buyer.node is None or len(buyer.node.intake.book) < count:
            await trio.sleep(0.1)


async def _three_runs(market: Marketplace) -> dict[str, Any]:
    buyer, seller = market.add("buyer", tokens=10_000_000), market.add("seller")
    seller.sells(PRICE)
    seller.job = JobScript(duration_ms=42_000)
    async with trio.open_nursery() as nursery, market.introducing():
        for participant in (seller, buyer):
            nursery.start_soon(run, participant)
        await offers(buyer, 1)
        for _ in range(3):
            await buy(buyer)
        experience = buyer.node.buying.experience
        spec = request().spec
        known = buyer.node.intake.book.known(seller.signer.key)
        buyer.crash()
        await trio.sleep(1)
        nursery.start_soon(run, buyer)
        await offers(buyer, 1)
        again = buyer.node.buying.experience
        found = {
            "runs": experience.runs("job", spec),
            "facts": experience.facts("job", spec, facts_of_spec(spec)),
            "conduct": experience.conduct(seller.signer.key),
            "after_crash": again.facts("job", spec, facts_of_spec(spec)),
            "known": known,
        }
        nursery.cancel_scope.cancel()
    return found


def test_the_length_of_a_job_is_learned_and_survives_a_crash() -> None:
    seen: Any = simulate(3, _three_runs)
    work = 42_000
    assert seen["runs"] == 3
    assert abs(seen["facts"].work_ms - work) <= 100
    assert seen["after_crash"] == seen["facts"]
    assert (seen["conduct"].honoured, seen["conduct"].kept, seen["conduct"].broken) == (3, 3, 0)
    assert seen["known"].reputation == 1000
    assert seen["known"].rtt_us > 0, "the round trip was never measured"


async def _a_vanishing_owner(market: Marketplace) -> dict[str, Any]:
    buyer, cheap, dear = market.add("buyer", tokens=10_000_000), market.add("cheap"), market.add("dear")
    cheap.sells(PRICE)
    dear.sells(PRICE + PRICE // 20)
    for seller in (cheap, dear):
        seller.job = JobScript(duration_ms=60_000)
    async with trio.open_nursery() as nursery, market.introducing():
        for participant in (cheap, dear, buyer):
            nursery.start_soon(run, participant)
        await offers(buyer, 2)
        nursery.start_soon(buy, buyer)
        with trio.fail_after(60):
            while not (cheap.node and cheap.node.selling and cheap.node.selling.desk.boards):
                await trio.sleep(0.1)
        await trio.sleep(20)
        cheap.crash()
        with trio.fail_after(3 * 86_400):
            while buyer.node.buying.desk.jobs:
                await trio.sleep(10)
        nursery.start_soon(run, cheap)
        await trio.sleep(100)
        with trio.fail_after(60):
            while len(buyer.node.intake.book) < 2:
                await trio.sleep(0.5)
        found = {
            "conduct": buyer.node.buying.experience.conduct(cheap.signer.key),
            "failure": buyer.node.intake.book.known(cheap.signer.key).failure,
        }
        await buy(buyer)
        found["second"] = buyer.node.buying.experience.conduct(dear.signer.key)
        nursery.cancel_scope.cancel()
    return found


def test_an_owner_that_vanished_is_dearer_the_next_time() -> None:
    """Its tag is a twentieth lower; after one broken lease the expected cost of another failure outweighs that."""
    seen: Any = simulate(4, _a_vanishing_owner)
    assert seen["conduct"].broken == 1
    assert seen["failure"] > 100
    assert seen["second"].honoured == 1, "the next job went to the one that broke off again"


async def _a_bait(market: Marketplace) -> dict[str, Any]:
    buyer, bait, honest = market.add("buyer", tokens=10_000_000), market.add("bait"), market.add("honest")
    bait.sells(PRICE // 2)
    honest.sells(PRICE)
    honest.job = JobScript(duration_ms=1_000)
    async with trio.open_nursery() as nursery, market.introducing():
        for participant in (bait, honest, buyer):
            nursery.start_soon(run, participant)
        await offers(buyer, 2)
        assert bait.node is not None
        assert bait.node.selling is not None
        bait.node.selling.desk._why_not = lambda award, asked: (RefusalReason.DRAINING, "")  # type: ignore[method-assign]
        for _ in range(12):
            await buy(buyer)
        assert buyer.node is not None
        found = {
            "bait": buyer.node.buying.experience.conduct(bait.signer.key),
            "honest": buyer.node.buying.experience.conduct(honest.signer.key),
        }
        nursery.cancel_scope.cancel()
    return found


def test_who_advertises_and_refuses_is_asked_less_and_less() -> None:
    """Half the price, and never a lease: after two of its tags it is left alone for a while."""
    seen: Any = simulate(5, _a_bait)
    assert seen["honest"].kept == 12
    assert 2 <= seen["bait"].refused <= 6, seen["bait"]
    assert seen["bait"].pauses >= 1
    assert seen["bait"].reputation < 500
