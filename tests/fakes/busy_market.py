"""A market in which every node buys and sells: real books, gossip, auctions, desks and journals; jobs are pretended.

Whatever network and clock the nodes are given decides whether this is a simulation or a live network. Leases are
funded a block after they were granted, paid, and end when the market would be more than half full, the oldest first.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
from msgspec.structs import replace

from ledger.ports import LaneKey
from ledger.voucher import Domain, SessionKey, lane_proof_digest
from market.ask import JobFacts
from market.duties import Duty
from market.feasibility import Limits
from market.inventory import release, reserve
from market.lease import (
    ContainerExited,
    ContainerStarted,
    FinalPaymentReceived,
    LaneFunded,
    PaymentReceived,
    SettlementConfirmed,
    Stage,
)
from market.records import ExitReason, JobSpec, PaymentTerms, Requirements, Settlement
from market.signing import Signer
from node.auction import Auctioneer, Purchase, Purse
from node.grant_limits import MAX_UNFUNDED
from node.lease_board import LeaseBoard
from node.machine import Machine, MachineClass
from node.offer_intake import OfferIntake
from node.offer_poster import OfferPoster
from node.ports import Clock, Network
from node.provider import ProviderDesk
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.samples import CHAIN_ID, ESCROW

MODELS = ("RTX 3060", "RTX 3090", "RTX 4090", "A10", "A40", "L40S", "A100", "H100")
SLOTS = 8
BLOCK_S = 2.0
"""A lease is funded so long after its grant."""
TERMS = PaymentTerms(tick_ms=60_000, grace_ms=120_000, fund_within_ms=60_000, start_within_ms=60_000)
STRATEGIES = ("lowest_cost", "lowest_cost", "balanced", "high_availability", "best_performance")


@dataclass(frozen=True)
class Deal:
    """What came of one auction.

    Attributes:
        refusals: why providers did not sign, in the order in which they were asked.
        provider: who signed.
        premium: how much more this is expected to cost than the cheapest offer that fitted when it was chosen.
        seconds: from the bid to the lease, or to giving up.
    """

    refusals: tuple[str, ...]
    provider: str = ""
    premium: float = 0.0
    seconds: float = 0.0

    @property
    def asked(self) -> int:
        """How many providers were asked."""
        return len(self.refusals) + bool(self.provider)


@dataclass
class Trader:
    """One node: its half that sells, and its half that buys."""

    intake: OfferIntake
    desk: ProviderDesk
    machines: list[Machine]
    auctioneer: Auctioneer
    poster: OfferPoster
    clock: Clock
    nursery: trio.Nursery
    granted: deque[LeaseBoard | tuple[Machine, bytes]] = field(default_factory=deque)
    unfunded: Counter[bytes] = field(default_factory=Counter)

    def fill_half(self, luck: random.Random) -> None:
        """Begin with half of all slots taken, by leases that nobody asks about."""
        for machine in self.machines:
            for number in range(luck.choice([SLOTS // 2 - 1, SLOTS // 2, SLOTS // 2 + 1])):
                lease_id = number.to_bytes(16, "big")
                reserved = reserve(machine.inventory, lease_id, 1)
                assert reserved is not None
                machine.inventory = reserved.inventory
                self.granted.append((machine, lease_id))
        luck.shuffle(self.granted)
        self.poster.changed()

    async def perform(self, what: Duty, board: LeaseBoard) -> None:
        """The other side and the chain do all they should; the job runs until :meth:`end_oldest`."""
        now = self.clock.now_ms()
        if what is Duty.CONFIRM_FUNDING:
            self.granted.append(board)
            await trio.sleep(BLOCK_S)
            await board.record(LaneFunded(at=self.clock.now_ms(), amount=board.state.cap))
        elif what is Duty.START_CONTAINER:
            await board.record(ContainerStarted(at=now, started_at=now))
            await board.record(PaymentReceived(at=now, sequence=1, gpu_ms=1, amount=1))
        elif what is Duty.WIND_DOWN:
            self.desk.free_slots_of(board)
            await board.record(FinalPaymentReceived(at=now, sequence=2, gpu_ms=2, amount=2))
        elif what is Duty.COLLECT:
            await board.record(SettlementConfirmed(at=now, transaction=bytes(32), paid=2))

    async def end_oldest(self) -> int:
        """End the job that has run longest; how many slots that frees."""
        board = self.granted.popleft()
        if isinstance(board, tuple):
            machine, lease_id = board
            machine.inventory = release(machine.inventory, lease_id)
            self.poster.changed()
            return 1
        while board.state.stage in (Stage.GRANTED, Stage.FUNDED):
            await board.wait_change()
        now = self.clock.now_ms()
        await board.record(ContainerExited(at=now, reason=ExitReason.OK, exit_code=0, finished_at=now))
        return len(board.lease.record.slots)

    @property
    def used(self) -> int:
        """Slots that are leased."""
        return sum(len(machine.inventory.held) for machine in self.machines)

    async def buy(self, purchase: Purchase) -> Deal:
        """Hold one auction; a lease is paid for a block later."""
        refusals: list[str] = []

        async def tell(kind: str, detail: dict[str, Any]) -> None:
            if kind == "refused":
                refusals.append(detail["reason"])

        began = trio.current_time()
        waiting = tuple(provider for provider, leases in self.unfunded.items() if leases >= MAX_UNFUNDED)
        limits = replace(purchase.limits, deny=waiting)
        outcome = await self.auctioneer.buy(replace(purchase, limits=limits), tell)
        seconds = trio.current_time() - began
        if outcome.lease is None or outcome.match is None:
            return Deal(tuple(refusals), seconds=seconds)
        cheapest = min(match.expected_cost for match in outcome.shortlist.matches)
        self._fund(outcome.lease.signer)
        premium = outcome.match.expected_cost / cheapest - 1
        return Deal(tuple(refusals), outcome.lease.signer.hex(), premium, seconds)

    def _fund(self, provider: bytes) -> None:
        async def wait_for_block() -> None:
            await trio.sleep(BLOCK_S)
            self.unfunded[provider] -= 1

        self.unfunded[provider] += 1
        self.nursery.start_soon(wait_for_block)


@asynccontextmanager
async def a_trader(network: Network, seed: bytes, clock: Clock, luck: random.Random) -> AsyncIterator[Trader]:
    """Run a node with a machine of every model, at prices of its own, on a network it is part of."""
    signer, session, wallet = Signer.from_seed(seed), SessionKey(seed[::-1]), SessionKey(b"w" + seed[1:])
    intake = OfferIntake(network, clock)
    intake.register()
    machines = [Machine(_machine_class(model, wallet.address, luck), signer) for model in MODELS]
    poster = OfferPoster(machines, network, intake, clock, signer=signer)
    desk = ProviderDesk(
        machines,
        signer=signer,
        wallet=wallet,
        network=network,
        journal=MemoryJournal(),
        clock=clock,
        rng=luck,
        inventory_changed=poster.changed,
    )
    desk.register()
    domain = Domain(chain_id=CHAIN_ID, escrow=ESCROW)

    def prove(payee: bytes, subject: bytes) -> bytes:
        lane = LaneKey(payer=wallet.address, payee=payee, signer=session.address)
        return session.sign(lane_proof_digest(domain, lane, subject))

    auctioneer = Auctioneer(
        signer=signer,
        network=network,
        intake=intake,
        clock=clock,
        rng=luck,
        purse=Purse(payer=wallet.address, signer=session.address, chain_id=CHAIN_ID, escrow=ESCROW),
        prove_lane=prove,
    )
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        trader = Trader(intake, desk, machines, auctioneer, poster, clock, nursery)
        await stack.enter_async_context(auctioneer.working())
        await stack.enter_async_context(desk.working(trader.perform))
        nursery.start_soon(poster.post_forever)
        nursery.start_soon(intake.catch_up_forever)
        yield trader
        nursery.cancel_scope.cancel()


def a_purchase(luck: random.Random) -> Purchase:
    """A job for one to three models, of one or two slots, at up to a cap that most offers keep."""
    models = luck.sample(MODELS, luck.choice([1, 1, 2, 3]))
    spec = JobSpec(
        image="cfab-job-base:local",
        command=("run",),
        requirements=Requirements(gpus=tuple(sorted(models)), slots=luck.choice([1, 1, 1, 2])),
        max_duration_ms=luck.choice([600_000, 3_600_000]),
    )
    cap = int(max(_going_price(model) for model in models) * luck.uniform(1.0, 2.5))
    return Purchase(
        spec=spec,
        salt=luck.randbytes(16),
        limits=Limits(max_price=cap, chain_id=CHAIN_ID, escrow=ESCROW),
        strategy=luck.choice(STRATEGIES),
        job=JobFacts(max_ms=spec.max_duration_ms, image=spec.image),
    )


def _going_price(model: str) -> int:
    return 50_000 * (1 + MODELS.index(model))


def _machine_class(model: str, payee: bytes, luck: random.Random) -> MachineClass:
    return MachineClass(
        name=model.lower().replace(" ", "-"),
        gpu=f"NVIDIA {model}",
        simulated=False,
        slots=SLOTS,
        gpu_uuids=(),
        vram_mib=24_000,
        cpu_milli=4_000,
        memory_mib=16_000,
        disk_mib=50_000,
        price=int(_going_price(model) * luck.uniform(0.8, 1.25)),
        region="eu-west",
        driver="560.35",
        cuda_milli=12_400,
        runtimes=("runc",),
        isolation="container",
        terms=TERMS,
        settlement=Settlement(chain_id=CHAIN_ID, escrow=ESCROW, payee=payee),
    )


async def half_full(traders: Sequence[Trader]) -> None:
    """End the oldest jobs of every node until at most half of its slots are leased."""
    for trader in traders:
        while trader.granted and trader.used > len(MODELS) * SLOTS // 2:
            await trader.end_oldest()


async def burst(traders: Sequence[Trader], bids: int, luck: random.Random, *, within: float = 0.0) -> list[Deal]:
    """So many auctions, begun evenly by all traders at moments within so many seconds; returns when all are over."""
    deals: list[Deal] = []

    async def one(trader: Trader, purchase: Purchase, pause: float) -> None:
        await trio.sleep(pause)
        deals.append(await trader.buy(purchase))

    async with trio.open_nursery() as nursery:
        for number in range(bids):
            nursery.start_soon(one, traders[number % len(traders)], a_purchase(luck), luck.uniform(0, within))
    return deals


def play_alone(traders: Sequence[Trader]) -> None:
    """Auctions are held as if there were no rivals."""
    for trader in traders:
        trader.auctioneer.hall.rivals.are_many = lambda *_, **__: False  # type: ignore[method-assign]


def play_along(traders: Sequence[Trader]) -> None:
    """Auctions are held as they are."""
    for trader in traders:
        trader.auctioneer.hall.rivals.__dict__.pop("are_many", None)


@dataclass(frozen=True)
class Figures:
    """Many auctions. Those that found nothing that fits asked nobody and do not count."""

    auctions: int
    first_try: float
    attempts: float
    gave_up: int
    premium: float
    median_s: float
    refusals: dict[str, int]


def figures(deals: Sequence[Deal]) -> Figures:
    """Count them."""
    asked = [deal for deal in deals if deal.asked]
    served = [deal for deal in asked if deal.provider]
    reasons = [reason for deal in asked for reason in deal.refusals]
    return Figures(
        auctions=len(asked),
        first_try=sum(not deal.refusals for deal in served) / max(1, len(asked)),
        attempts=sum(deal.asked for deal in served) / max(1, len(served)),
        gave_up=len(asked) - len(served),
        premium=sum(deal.premium for deal in served) / max(1, len(served)),
        median_s=sorted(deal.seconds for deal in asked)[len(asked) // 2] if asked else 0.0,
        refusals={reason: reasons.count(reason) for reason in sorted(set(reasons))},
    )
