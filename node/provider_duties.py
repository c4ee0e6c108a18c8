"""What a provider does for a lease, stage by stage. Every duty may be cut off and repeated at any point.

The job is frozen before more is given away than the lease's printed exposure. How it is paid for, tick by tick, is
``report_sender``'s part.
"""

from __future__ import annotations

import logging

import msgspec
import trio

from ledger.payee import Payee
from market.cover import cover_wanted
from market.duties import Duty
from market.errors import InvalidRequest
from market.lease import (
    ContainerExited,
    ContainerPaused,
    ContainerResumed,
    ContainerStarted,
    LaneFunded,
    ReclaimConfirmed,
    SettlementConfirmed,
    Stage,
    at_risk,
)
from market.money import format_tokens
from market.records import ExitReason
from node.collector import Collector
from node.cover_duties import CoverGuard
from node.lane_share import describe_share, share_of
from node.lease_board import DETAIL, LeaseBoard
from node.lease_files import LeaseFiles
from node.ports import Clock
from node.provider import ProviderDesk
from node.report_sender import ReportSender
from runtime.ports import ContainerEngine, ContainerLost, ContainerSpec, ContainerState, ImageFailure, exit_reason

log = logging.getLogger(__name__)

_RETRY_S = 0.5
_STOP_GRACE_MS = 10_000
_HARD_STOP_SLACK_MS = 60_000
_STARTED = ("running", "exited")


class ProviderDuties:
    """Carries out provider duties against the engine, the payee's books and the requester.

    Args:
        reports: asks the requester for what is owed.
        node_id: label on containers, so that two nodes on one engine never touch each other's.
        poll_s: how often the chain is asked while waiting for it.
        collector: redeems what a requester that is gone left unpaid, and tells what happens to lanes.
    """

    def __init__(
        self,
        desk: ProviderDesk,
        *,
        reports: ReportSender,
        engine: ContainerEngine,
        payee: Payee,
        files: LeaseFiles,
        clock: Clock,
        node_id: str,
        poll_s: float,
        collector: Collector,
    ) -> None:
        self._desk = desk
        self._reports = reports
        self._engine = engine
        self._payee = payee
        self._files = files
        self._clock = clock
        self._node_id = node_id
        self._poll_s = poll_s
        self._collector = collector
        self._cover = CoverGuard(payee, clock, poll_s=poll_s)

    async def perform(self, what: Duty, board: LeaseBoard) -> None:
        """Do one duty. Raises Unavailable or PeerUnreachable when the world is in the way; the driver repeats it."""
        match what:
            case Duty.CONFIRM_FUNDING:
                await self._confirm_funding(board)
            case Duty.START_CONTAINER:
                await self._start_container(board)
            case Duty.KEEP_RUNNING:
                await self._keep_running(board)
            case Duty.WIND_DOWN:
                await self._wind_down(board)
            case Duty.COLLECT:
                await self._collect(board)
            case Duty.RELEASE_SLOTS:
                await self._release(board)

    async def _confirm_funding(self, board: LeaseBoard) -> None:
        state, cover = board.state, cover_wanted(board.state, board.spec.fund_ahead_ms)
        while not await self._payee.admit(board.lease_id, board.lane, cap=state.cap, cover=cover):
            await trio.sleep(self._poll_s)
        await board.record(LaneFunded(at=self._clock.now_ms(), amount=cover))
        log.info(
            "lease %s is funded: it earns at most %s tokens, of which at most %s can be lost",
            *(board.lease_id.hex()[:8], format_tokens(state.cap), format_tokens(at_risk(state))),
        )

    async def _start_container(self, board: LeaseBoard) -> None:
        name = board.lease_id.hex()
        await self._files.wait_inputs(board)
        state = await self._engine.state(name)
        if state is None or state.phase not in _STARTED:
            try:
                state = await self._create_and_start(board, name)
            except ImageFailure as failure:
                await self._failed_to_start(board, ExitReason.IMAGE, failure.reason)
                return
            except ContainerLost as error:
                await self._failed_to_start(board, ExitReason.LOST, str(error))
                return
            except InvalidRequest as error:
                await self._failed_to_start(board, ExitReason.START_FAILED, error.message)
                return
        if state.error:
            await self._failed_to_start(board, ExitReason.START_FAILED, state.error)
            return
        await board.record(ContainerStarted(at=self._clock.now_ms(), started_at=state.started_at))

    async def _create_and_start(self, board: LeaseBoard, name: str) -> ContainerState:
        image = await self._engine.ensure_image(board.spec.image)
        await self._engine.ensure_created(self._container_spec(board, image))
        for index, item in enumerate(board.spec.inputs):
            await self._engine.put_files(name, item.target, str(self._files.input_path(board.lease_id, index)))
        return await self._engine.ensure_started(name)

    def _container_spec(self, board: LeaseBoard, image: str) -> ContainerSpec:
        sold = self._desk.machines.get(board.award.record.machine)
        if sold is None:
            raise InvalidRequest("the owner has taken this machine off the market", code="no_such_machine")
        spec, machine = board.spec, sold.description
        count = len(board.lease.record.slots)
        return ContainerSpec(
            lease_id=board.lease_id.hex(),
            node_id=self._node_id,
            fencing=board.lease.record.fencing,
            image=image,
            command=spec.command,
            env=spec.env,
            cpu_milli=machine.cpu_milli * count,
            memory_mib=machine.memory_mib * count,
            disk_mib=machine.disk_mib * count,
            shm_mib=spec.shm_mib,
            network=spec.network,
            runtime=spec.requirements.runtime,
            gpu_uuids=self._desk.gpu_uuids(board),
            stop_after_ms=spec.max_duration_ms + _HARD_STOP_SLACK_MS,
        )

    async def _failed_to_start(self, board: LeaseBoard, reason: ExitReason, detail: str) -> None:
        log.info("lease %s could not start: %s", board.lease_id.hex()[:8], detail)
        await board.note(DETAIL, detail.encode(), self._clock.now_ms())
        await board.record(ContainerExited(at=self._clock.now_ms(), reason=reason, exit_code=-1))

    async def _keep_running(self, board: LeaseBoard) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._await_exit, board)
            # A report that waits for its answer must not hold up the frost: that wait would be work given away.
            frost = trio.Lock()
            nursery.start_soon(self._collect_payments, board, frost)
            nursery.start_soon(self._freeze_when_overdue, board, frost)
            nursery.start_soon(self._enforce_time_limit, board)
            nursery.start_soon(self._cover.mind, board)

    async def _await_exit(self, board: LeaseBoard) -> None:
        try:
            state = await self._engine.wait_exit(board.lease_id.hex())
        except ContainerLost:
            now = self._clock.now_ms()
            await board.record(ContainerExited(at=now, reason=ExitReason.LOST, exit_code=-1, finished_at=now))
            return
        await self._record_exit(board, state)

    async def _enforce_time_limit(self, board: LeaseBoard) -> None:
        """End the job at its maximum duration. The engine's own hard stop is later, for when this node is gone."""
        state = board.state
        while (left := state.running_since + state.max_duration_ms + state.paused_ms - self._clock.now_ms()) > 0:
            await trio.sleep(left / 1000)
            state = board.state
        await board.record(ContainerExited(at=self._clock.now_ms(), reason=ExitReason.TIME_LIMIT, exit_code=-1))

    async def _record_exit(self, board: LeaseBoard, state: ContainerState) -> None:
        if state.error:
            await board.note(DETAIL, state.error.encode(), self._clock.now_ms())
        await board.record(
            ContainerExited(
                at=self._clock.now_ms(),
                reason=exit_reason(state),
                exit_code=state.exit_code,
                finished_at=state.finished_at,
            )
        )

    async def _record_end(self, board: LeaseBoard, state: ContainerState | None) -> None:
        if state is not None:
            await self._record_exit(board, state)
            return
        # Nothing is left to ask when it ended; without an end its meter would run on.
        now = self._clock.now_ms()
        await board.record(ContainerExited(at=now, reason=ExitReason.LOST, exit_code=-1, finished_at=now))

    async def _collect_payments(self, board: LeaseBoard, frost: trio.Lock) -> None:
        """Report at once, so that the requester's stopwatch starts with ours, and then at every tick."""
        tick_s = board.state.terms.tick_ms / 1000
        while True:
            if await self._reports.send(board, final=False):
                await self._thaw(board, frost)
                await trio.sleep(tick_s)
            else:
                await trio.sleep(min(_RETRY_S, tick_s))

    async def _freeze_when_overdue(self, board: LeaseBoard, frost: trio.Lock) -> None:
        while True:
            left = board.state.freeze_at - self._clock.now_ms()
            if left > 0:
                await trio.sleep(left / 1000)
            elif board.state.paused_at:
                await board.wait_change()
            else:
                await self._freeze(board, frost)

    async def _freeze(self, board: LeaseBoard, frost: trio.Lock) -> None:
        async with frost:
            if self._clock.now_ms() >= board.state.freeze_at and not board.state.paused_at:
                await self._engine.ensure_paused(board.lease_id.hex())
                await board.record(ContainerPaused(at=self._clock.now_ms()))

    async def _thaw(self, board: LeaseBoard, frost: trio.Lock) -> None:
        async with frost:
            # A payment for only a part of what is owed does not end the frost.
            if 0 < board.state.paused_at < board.state.freeze_at:
                await self._engine.ensure_resumed(board.lease_id.hex())
                await board.record(ContainerResumed(at=self._clock.now_ms()))

    async def _wind_down(self, board: LeaseBoard) -> None:
        name = board.lease_id.hex()
        state = await self._engine.ensure_stopped(name, grace_ms=_STOP_GRACE_MS)
        if not board.state.finished_at and (state is not None or board.state.started_at):
            await self._record_end(board, state)
        if board.state.finished_at:
            # The cards are idle; only the files wait to be fetched.
            self._desk.free_slots_of(board)
        while board.state.stage is Stage.ENDING:
            # A report that was signed but not answered goes first: its number must not be used twice.
            final = board.pending is None or board.pending.record.final
            if not await self._reports.send(board, final=final):
                await trio.sleep(_RETRY_S)

    async def _collect(self, board: LeaseBoard) -> None:
        await self._release(board)
        owed = self._payee.owed_cumulative(board.lane)
        while True:
            news = self._collector.news(board.lane)
            lane = await self._payee.lane_on_chain(board.lane)
            if board.state.paid == 0 or lane.claimed >= owed:
                await self._note_settled(board, lane.claimed)
                fact = SettlementConfirmed(at=self._clock.now_ms(), transaction=b"", paid=board.state.paid)
                await board.record(fact)
                return
            if lane.balance == lane.claimed:
                # The payer's exit was over before we came back: what our vouchers were for is no longer there.
                await self._note_settled(board, lane.claimed)
                await board.record(ReclaimConfirmed(at=self._clock.now_ms(), transaction=b"", paid=board.state.paid))
                return
            await self._collector.wait(news)

    async def _note_settled(self, board: LeaseBoard, claimed: int) -> None:
        share = share_of(board, claimed)
        await board.note("settled", msgspec.json.encode(describe_share(share, ())), self._clock.now_ms())

    async def _release(self, board: LeaseBoard) -> None:
        name = board.lease_id.hex()
        await self._engine.ensure_removed(name)
        await self._payee.release(board.lease_id)
        self._files.drop(board.lease_id)
        self._desk.free_slots_of(board)
