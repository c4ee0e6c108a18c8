"""One job from bid to settled receipt, in virtual time, with nothing going wrong."""

from __future__ import annotations

from typing import Any

import trio

from market import money
from node.job_journal import history
from tests.fakes.memory_engine import MemoryEngine
from tests.simulation.marketplace import JobScript, Marketplace, Participant, request, simulate

PRICE = 100_000


async def _trade(market: Marketplace) -> dict[str, Any]:
    buyer = market.add("buyer", tokens=10_000_000)
    cheap, dear = market.add("cheap"), market.add("dear")
    cheap.sells(PRICE)
    dear.sells(PRICE * 2)
    for provider in (cheap, dear):
        provider.job = JobScript(duration_ms=42_000, output=((0, b"hello\n"), (9_000, b"bye\n")))
    async with trio.open_nursery() as nursery, market.introducing():
        for participant in (cheap, dear, buyer):
            nursery.start_soon(_run, participant)
        await _until_offers(buyer, 2)
        desk = buyer.node.buying.desk
        job_id = await desk.submit(request())
        with trio.fail_after(300):
            while job_id in desk.jobs:
                await trio.sleep(0.5)
        events = await history(buyer.journal, job_id)
        log = buyer.node.buying.files.log_path(job_id).read_bytes()
        lane = await market.chain.view(buyer.wallet.address).lane(buyer.lane_to(cheap))
        held = await market.chain.view(buyer.wallet.address).token_balance(buyer.wallet.address)
        earned = await market.chain.view(buyer.wallet.address).token_balance(cheap.wallet.address)
        await trio.sleep(60)
        leftovers = await MemoryEngine(cheap.docker, cheap.node_id).leases()
        free = cheap.node.selling.machines[0].inventory.free_slots
        boards = dict(cheap.node.selling.desk.boards)
        nursery.cancel_scope.cancel()
    return locals()


async def _run(participant: Participant) -> None:
    async with participant.running():
        await trio.sleep_forever()


async def _until_offers(buyer: Participant, count: int) -> None:
    with trio.fail_after(30):
        while buyer.node is None or len(buyer.node.intake.book) < count:
            await trio.sleep(0.1)


def test_a_job_is_sold_run_and_paid(tmp_path: object) -> None:
    seen: Any = simulate(1, _trade)
    kinds = [event["type"] for event in seen["events"]]
    assert kinds[0] == "queued"
    assert kinds[-1] == "succeeded"
    for kind in ("matching", "leased", "funded", "running", "paid", "exited", "settled"):
        assert kind in kinds
    assert seen["log"] == b"hello\nbye\n"
    due = money.amount_due(PRICE, 42_000)
    assert seen["earned"] == due
    assert seen["held"] == 10_000_000 - due
    assert seen["lane"].balance == seen["lane"].claimed == due
    assert seen["leftovers"] == []
    assert seen["free"] == 1
    assert seen["boards"] == {}
    settled = next(event for event in seen["events"] if event["type"] == "settled")
    assert settled["lane"]["adds_up"]
    assert settled["paid"]["units"] == due
    assert settled["deposited"]["units"] == settled["paid"]["units"] + settled["refunded"]["units"]
    assert not settled["reclaimed"]


def test_the_same_seed_gives_the_same_history() -> None:
    runs: list[Any] = [simulate(seed, _trade) for seed in (7, 7)]
    assert runs[0]["events"] == runs[1]["events"]
