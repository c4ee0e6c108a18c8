"""What the local API can ask of this node: the implementation of ``control.NodeControl``. Reads, and hands on."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import trio

from bootstrap.identity import peer_id_of
from ledger.ports import Journal
from market.duties import Role
from market.errors import InvalidRequest, Unavailable
from market.money import parse_hourly_price
from node import views
from node.active_job import Job
from node.config import NodeConfig
from node.control import (
    TERMINAL_EVENTS,
    JobView,
    Json,
    LogPiece,
    OfferView,
    ReceiptView,
    WalletView,
    money,
    price_view,
    rfc3339,
)
from node.control import Check as HealthCheck
from node.cover_duties import in_stretches
from node.drawn import drawn_view
from node.health import health_checks
from node.job_file.request import JobRequest
from node.job_journal import LEASED, PREFIX, Submitted, history
from node.lease_board import PREFIX as LEASE_PREFIX
from node.lease_board import LeaseBoard, load_board
from node.market_shapes import BidView, DepthView, HistoryBar
from node.market_window import MarketWindow
from node.money_at_risk import redeem_before_leaving, tower_views, watch_view
from node.offer_intake import OfferIntake
from node.plan_shapes import ExplainView, PlanView
from node.planner import Planner
from node.ports import Clock, Network
from node.receipt_archive import ReceiptArchive
from node.trading import Selling, TradingNode, World
from node.wallet_control import WalletControl

VERSION = "0.1.0"
_LOG_PIECE = 64 * 1024
_LOG_POLL_S = 0.2


class NodeService:
    """A running node as seen by its owner.

    Args:
        market: what the node sees of it.
        stop: called when the owner asks the node to stop.
        trading: None on a node without a chain, which can only be looked at.
    """

    def __init__(
        self,
        config: NodeConfig,
        *,
        network: Network,
        intake: OfferIntake,
        market: MarketWindow,
        clock: Clock,
        journal: Journal | None,
        world: World | None,
        trading: TradingNode | None,
        stop: trio.Event,
        wallet_desk: WalletControl | None = None,
    ) -> None:
        self._config = config
        self._wallet_desk = wallet_desk
        self._network = network
        self._intake = intake
        self._market = market
        self._clock = clock
        self._journal = journal
        self._world = world
        self._trading = trading
        self._stop = stop
        self._started_at = clock.now_ms()

    @property
    def wallet_desk(self) -> WalletControl:
        self._buying()
        assert self._wallet_desk is not None
        return self._wallet_desk

    async def status(self) -> Json:
        config = self._config
        jobs = await self._journal.streams(PREFIX) if self._journal else []
        known = {"introducer": config.introducer, "provider": config.provide, "watchtower": config.watch.serve}
        return {
            "version": VERSION,
            "name": config.name,
            "key": self._network.key.hex(),
            "peer_id": peer_id_of(self._network.key),
            "roles": [name for name, on in known.items() if on] + (["requester"] if self._trading else []),
            "started_at": rfc3339(self._started_at),
            "addresses": list(self._network.addresses()),
            "peers": [
                {
                    "key": peer.key.hex(),
                    "peer_id": peer.peer_id,
                    "addresses": list(peer.addresses),
                    "rtt_ms": peer.rtt_us / 1000,
                }
                for peer in self._network.peers()
            ],
            "offers": len(self._intake.book),
            "dropped": dict(self._intake.dropped),
            "jobs": {"active": len(self._trading.buying.desk.jobs) if self._trading else 0, "total": len(jobs)},
            "chain": await self._chain_view(),
            "provider": self._provider_view(),
            "watch": watch_view(self._trading),
        }

    async def offers(self, query: Json) -> list[OfferView]:
        return self._market.offers(query)

    async def bids(self) -> list[BidView]:
        return self._market.bids()

    async def depth(self, query: Json) -> list[DepthView]:
        return self._market.depth(query)

    async def history(self, query: Json) -> list[HistoryBar]:
        return self._market.history(query)

    async def submit(self, request: Json) -> Json:
        asked = in_stretches(JobRequest.from_json(request), self._config.requester.fund_ahead_ms)
        jobs = await self._buying().desk.submit_all(asked)
        return {"job": jobs[0], "jobs": jobs} if len(jobs) > 1 else {"job": jobs[0]}

    async def plan(self, request: Json) -> PlanView:
        return await self._planner().plan(JobRequest.from_json(request))

    async def award_file(self, job: str) -> Json:
        await self._read_job(job)
        return {"job": job, "file": base64.b64encode(await self._buying().desk.award_file(job)).decode()}

    async def explain(self, job: str) -> ExplainView:
        submitted, _ = await self._read_job(job)
        return await self._planner().explain(job, submitted, self._buying().desk.jobs.get(job))

    async def jobs(self) -> list[JobView]:
        if self._journal is None:
            return []
        found = [await self.job(stream.removeprefix(PREFIX)) for stream in await self._need_journal().streams(PREFIX)]
        return found[::-1]

    async def job(self, job: str) -> JobView:
        submitted, board = await self._read_job(job)
        return views.job_view(job, submitted, await history(self._need_journal(), job), board)

    async def job_events(self, job: str, *, after: int = 0) -> AsyncIterator[Json]:
        await self._read_job(job)
        while True:
            active = self._buying().desk.jobs.get(job)
            events = await history(self._need_journal(), job)
            for event in events[after:]:
                yield event
            after = max(after, len(events))
            if active is None or (events and events[-1]["type"] in TERMINAL_EVENTS):
                return
            # Something may have been added while the events were being sent; the bell only rings for later ones.
            if len(await history(self._need_journal(), job)) == after:
                await _wait_ring(active)

    async def logs(self, job: str, *, offset: int = 0, follow: bool = False) -> AsyncIterator[LogPiece]:
        await self._read_job(job)
        files = self._buying().files
        while True:
            active = self._buying().desk.jobs.get(job)
            over = active is None or (active.board is not None and files.log_ended(active.board))
            path = trio.Path(files.log_path(job))
            if await path.exists():
                async with await path.open("rb") as file:
                    await file.seek(offset)
                    while data := await file.read(_LOG_PIECE):
                        yield {"offset": offset, "data": data}
                        offset += len(data)
            if over or not follow:
                return
            await trio.sleep(_LOG_POLL_S)

    async def cancel(self, job: str) -> JobView:
        await self._read_job(job)
        active = self._buying().desk.jobs.get(job)
        if active is not None:
            await self._buying().desk.cancel(active)
        return await self.job(job)

    async def receipts(self, job: str | None = None) -> list[ReceiptView]:
        journal = self._need_journal()
        found: list[ReceiptView] = []
        for stream in await journal.streams(LEASE_PREFIX):
            board = await load_board(journal, stream)
            if job is not None and board.job_id != job:
                continue
            settled = None
            for entry in await journal.read(stream):
                if entry.kind == "settled":
                    settled = msgspec.json.decode(entry.body)
            found.append(views.receipt_view(board, board.job_id, settled, gpu=await self._gpu_of(board)))
        return found[::-1]

    def receipt_evidence(self, job: str | None = None) -> AsyncIterator[Json]:
        return self._archive().evidence(job)

    async def receipts_on_chain(self, lane: Json) -> Json:
        return await self._archive().on_chain(lane)

    def _archive(self) -> ReceiptArchive:
        journal, history = self._need_journal(), self._buying().history
        return ReceiptArchive(journal, self._need_world().chain, history, gpu_of=self._gpu_of)

    async def _gpu_of(self, board: LeaseBoard) -> str:
        """The model behind a lease: as our machine has it, or as the offer said when we took it."""
        selling = self._trading.selling if self._trading else None
        if selling and board.role is Role.PROVIDER:
            machine = selling.desk.machines.get(board.award.record.machine)
            return machine.description.gpu if machine else ""
        for entry in await self._need_journal().read(PREFIX + board.job_id):
            if entry.kind == LEASED:
                return str(msgspec.json.decode(entry.body).get("gpu", ""))
        return ""

    async def wallet(self) -> WalletView:
        world, buying = self._need_world(), self._buying()
        lanes, selling = buying.payer.summary(), self._trading.selling if self._trading else None
        return {
            "account": "0x" + world.chain.account.hex(),
            "signer": "0x" + world.session_key.address.hex(),
            "tokens": money(await world.chain.token_balance(world.chain.account)),
            "gas": str(await world.chain.gas_balance(world.chain.account)),
            "held": money(sum(lane.held for lane in lanes)),
            "lanes": [views.lane_view(lane) for lane in lanes],
            "paid_lanes": [views.lane_view(lane) for lane in selling.payee.summary()] if selling else [],
            "payout_to": "0x" + payout.hex() if (payout := self._config.payout.address) else None,
            "left_today": money(buying.payer.left_today()) if buying.payer.limit else None,
        }

    async def exit_lane(self, payee: str) -> Json:
        try:
            account = bytes.fromhex(payee.removeprefix("0x"))
        except ValueError:
            account = b""
        if len(account) != 20:
            raise InvalidRequest(f"'{payee[:80]}' is not an account", code="invalid_request")
        payer = self._buying().payer
        if (finished := await payer.finish_exit_when_due(account)) is not None:
            return {"transaction": "0x" + finished.hash.hex(), "exit_at": None, "finished": True}
        begun = await payer.begin_exit(account)
        lane = await self._need_world().chain.lane(payer.lane(account))
        if not lane.exit_at and begun is None:
            raise InvalidRequest("this lane holds nothing", code="nothing_held")
        return {
            "transaction": "0x" + begun.hash.hex() if begun else None,
            "exit_at": rfc3339(lane.exit_at * 1000) if lane.exit_at else None,
            "finished": False,
        }

    async def doctor(self) -> list[HealthCheck]:
        return await health_checks(self._config, self._network, self._intake, self._world, self._trading)

    async def provider_pause(self) -> Json:
        return self._set_draining(True)

    async def provider_resume(self) -> Json:
        return self._set_draining(False)

    async def provider_price(self, price: str, machine: str = "") -> Json:
        asked, selling = parse_hourly_price(price), self._selling()
        if not asked:
            raise InvalidRequest(
                f"'{price.strip()[:32]}' would give the machine away",
                code="price_of_nothing",
                fix="'cfab provider price' proposes one; to take no more jobs: cfab provider pause",
            )
        chosen = [one for one in selling.machines if machine in ("", one.description.name)]
        if not chosen:
            names = ", ".join(one.description.name for one in selling.machines)
            raise InvalidRequest(f"there is no machine '{machine[:64]}'", code="not_found", fix=f"one of {names}")
        for one in chosen:
            one.check_price(asked)
        for one in chosen:
            one.reprice(asked)
        return self._provider_changed(selling)

    async def shutdown(self) -> None:
        await redeem_before_leaving(self._trading)
        self._stop.set()

    def _set_draining(self, draining: bool) -> Json:
        selling = self._selling()
        for machine in selling.machines:
            machine.draining = draining
        return self._provider_changed(selling)

    def _provider_changed(self, selling: Selling) -> Json:
        """Tell the market, and the owner."""
        selling.poster.changed()
        view = self._provider_view()
        assert view is not None
        return view

    def _selling(self) -> Selling:
        selling = self._trading.selling if self._trading else None
        if selling is None:
            raise InvalidRequest(
                "this node sells nothing", code="not_a_provider", fix="start it with 'cfab up --provide'"
            )
        return selling

    def _provider_view(self) -> Json | None:
        selling = self._trading.selling if self._trading else None
        if selling is None:
            return None
        first, settled = selling.machines[0], drawn_view(selling.payee.summary())
        return {
            "paused": first.draining,
            "machine": first.description.name,
            "gpu": first.description.gpu,
            "price": price_view(first.description.price),
            "total_slots": sum(machine.description.slots for machine in selling.machines),
            "free_slots": sum(machine.inventory.free_slots for machine in selling.machines),
            "earned": settled["vouched"],
            "settled": settled,
            "unredeemed": money(selling.collector.unredeemed()),
            "trouble": selling.collector.trouble,
            "towers": tower_views(selling),
            "leases": [views.lease_line(board) for board in selling.desk.boards.values()],
        }

    async def _chain_view(self) -> Json | None:
        chain, world = self._config.chain, self._world
        if chain is None or world is None:
            return None
        try:
            head: int | None = (await world.chain.head()).number
        except Unavailable:
            head = None
        return {
            "chain_id": chain.chain_id,
            "escrow": "0x" + chain.escrow.hex(),
            "token": "0x" + chain.token.hex(),
            "account": "0x" + world.chain.account.hex(),
            "head": head,
            "reachable": head is not None,
            **views.chain_way(world.chain_health() if world.chain_health else None),
        }

    async def _read_job(self, job: str) -> tuple[Submitted, LeaseBoard | None]:
        journal = self._need_journal()
        entries = await journal.read(PREFIX + job)
        if not entries:
            raise InvalidRequest(f"there is no job '{job}'", code="not_found", fix="'cfab ps -a' lists all jobs")
        submitted = msgspec.json.decode(entries[0].body, type=Submitted)
        leases = [msgspec.json.decode(entry.body)["lease"] for entry in entries if entry.kind == LEASED]
        board = await load_board(journal, LEASE_PREFIX + leases[-1]) if leases else None
        return submitted, board

    def _buying(self) -> Any:
        if self._trading is None:
            raise InvalidRequest(
                "this node has no chain to pay on", code="no_chain", fix="add a [chain] section to its config"
            )
        return self._trading.buying

    def _planner(self) -> Planner:
        buying = self._buying()
        return Planner(buying.desk.search, self._need_journal(), runs=buying.experience.runs)

    def _need_journal(self) -> Journal:
        self._buying()
        assert self._journal is not None
        return self._journal

    def _need_world(self) -> World:
        self._buying()
        assert self._world is not None
        return self._world


async def _wait_ring(job: Job) -> None:
    # A watchdog beside the bell: a job that ends rings last before it is forgotten, and must not leave us waiting.
    with trio.move_on_after(1.0):
        await job.wait_ring()
