"""The selling side: answers awards, owns the machines' inventory, and keeps one driver per lease.

Reserve before promise: slots are set aside in memory, then the lease is made durable, then it is signed away. A crash
in between costs nothing, because nobody has seen the lease yet.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import trio

from ledger.payee import Wallet
from ledger.ports import OLD_COPY, Journal, LaneKey
from ledger.statement import with_grants
from ledger.voucher import Domain, check_lane_proof
from market import codec, inventory
from market.duties import Role
from market.errors import BrokenInvariant, PeerFault, Unavailable
from market.feasibility import RULES, Candidate, Limits
from market.lease import OVER, DeadlinePassed, LeaseState, Stage, is_legal
from market.records import Award, ExitReason, JobSpec, Lease, Offer, Refusal, RefusalReason
from market.signing import Signer, Verified, spec_hash, verify
from node import wire
from node.grant_limits import GIVEN_BACK_MS, GrantLimits
from node.job_file.request import asked_twice, is_plain_path
from node.lane_subjects import award_subject
from node.lease_board import PREFIX, LeaseBoard, Opened, lease_id_of, load_board, open_board
from node.lease_driver import Perform, drive_lease
from node.machine import Machine
from node.ports import Clock, Network
from runtime.reconcile import KnownLease

log = logging.getLogger(__name__)

MAX_OPEN_LEASES = 4096
_WORK = "/work"
_HOLDS_SLOTS = frozenset({Stage.GRANTED, Stage.FUNDED, Stage.RUNNING})
_NOT_OURS = frozenset({"reputation", "price"})
"""Rules that a provider does not hold an award to: what others think of it, and the price, which was judged before and
may be that of its own quote, below the tag."""


class AwardRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a requester sends to the winner: the signed award, and the spec its bid only committed to."""

    award: bytes
    spec: bytes
    salt: bytes


class ProviderDesk:
    """All leases this node sells.

    Attributes:
        boards: open leases by id.
        machines: what is for sale, by name.
    """

    def __init__(
        self,
        machines: list[Machine],
        *,
        signer: Signer,
        wallet: Wallet,
        network: Network,
        journal: Journal,
        clock: Clock,
        rng: random.Random,
        inventory_changed: Callable[[], None],
    ) -> None:
        self.machines = {machine.description.name: machine for machine in machines}
        self.boards: dict[bytes, LeaseBoard] = {}
        self._signer = signer
        self._wallet = wallet
        self._network = network
        self._journal = journal
        self._clock = clock
        self._rng = rng
        self._inventory_changed = inventory_changed
        self._granting = trio.StrictFIFOLock()
        self._limits = GrantLimits()
        self._nursery: trio.Nursery | None = None
        self._perform: Perform | None = None

    def register(self) -> None:
        """Answer awards. Call before the network talks."""
        self._network.serve(wire.PROTOCOL_AWARD, self._answer_award, max_request=wire.MAX_REQUEST)

    async def restore(self) -> list[KnownLease]:
        """Read every lease of ours back from the journal and put it on its slots.

        Returns:
            All leases this node ever sold, for telling its own containers from strays.

        Raises:
            BrokenInvariant: the journal gives one slot to two leases.
        """
        known: list[KnownLease] = []
        copied_at = max((entry.position for entry in await self._journal.read(OLD_COPY)), default=0)
        for stream in await self._journal.streams(PREFIX):
            board = await load_board(self._journal, stream)
            if board.role is not Role.PROVIDER:
                continue
            self._put_back(board)
            over = board.state.stage in OVER
            known.append(KnownLease(lease_id=board.lease_id.hex(), fencing=board.lease.record.fencing, over=over))
            if not over:
                self.boards[board.lease_id] = board
                if board.position < copied_at:
                    await self._sign_no_more(board)
        return known

    async def _sign_no_more(self, board: LeaseBoard) -> None:
        """End a lease of an old copy of the journal. Receipts may have been signed of which the copy knows nothing: the
        next one would have the number of one of those, and anybody who holds both could burn the stake."""
        while is_legal(board.state, fact := DeadlinePassed(at=self._clock.now_ms())):
            log.warning("lease %s ends: the journal is an old copy", board.lease_id.hex()[:8])
            await board.record(fact)

    @asynccontextmanager
    async def working(self, perform: Perform) -> AsyncIterator[None]:
        """Drive every open lease, and those granted later, until the block is left; it stops them where they stand."""
        self._perform = perform
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for board in self.boards.values():
                nursery.start_soon(self._drive, board)
            yield
            nursery.cancel_scope.cancel()

    def board(self, lease_id: bytes, requester: bytes) -> LeaseBoard:
        """The open lease of that id.

        Raises:
            Unavailable: there is none, or it belongs to another requester. Both look alike to a stranger. Not a fault:
                a partition is enough for an honest requester to ask about a lease that is over here.
        """
        board = self.boards.get(lease_id)
        if board is None or board.requester != requester:
            raise Unavailable("no such lease", code="unknown_lease")
        return board

    def free_slots_of(self, board: LeaseBoard) -> None:
        """The container is gone: its slots may be sold again. Safe to repeat."""
        machine = self.machines.get(board.award.record.machine)
        if machine is None:
            return
        before = machine.inventory.free_slots
        machine.inventory = inventory.release(machine.inventory, board.lease_id)
        if machine.inventory.free_slots != before:
            self._inventory_changed()

    def gpu_uuids(self, board: LeaseBoard) -> tuple[str, ...]:
        """The cards behind this lease's slots; empty on a machine without real cards."""
        machine = self.machines.get(board.award.record.machine)
        uuids = machine.description.gpu_uuids if machine else ()
        return tuple(uuids[slot] for slot in board.lease.record.slots if slot < len(uuids))

    async def _drive(self, board: LeaseBoard) -> None:
        assert self._perform is not None
        await drive_lease(board, self._perform, self._clock, rng=self._rng)
        state = board.state
        self._limits.ended(
            board.requester,
            paid=state.paid > 0 or state.price == 0,
            now=self._clock.now_ms(),
            given_back=_was_given_back(state, board.lease.record.granted_at),
        )
        self.free_slots_of(board)
        self.boards.pop(board.lease_id, None)

    async def _answer_award(self, peer: bytes, request: bytes) -> bytes:
        asked = codec.unpack_record(request, AwardRequest, limit=wire.MAX_REQUEST)
        award = verify(asked.award, Award)
        if award.signer != peer or award.record.provider != self._signer.key:
            raise PeerFault("an award that is not this peer's, or not for us", code="wrong_award")
        _check_lane(award.record)
        # One award at a time: the question "is it free?" and the answer "it is yours" must not be pulled apart.
        async with self._granting:
            lease_id = lease_id_of(peer, self._signer.key, award.record.bid_id)
            if (granted := await self._already_granted(lease_id)) is not None:
                return codec.pack({"lease": granted})
            reason, detail = self._why_not(award, asked)
            if reason is not None:
                return codec.pack({"refusal": self._refuse(award.record, reason, detail).raw})
            try:
                board = await self._grant(award, asked, lease_id)
            except Unavailable as error:
                refusal = self._refuse(award.record, RefusalReason.NOT_ADMITTED, error.message)
                return codec.pack({"refusal": refusal.raw})
        return codec.pack({"lease": board.lease.raw})

    async def _already_granted(self, lease_id: bytes) -> bytes | None:
        """The answer to an award that came twice (its first answer was lost on the way) is the same lease."""
        if (board := self.boards.get(lease_id)) is not None:
            return board.lease.raw
        # Not replayed: of a long lease that is thousands of signatures, and its requester may ask again and again.
        entries = await self._journal.read(PREFIX + lease_id.hex())
        return msgspec.msgpack.decode(entries[0].body, type=Opened).lease if entries else None

    def _why_not(self, award: Verified[Award], asked: AwardRequest) -> tuple[RefusalReason | None, str]:
        record = award.record
        machine = self.machines.get(record.machine)
        if machine is None:
            return RefusalReason.UNKNOWN_OFFER, "no such machine here"
        now = self._clock.now_ms()
        tags = machine.tags(now)
        reason = inventory.judge_award(record, tags, machine.inventory, now=now, draining=machine.draining)
        if reason is not None:
            return reason, ""
        if len(self.boards) >= MAX_OPEN_LEASES or self._nursery is None:
            return RefusalReason.NOT_ADMITTED, "this node takes no more leases now"
        unfunded = sum(
            board.requester == award.signer and board.state.stage is Stage.GRANTED for board in self.boards.values()
        )
        if not self._limits.may_grant(award.signer, unfunded=unfunded, now=now):
            return RefusalReason.NOT_ADMITTED, "fund the leases you were granted before asking for more"
        tag = next(offer.record for offer in tags if offer.id == record.offer_id)
        return self._judge_spec(record, asked, Candidate(offer=tag, free_slots=machine.inventory.free_slots))

    def _judge_spec(self, award: Award, asked: AwardRequest, candidate: Candidate) -> tuple[RefusalReason | None, str]:
        try:
            spec = codec.unpack_record(asked.spec, JobSpec, limit=wire.MAX_REQUEST)
        except PeerFault as fault:
            return RefusalReason.BAD_SPEC, fault.message
        if spec_hash(spec, asked.salt) != award.spec_hash:
            return RefusalReason.BAD_SPEC, "the spec is not the one the award commits to"
        if (spec.requirements.slots, spec.max_duration_ms) != (award.slots, award.max_duration_ms):
            return RefusalReason.BAD_SPEC, "slots or duration differ between spec and award"
        if (problem := _unwanted(spec, candidate.offer)) is not None:
            return RefusalReason.BAD_SPEC, problem
        limits = Limits(max_price=award.price, chain_id=award.chain_id, escrow=award.escrow)
        for name, holds in RULES:
            if name not in _NOT_OURS and not holds(candidate, spec.requirements, limits):
                return RefusalReason.BAD_SPEC, f"the job asks for more than the offer has ({name})"
        return None, ""

    async def _grant(self, award: Verified[Award], asked: AwardRequest, lease_id: bytes) -> LeaseBoard:
        machine = self.machines[award.record.machine]
        now = self._clock.now_ms()
        # Not below the clock: a number that a lost journal has used already must not be used for another lease.
        least = inventory.fencing_from(now, self._rng.randrange(inventory.FENCING_LUCK))
        reserved = inventory.reserve(machine.inventory, lease_id, award.record.slots, at_least=least)
        if reserved is None:
            raise BrokenInvariant("capacity vanished between judging and granting an award")
        machine.inventory = reserved.inventory
        machine.note_grant(award.record.bid_id, now)
        terms = Lease(
            provider=self._signer.key,
            lease_id=lease_id,
            award=award.raw,
            slots=reserved.slots,
            fencing=reserved.fencing,
            granted_at=now,
        )
        domain = Domain(chain_id=award.record.chain_id, escrow=award.record.escrow)
        lease = self._signer.sign(with_grants(terms, award.record.machine, domain, self._wallet.sign))
        opened = Opened(role=Role.PROVIDER, lease=lease.raw, spec=asked.spec, salt=asked.salt)
        try:
            board = await open_board(self._journal, opened, now=now)
        except BaseException:
            machine.inventory = inventory.release(machine.inventory, lease_id)
            raise
        self.boards[lease_id] = board
        self._inventory_changed()
        assert self._nursery is not None
        self._nursery.start_soon(self._drive, board)
        return board

    def _refuse(self, award: Award, reason: RefusalReason, detail: str) -> Verified[Refusal]:
        machine = self.machines.get(award.machine)
        tags = machine.tags(self._clock.now_ms()) if machine else []
        return self._signer.sign(
            Refusal(
                provider=self._signer.key,
                bid_id=award.bid_id,
                reason=reason,
                detail=detail[:512],
                free_slots=machine.inventory.free_slots if machine else 0,
                version=tags[0].record.version if tags else 0,
                price=tags[0].record.price if tags else 0,
            )
        )

    def _put_back(self, board: LeaseBoard) -> None:
        machine = self.machines.get(board.award.record.machine)
        if machine is None:
            return
        # A lease that is over still counts for the fencing number: it must grow over the machine's whole life.
        slots = board.lease.record.slots if _holds_slots(board) else ()
        try:
            machine.inventory = inventory.restore(machine.inventory, board.lease_id, slots, board.lease.record.fencing)
        except ValueError as error:
            raise BrokenInvariant(str(error)) from None


def _check_lane(award: Award) -> None:
    """A lane is public on the chain; only the holder of its session key may have its deposit set aside."""
    lane = LaneKey(payer=award.payer, payee=award.payee, signer=award.signer)
    domain = Domain(chain_id=award.chain_id, escrow=award.escrow)
    check_lane_proof(domain, lane, award_subject(award.requester, award.provider, award.bid_id), award.lane_proof)


def _holds_slots(board: LeaseBoard) -> bool:
    """Until its container is known to have stopped, a lease that is ending still occupies its cards."""
    state = board.state
    return state.stage in _HOLDS_SLOTS or (state.stage is Stage.ENDING and not state.finished_at)


def _was_given_back(state: LeaseState, granted_at: int) -> bool:
    """Whether the requester returned a lease as soon as it knew that it would not use it."""
    cancelled = state.stage is Stage.LAPSED and state.exit_reason is ExitReason.CANCELLED
    return cancelled and state.since - granted_at <= GIVEN_BACK_MS


def _unwanted(spec: JobSpec, offer: Offer) -> str | None:
    """What no machine here gives, whatever it has: said before the slots are taken, not after."""
    if spec.network != "none":
        return f"network '{spec.network}' is not offered here"
    if sum(item.size for item in spec.inputs) > wire.MAX_TRANSFER:
        return "the inputs are larger than this node takes"
    if sum(item.size for item in spec.inputs) > (offer.disk_mib * spec.requirements.slots) << 20:
        return "the inputs are larger than the disk that is sold with the slots"
    if any(not _below_work(path) for path in (*(item.target for item in spec.inputs), *spec.outputs)):
        return f"inputs and outputs live below {_WORK}"
    if (twice := asked_twice(spec.outputs)) is not None:
        return f"output {twice} is named twice, or lies inside another one"
    return None


def _below_work(path: str) -> bool:
    return is_plain_path(path) and (path == _WORK or path.startswith(_WORK + "/"))
