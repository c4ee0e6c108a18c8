"""Single parts of a node on a bench: a network that records instead of talking, a clock that is set by hand."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
from msgspec.structs import replace

from ledger.statement import with_grants
from ledger.voucher import Domain
from market import codec
from market.duties import Duty, Role
from market.records import Award, JobSpec, Lease, PaymentTerms
from market.signing import Signer, Verified
from node.lease_board import LeaseBoard, Opened, lease_id_of, open_board
from node.machine import Machine, MachineClass
from node.ports import PeerInfo, PeerUnreachable, Verdict
from node.provider import AwardRequest, ProviderDesk
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.memory_stream import MemoryStream, stream_pair
from tests.fakes.samples import BUYER, NOW, PAYEE_KEY, SALT, SELLER, SETTLEMENT, SPEC, TERMS, an_award


class SetClock:
    """A clock that stands still until it is set."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def now_ms(self) -> int:
        return self.now


class RecordingNetwork:
    """The network port of a node that is alone: what is registered and sent is kept, answers are scripted.

    Attributes:
        answer: called for every request the node makes; raises or returns the answer.
        far_ends: the other ends of the streams the node opened.
    """

    def __init__(self, key: bytes = SELLER.key) -> None:
        self.key = key
        self.handlers: dict[str, Callable[[bytes, bytes], Awaitable[bytes]]] = {}
        self.stream_handlers: dict[str, Callable[[Any], Awaitable[None]]] = {}
        self.judges: dict[str, Callable[[bytes, bytes], Verdict]] = {}
        self.deliveries: dict[str, Callable[[bytes, bytes], None]] = {}
        self.published: list[tuple[str, bytes]] = []
        self.learned: list[tuple[bytes, tuple[str, ...]]] = []
        self.penalties: list[tuple[bytes, str]] = []
        self.requests: list[tuple[bytes, str, bytes]] = []
        self.known: list[PeerInfo] = []
        self.own_addresses: tuple[str, ...] = ("/ip4/127.0.0.1/tcp/1/p2p/x",)
        self.answer: Callable[[bytes, str, bytes], bytes] = _nobody
        self.far_ends: list[MemoryStream] = []
        self.unreachable = False

    def addresses(self) -> tuple[str, ...]:
        return self.own_addresses

    def peers(self) -> list[PeerInfo]:
        return self.known

    def learn(self, peer: bytes, addresses: tuple[str, ...]) -> None:
        self.learned.append((peer, addresses))

    def subscribe(self, topic: str, judge: Any, deliver: Any) -> None:
        self.judges[topic], self.deliveries[topic] = judge, deliver

    async def publish(self, topic: str, message: bytes) -> None:
        self.published.append((topic, message))
        await trio.lowlevel.checkpoint()

    def serve(self, protocol: str, handler: Any, *, max_request: int) -> None:
        self.handlers[protocol] = handler

    def serve_stream(self, protocol: str, handler: Any) -> None:
        self.stream_handlers[protocol] = handler

    async def request(
        self, peer: bytes, protocol: str, request: bytes, *, timeout: float, max_response: int = 65536
    ) -> bytes:
        await trio.lowlevel.checkpoint()
        self.requests.append((peer, protocol, request))
        return self.answer(peer, protocol, request)

    async def open_stream(self, peer: bytes, protocol: str) -> MemoryStream:
        await trio.lowlevel.checkpoint()
        if self.unreachable:
            raise PeerUnreachable("nobody is there")
        near, far = stream_pair(self.key, peer, lambda: 0.0, lambda: 0.0)
        self.far_ends.append(far)
        return near

    def penalise(self, peer: bytes, reason: str) -> None:
        self.penalties.append((peer, reason))

    async def ask(self, peer: bytes, protocol: str, request: bytes) -> Any:
        """What the node answers to a peer's request, decoded."""
        return codec.unpack(await self.handlers[protocol](peer, request), limit=2**20)

    def call(self, peer: bytes, nursery: trio.Nursery, protocol: str) -> MemoryStream:
        """A stream that ``peer`` opened to the node, served by its handler; returns the peer's end."""
        theirs, ours = stream_pair(peer, self.key, lambda: 0.0, lambda: 0.0)
        nursery.start_soon(self.stream_handlers[protocol], ours)
        return theirs


def _nobody(_peer: bytes, _protocol: str, _request: bytes) -> bytes:
    raise PeerUnreachable("nobody is there")


def machine_class(**changes: Any) -> MachineClass:
    plain = MachineClass(
        name="m0",
        gpu="none",
        simulated=False,
        slots=2,
        gpu_uuids=(),
        vram_mib=0,
        cpu_milli=1_000,
        memory_mib=1_024,
        disk_mib=1_024,
        price=100_000,
        region="eu-west",
        driver="",
        cuda_milli=0,
        runtimes=("runc",),
        isolation="container",
        terms=TERMS,
        settlement=SETTLEMENT,
    )
    return replace(plain, **changes)


@dataclass
class Seller:
    """A provider's desk with one machine on offer. ``tag`` is the offer it has posted."""

    desk: ProviderDesk
    machine: Machine
    network: RecordingNetwork
    journal: MemoryJournal
    clock: SetClock
    tag: Any
    duties: list[tuple[Duty, LeaseBoard]] = field(default_factory=list)

    def award(self, signer: Signer = BUYER, **changes: Any) -> Verified[Award]:
        """What an honest requester signs for the posted offer."""
        dates = {"issued_at": self.clock.now, "expires_at": self.clock.now + 30_000}
        return signer.sign(an_award(self.tag, **({"requester": signer.key} | dates | changes)))

    async def answer(self, award: Verified[Award], *, peer: bytes | None = None, spec: JobSpec = SPEC) -> Any:
        return await self.network.ask(peer or award.signer, "/cfab/award/1", award_request(award, spec))


def award_request(award: Verified[Award], spec: JobSpec = SPEC, salt: bytes = SALT) -> bytes:
    return codec.pack_record(AwardRequest(award=award.raw, spec=codec.pack_record(spec), salt=salt))


@asynccontextmanager
async def a_seller(
    journal: MemoryJournal | None = None, *, rng: random.Random | None = None, **changes: Any
) -> AsyncIterator[Seller]:
    """A desk at work. Its duties are noted and otherwise not done, but for giving slots back."""
    network, clock, journal = RecordingNetwork(), SetClock(), journal or MemoryJournal()
    machine = Machine(machine_class(**changes), SELLER)
    desk = ProviderDesk(
        [machine],
        signer=SELLER,
        wallet=PAYEE_KEY,
        network=network,
        journal=journal,
        clock=clock,
        rng=rng or random.Random(1),
        inventory_changed=lambda: None,
    )
    desk.register()
    await desk.restore()
    seller = Seller(desk, machine, network, journal, clock, machine.post(clock.now, network.addresses()))

    async def perform(what: Duty, board: LeaseBoard) -> None:
        seller.duties.append((what, board))
        if what is not Duty.RELEASE_SLOTS:
            await trio.sleep_forever()

    async with desk.working(perform):
        yield seller


async def a_board(
    journal: MemoryJournal,
    role: Role = Role.PROVIDER,
    *,
    spec: JobSpec = SPEC,
    terms: PaymentTerms = TERMS,
    job_id: str = "",
    now: int = NOW,
    granted: bool = True,
    **changes: Any,
) -> LeaseBoard:
    """The board of a lease between BUYER and SELLER, fresh from its grant; not ``granted`` as older nodes made it."""
    award = BUYER.sign(an_award(terms=terms, max_duration_ms=spec.max_duration_ms, **changes))
    terms_of_lease = Lease(
        provider=SELLER.key,
        lease_id=lease_id_of(BUYER.key, SELLER.key, award.record.bid_id),
        award=award.raw,
        slots=tuple(range(award.record.slots)),
        fencing=1,
        granted_at=now,
    )
    if granted:
        domain = Domain(chain_id=award.record.chain_id, escrow=award.record.escrow)
        terms_of_lease = with_grants(terms_of_lease, award.record.machine, domain, PAYEE_KEY.sign)
    lease = SELLER.sign(terms_of_lease)
    opened = Opened(role=role, lease=lease.raw, spec=codec.pack_record(spec), salt=SALT, job_id=job_id)
    return await open_board(journal, opened, now=now)
