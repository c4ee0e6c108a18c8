"""What the API can ask of a running node, asked of whole nodes in virtual time."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from market.errors import FabricError, InvalidRequest
from market.money import amount_due
from market.transcript import check_award, read_file
from node.config import ChainConfig, NodeConfig, WatchConfig
from node.control import TERMINAL_EVENTS
from node.job_file.request import JobRequest
from node.market_window import open_window
from node.offer_intake import OfferIntake
from node.service import NodeService
from node.trading import World
from tests.fakes.desks import RecordingNetwork, SetClock
from tests.simulation.marketplace import JobScript, Marketplace, Participant, request, simulate

PRICE = 100_000
NOBODY = "0x" + "00" * 20


def service_of(market: Marketplace, participant: Participant) -> NodeService:
    """The service of a running node, as ``app`` puts it together."""
    node = participant.node
    assert node is not None
    domain = market.chain.domain
    config = NodeConfig(
        home=market.folder,
        name=participant.name,
        api_socket=market.folder / "api",
        provide=node.selling is not None,
        chain=ChainConfig(rpc=("memory",), chain_id=domain.chain_id, escrow=domain.escrow, token=bytes(20)),
    )
    network: Any = market.network._nodes[participant.signer.key]
    world = World(
        network=network,
        journal=participant.journal,
        chain=market.chain.view(participant.wallet.address),
        clock=participant.clock,
        rng=market.rng,
        signer=participant.signer,
        session_key=participant.session_key,
        wallet=participant.wallet,
        folder=market.folder / participant.name,
    )
    return NodeService(
        config,
        network=network,
        intake=node.intake,
        market=open_window(network, participant.clock, node.intake, history_file=None),
        clock=participant.clock,
        journal=participant.journal,
        world=world,
        trading=node,
        stop=trio.Event(),
    )


def visit(ask: Callable[[NodeService, NodeService, Marketplace], Awaitable[Any]], **job: Any) -> Any:
    """Run a buyer and a seller, and ask their services."""

    async def scenario(market: Marketplace) -> Any:
        buyer, seller = market.add("buyer", tokens=10**9), market.add("seller")
        seller.sells(PRICE)
        seller.job = JobScript(**{"duration_ms": 20_000, "output": ((0, b"hello\n"), (9_000, b"bye\n")), **job})
        async with trio.open_nursery() as nursery, market.introducing():
            for participant in (buyer, seller):
                nursery.start_soon(_stay, participant)
            with trio.fail_after(60):
                while buyer.node is None or not len(buyer.node.intake.book):
                    await trio.sleep(0.1)
            found = await ask(service_of(market, buyer), service_of(market, seller), market)
            nursery.cancel_scope.cancel()
        return found

    return simulate(1, scenario)


async def _stay(participant: Participant) -> None:
    async with participant.running():
        await trio.sleep_forever()


async def submit(buyer: NodeService) -> str:
    return str((await buyer.submit(request().to_json()))["job"])


async def until(service: NodeService, job: str, *states: str) -> Any:
    with trio.fail_after(600):
        while (view := await service.job(job))["state"] not in states:
            await trio.sleep(0.1)
    return view


def is_plain(value: Any) -> bool:
    return bool(json.loads(json.dumps(value)) == value)


def test_a_node_tells_of_itself():
    async def ask(buyer: NodeService, seller: NodeService, _market: Marketplace) -> None:
        await trio.sleep(15)  # the offer came by the introducer; until the two have met themselves
        status, other = await buyer.status(), await seller.status()
        assert is_plain(status)
        assert is_plain(other)
        assert (status["roles"], status["provider"], status["offers"]) == (["requester"], None, 1)
        assert other["roles"] == ["provider", "requester"]
        assert (other["provider"]["total_slots"], other["provider"]["free_slots"]) == (1, 1)
        assert status["chain"]["reachable"] is True
        assert status["jobs"] == {"active": 0, "total": 0}
        assert any(peer["key"] == other["key"] for peer in status["peers"])

    visit(ask)


def test_offers_are_listed_cheapest_first_and_as_many_as_asked():
    async def ask(buyer: NodeService, seller: NodeService, _market: Marketplace) -> None:
        (offer,) = await buyer.offers({})
        assert is_plain(offer)
        assert offer["mine"] is False
        assert (await seller.offers({}))[0]["mine"] is True
        assert await buyer.offers({"limit": 1}) == [offer]
        assert await buyer.offers({"region": "mars"}) == []

    visit(ask)


def test_a_job_is_followed_from_submission_to_receipt():
    async def ask(buyer: NodeService, _seller: NodeService, _market: Marketplace) -> None:
        job = await submit(buyer)
        events: list[Any] = []
        pieces: list[Any] = []

        async def follow() -> None:
            events.extend([event async for event in buyer.job_events(job)])

        async def listen() -> None:
            pieces.extend([piece async for piece in buyer.logs(job, follow=True)])

        with trio.fail_after(300):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(follow)
                nursery.start_soon(listen)
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert events[-1]["type"] in TERMINAL_EVENTS
        assert b"".join(piece["data"] for piece in pieces) == b"hello\nbye\n"
        assert [event async for event in buyer.job_events(job, after=len(events) - 1)] == events[-1:]
        assert [piece["offset"] async for piece in buyer.logs(job, offset=6)] == [6]
        view = await buyer.job(job)
        assert is_plain(view)
        assert (view["state"], await buyer.jobs()) == ("succeeded", [view])
        (receipt,) = await buyer.receipts()
        assert is_plain(receipt)
        assert receipt["settled"] is True
        assert receipt["receipt"] == view["receipt"]
        assert receipt["deposited"]["units"] == receipt["paid"]["units"] + receipt["refunded"]["units"]
        assert await buyer.receipts(job) == [receipt]
        assert await buyer.receipts("another") == []

    visit(ask)


def test_the_members_of_a_gang_are_jobs_that_know_each_other():
    async def ask(buyer: NodeService, _seller: NodeService, _market: Marketplace) -> None:
        answer = await buyer.submit(request(machines=2, wait_ms=60_000).to_json())
        assert (answer["job"], len(answer["jobs"])) == (answer["jobs"][0], 2)
        first, second = [await buyer.job(job) for job in answer["jobs"]]
        assert is_plain(first)
        assert (first["name"], second["name"]) == ("job-0", "job-1")
        assert first["gang"] is not None
        assert second["gang"] == {**first["gang"], "rank": 1}
        assert (first["gang"]["rank"], first["gang"]["size"]) == (0, 2)
        await buyer.cancel(answer["jobs"][1])
        for job in answer["jobs"]:
            await until(buyer, job, "cancelled")

    visit(ask)


def test_both_sides_have_a_receipt_for_the_same_amount():
    async def ask(buyer: NodeService, seller: NodeService, _market: Marketplace) -> None:
        await until(buyer, await submit(buyer), "succeeded")
        await trio.sleep(60)
        (bought,), (sold,) = await buyer.receipts(), await seller.receipts()
        assert bought["amount"] == sold["amount"]
        assert bought["receipt"] == sold["receipt"]
        assert bought["gpu"] == sold["gpu"] == "none"
        pieces = [[piece async for piece in side.receipt_evidence()] for side in (buyer, seller)]
        assert [one["lease"]["role"] for one, *_ in pieces] == ["requester", "provider"]
        assert is_plain(pieces)
        reports = [[answer["report"] for answer in answers["answers"]] for _, answers in pieces]
        assert reports[0] == reports[1]
        lane = next(iter((await buyer.wallet())["lanes"]))
        asked = {"payer": bought["payer"], "payee": lane["payee"], "signer": lane["signer"]}
        assert (await buyer.receipts_on_chain(asked))["paid"] == bought["amount"]["units"]

    visit(ask)


def test_the_choice_of_a_provider_can_be_proved_to_anybody():
    async def ask(buyer: NodeService, seller: NodeService, _market: Marketplace) -> None:
        job = await submit(buyer)
        await until(buyer, job, "succeeded")
        answer = await buyer.award_file(job)
        found = check_award(read_file(base64.b64decode(answer["file"])))
        assert (found.place, found.by_word) == (1, 0)
        assert found.provider.hex() == (await seller.status())["key"]
        with pytest.raises(InvalidRequest):
            await buyer.award_file("0" * 32)

    visit(ask)


def test_a_cancelled_job_is_cancelled_and_cancelling_it_again_changes_nothing():
    async def ask(buyer: NodeService, _seller: NodeService, _market: Marketplace) -> None:
        job = await submit(buyer)
        await until(buyer, job, "running")
        await buyer.cancel(job)
        view = await until(buyer, job, "cancelled")
        assert view["exit_reason"] == "cancelled"
        assert await buyer.cancel(job) == view

    visit(ask, duration_ms=10**9)


def test_the_wallet_shows_what_is_held_and_what_is_signed():
    async def ask(buyer: NodeService, _seller: NodeService, _market: Marketplace) -> None:
        assert (await buyer.wallet())["lanes"] == []
        job = await submit(buyer)
        await until(buyer, job, "running")
        await trio.sleep(8)
        wallet = await buyer.wallet()
        assert is_plain(wallet)
        (lane,) = wallet["lanes"]
        assert wallet["held"]["units"] == lane["balance"]["units"] > 0
        assert lane["signed"]["units"] > 0
        with pytest.raises(FabricError):
            await buyer.exit_lane(lane["payee"])

    visit(ask)


@pytest.mark.parametrize("payee", ["", "0x", "zz", "0x12", "12" * 19, "12" * 21, "0x" + "g" * 40, "../../etc"])
def test_an_exit_is_asked_for_an_account(payee: str):
    async def ask(buyer: NodeService, _seller: NodeService, _market: Marketplace) -> None:
        with pytest.raises(InvalidRequest):
            await buyer.exit_lane(payee)

    visit(ask)


def test_an_exit_of_a_lane_that_holds_nothing_is_explained():
    async def ask(buyer: NodeService, _seller: NodeService, _market: Marketplace) -> None:
        with pytest.raises(InvalidRequest) as refused:
            await buyer.exit_lane("0x" + "12" * 20)
        assert refused.value.code == "nothing_held"

    visit(ask)


@pytest.mark.parametrize("job", ["", "nobody", "../x", "\0", "a" * 1000])
def test_a_job_nobody_knows_is_not_found(job: str):
    async def ask(buyer: NodeService, _seller: NodeService, _market: Marketplace) -> None:
        for question in (buyer.job(job), buyer.cancel(job)):
            with pytest.raises(InvalidRequest) as refused:
                await question
            assert refused.value.code == "not_found"
        for stream in (buyer.job_events(job), buyer.logs(job)):
            with pytest.raises(InvalidRequest):
                await anext(aiter(stream))

    visit(ask)


@pytest.mark.parametrize("wish", [None, 5, [], {}, {"name": "x"}, {**request().to_json(), "more": 1}])
def test_a_wish_that_is_no_job_is_explained(wish: Any):
    async def ask(buyer: NodeService, _seller: NodeService, _market: Marketplace) -> None:
        with pytest.raises(InvalidRequest):
            await buyer.submit(wish)

    visit(ask)


def test_a_paused_provider_offers_nothing_and_finishes_what_it_has():
    async def ask(buyer: NodeService, seller: NodeService, _market: Marketplace) -> None:
        job = await submit(buyer)
        await until(buyer, job, "running")
        assert (await seller.provider_pause())["paused"] is True
        await trio.sleep(2)
        assert (await buyer.offers({}))[0]["free_slots"] == 0
        await until(buyer, job, "succeeded")
        assert (await seller.provider_resume())["paused"] is False
        await trio.sleep(2)
        assert (await buyer.offers({"free": True}))[0]["free_slots"] == 1

    visit(ask)


def test_only_a_provider_can_be_paused_or_priced():
    async def ask(buyer: NodeService, _seller: NodeService, _market: Marketplace) -> None:
        for verb in (buyer.provider_pause(), buyer.provider_price("0.32/h")):
            with pytest.raises(InvalidRequest) as refused:
                await verb
            assert refused.value.code == "not_a_provider"

    visit(ask)


def test_a_new_price_is_on_the_market_at_once_and_the_job_that_runs_keeps_its_own():
    async def ask(buyer: NodeService, seller: NodeService, _market: Marketplace) -> None:
        job = await submit(buyer)
        await until(buyer, job, "running")
        view = await seller.provider_price("0.72/h", "m0")
        assert view["price"]["nano_per_gpu_second"] == 200_000
        await trio.sleep(2)
        assert (await buyer.offers({}))[0]["price"]["nano_per_gpu_second"] == 200_000
        done = await until(buyer, job, "succeeded")
        assert done["price"]["nano_per_gpu_second"] == PRICE
        assert done["spent"]["units"] == amount_due(PRICE, 20_000)

    visit(ask)


@pytest.mark.parametrize(
    ("price", "machine", "code"),
    [
        ("0.72", "", "price_unit"),
        ("-1/h", "", "bad_price"),
        ("0.72/h", "m9", "not_found"),
        ("0/h", "", "price_of_nothing"),
    ],
)
def test_a_price_that_cannot_be_asked_changes_nothing(price: str, machine: str, code: str):
    async def ask(_buyer: NodeService, seller: NodeService, _market: Marketplace) -> None:
        with pytest.raises(InvalidRequest) as refused:
            await seller.provider_price(price, machine)
        assert refused.value.code == code
        view: Any = (await seller.status())["provider"]
        assert view["price"]["nano_per_gpu_second"] == PRICE

    visit(ask)


async def test_a_node_without_a_chain_can_be_looked_at(tmp_path: Path):

    network, clock, stop = RecordingNetwork(), SetClock(), trio.Event()
    intake = OfferIntake(network, clock)
    service = NodeService(
        NodeConfig(
            home=tmp_path, name="n", api_socket=tmp_path / "api", introducer=True, watch=WatchConfig(serve=True)
        ),
        network=network,
        intake=intake,
        market=open_window(network, clock, intake, history_file=None),
        clock=clock,
        journal=None,
        world=None,
        trading=None,
        stop=stop,
    )
    status = await service.status()
    assert is_plain(status)
    assert (status["roles"], status["chain"], await service.offers({}), await service.jobs()) == (
        ["introducer", "watchtower"],
        None,
        [],
        [],
    )
    plain = JobRequest.to_json(request())
    for question in (service.submit(plain), service.wallet(), service.receipts(), service.exit_lane(NOBODY)):
        with pytest.raises(InvalidRequest) as refused:
            await question
        assert refused.value.code == "no_chain"
    with pytest.raises(InvalidRequest) as refused:
        _ = service.wallet_desk
    assert refused.value.code == "no_chain"
    assert {check["name"] for check in await service.doctor()} == {"peers", "market", "disk"}
    await service.shutdown()
    assert stop.is_set()
