"""A whole market in one process: real desks, drivers and books over simulated network, chain and engine.

Time is trio's MockClock, chance comes from one seed, nothing uses a thread; a run is the same every time.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio
import trio._core._run as trio_run
from trio.testing import MockClock

from bootstrap.identity import peer_id_of
from ledger.ports import LaneKey
from ledger.voucher import SessionKey
from market.records import JobSpec, PaymentTerms, Requirements, Settlement
from market.signing import Signer
from node.job_file.request import JobRequest
from node.machine import Machine, MachineClass
from node.offer_intake import OfferIntake
from node.trading import TradingNode, TradingSettings, World, trading_node
from tests.fakes.memory_chain import MemoryChain
from tests.fakes.memory_engine import JobScript, MemoryDocker, MemoryEngine
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.memory_network import MemoryWorld

START_MS = 1_800_000_000_000
TERMS = PaymentTerms(
    tick_ms=5_000, grace_ms=8_000, fund_within_ms=60_000, start_within_ms=120_000, final_within_ms=60_000
)
SETTINGS = TradingSettings(poll_s=0.5, settle_patience_s=20, close_patience_s=30, confirmations=1)


class SimulatedClock:
    """UTC that follows trio's virtual time. ``skew_ms`` sets one node's clock wrong."""

    def __init__(self, skew_ms: int = 0) -> None:
        self.skew_ms = skew_ms

    def now_ms(self) -> int:
        return START_MS + self.skew_ms + round(trio.current_time() * 1000)


class Participant:
    """One node's durable part: keys, journal, disk, containers. Survives its crashes."""

    def __init__(self, market: Marketplace, name: str, *, skew_ms: int = 0) -> None:
        self.market = market
        self.name = name
        self.seed = name.encode().ljust(32, b".")
        self.signer = Signer.from_seed(self.seed)
        self.session_key = SessionKey(("s" + name).encode().ljust(32, b"."))
        self.wallet = SessionKey(("w" + name).encode().ljust(32, b"."))
        self.journal = MemoryJournal()
        self.clock = SimulatedClock(skew_ms)
        self.job = JobScript()
        self.docker = MemoryDocker(self.clock.now_ms, script=lambda _spec: self.job)
        self.machine_classes: list[MachineClass] = []
        self.node: TradingNode | None = None
        self.settings = SETTINGS

    @asynccontextmanager
    async def running(self) -> AsyncIterator[TradingNode]:
        """Run the node until the block is left or the network crashes it."""
        market = self.market
        async with market.network.open(self.seed, introducers=market.introducers_for(self)) as network:
            world = World(
                network=network,
                journal=self.journal,
                chain=market.chain.view(self.wallet.address),
                clock=self.clock,
                rng=random.Random(f"{market.seed}/{self.name}/{trio.current_time()}"),
                signer=self.signer,
                session_key=self.session_key,
                wallet=self.wallet,
                folder=market.folder / self.name,
            )
            machines = [Machine(one, self.signer) for one in self.machine_classes]
            engine = MemoryEngine(self.docker, self.node_id) if machines else None
            async with trading_node(world, self.settings, machines=machines, engine=engine) as node:
                self.node = node
                yield node

    def crash(self, *, keep_in_flight: bool = False) -> None:
        """Power off this instant: tasks stop where they stand, what was not durable is lost."""
        self.crash_journal(keep_in_flight=keep_in_flight)
        self.market.network.crash(self.signer.key)

    def crash_journal(self, *, keep_in_flight: bool = False) -> None:
        """Lose what was not durable; used when the tasks were stopped by other means."""
        self.journal = self.journal.crash(keep_in_flight=keep_in_flight)
        self.node = None

    def sells(self, price: int, *, slots: int = 1, **changes: object) -> None:
        """Offer a machine with ``slots`` slots at ``price`` nanotokens per GPU-second."""
        chain = self.market.chain
        machine = MachineClass(
            name=f"m{len(self.machine_classes)}",
            gpu="none",
            simulated=False,
            slots=slots,
            gpu_uuids=(),
            vram_mib=0,
            cpu_milli=1000,
            memory_mib=1024,
            disk_mib=1024,
            price=price,
            region="eu-west",
            driver="",
            cuda_milli=0,
            runtimes=("runc",),
            isolation="container",
            terms=TERMS,
            settlement=Settlement(
                chain_id=chain.domain.chain_id, escrow=chain.domain.escrow, payee=self.wallet.address
            ),
        )
        self.machine_classes.append(msgspec.structs.replace(machine, **changes))

    @property
    def node_id(self) -> str:
        return self.signer.key.hex()[:16]

    def lane_to(self, provider: Participant) -> LaneKey:
        return LaneKey(payer=self.wallet.address, payee=provider.wallet.address, signer=self.session_key.address)


class Marketplace:
    """The world all participants share."""

    def __init__(self, seed: int, folder: Path, **weather: object) -> None:
        self.seed = seed
        self.folder = folder
        self.rng = random.Random(seed)
        self.network = MemoryWorld(seed, **weather)  # type: ignore[arg-type]
        self.chain = MemoryChain(SimulatedClock(), exit_delay_s=120)
        self.participants: dict[str, Participant] = {}
        self.introducer = Participant(self, "introducer")

    def add(self, name: str, *, tokens: int = 0, skew_ms: int = 0) -> Participant:
        participant = Participant(self, name, skew_ms=skew_ms)
        self.participants[name] = participant
        self.chain.mint(participant.wallet.address, tokens)
        self.chain.give_gas(participant.wallet.address)
        return participant

    def introducers_for(self, participant: Participant) -> tuple[str, ...]:
        if participant is self.introducer:
            return ()
        return (f"/memory/0/p2p/{peer_id_of(self.introducer.signer.key)}",)

    @asynccontextmanager
    async def introducing(self) -> AsyncIterator[None]:
        """Run the introducer: it sells and buys nothing, but hears and passes on what is said."""
        async with self.network.open(self.introducer.seed) as network, trio.open_nursery() as nursery:
            intake = OfferIntake(network, self.introducer.clock)
            intake.register()
            nursery.start_soon(intake.catch_up_forever)
            yield
            nursery.cancel_scope.cancel()


def request(image: str = "cfab-job-base:local", *, max_duration_ms: int = 600_000, **changes: object) -> JobRequest:
    """A plain job request."""
    spec = JobSpec(
        image=image,
        command=("run",),
        requirements=Requirements(slots=1),
        max_duration_ms=max_duration_ms,
    )
    plain = JobRequest(name="job", spec=spec, max_price=10**9, max_total=10**12)
    return msgspec.structs.replace(plain, **changes)


def simulate(seed: int, scenario: Callable[[Marketplace], object], **weather: object) -> object:
    """Run ``await scenario(market)`` in virtual time with a seeded scheduler; the result is reproducible."""
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True
    trio_run._r.seed(seed)
    with tempfile.TemporaryDirectory() as folder:

        async def main() -> object:
            market = Marketplace(seed, Path(folder), **weather)
            with trio.fail_after(24 * 3600):
                return await scenario(market)  # type: ignore[misc]

        return trio.run(main, clock=MockClock(autojump_threshold=0))


__all__ = ["JobScript", "Marketplace", "Participant", "request", "simulate"]
