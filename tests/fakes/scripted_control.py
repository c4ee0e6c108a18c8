"""A node without a market: answers like one, from a script. Lets the API and the CLI be tested over a real socket."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio

from market.errors import FabricError, InvalidRequest
from market.money import parse_hourly_price
from market.price_history import take_bars
from node.api import serve_api
from node.control import Check, JobView, Json, LogPiece, OfferView, ReceiptView, WalletView, money, price_view, rfc3339
from node.job_file import JobRequest
from node.market_depth import depth_of
from node.market_shapes import BidView, DepthView, HistoryBar
from node.market_views import bar_view, bid_view
from node.plan_shapes import ExplainView, PlanView
from tests.fakes.samples import BUYER, NOW, SELLER, a_bid, an_offer
from tests.fakes.scripted_wallet import LANE, ScriptedWallet

T0 = 1_700_000_000_000
JOB = "9c" * 16
PROVIDER = "ab" * 32
LEASE = "1e" * 16
HOLD = "hold"
"""In a script: wait here until :meth:`ScriptedControl.release`."""

OFFER: OfferView = {
    "offer": "0f" * 32,
    "provider": PROVIDER,
    "mine": False,
    "machine": "m0",
    "gpu": "RTX4090",
    "simulated": True,
    "free_slots": 1,
    "total_slots": 2,
    "vram_mib": 24_576,
    "cpu_milli": 4_000,
    "memory_mib": 16_384,
    "disk_mib": 10_240,
    "price": price_view(83_334),
    "region": "eu-north",
    "jurisdiction": "se",
    "isolation": "container",
    "runtimes": ["runc"],
    "driver": "",
    "cuda_milli": 0,
    "interruptible": False,
    "notice_ms": 0,
    "speed": 0,
    "net_mbps": 0,
    "reputation": 1000,
    "rtt_ms": None,
    "expires_at": rfc3339(T0 + 60_000),
}
MATCHING: Json = {
    "type": "matching",
    "offers": 5,
    "matches": 1,
    "rejected": [{"rule": "price", "fails": 4, "only": 3}],
    "candidates": [
        {
            "rank": 1,
            "provider": PROVIDER,
            "machine": "m0",
            "gpu": "RTX4090",
            "simulated": True,
            "price": price_view(83_334),
            "expected_cost": money(50_000),
        }
    ],
    "closest": [],
}
LEASED: Json = {
    "type": "leased",
    "lease": LEASE,
    "provider": PROVIDER,
    "machine": "m0",
    "price": price_view(83_334),
    "cap": money(50_000),
    "exposure": money(2_084),
}
RUNNING: Json = {"type": "running", "started_at": rfc3339(T0 + 4_000)}
BEFORE: list[Any] = [
    {"type": "queued"},
    MATCHING,
    LEASED,
    {"type": "funded", "transaction": "0x" + "71" * 32, "amount": money(50_000)},
    {"type": "preparing", "detail": "1 inputs sent, 10 bytes"},
    RUNNING,
    {"type": "paid", "sequence": 1, "gpu_ms": 1_000, "amount": money(84), "final": False},
]
SETTLED: Json = {
    "type": "settled",
    "transaction": "0x" + "72" * 32,
    "deposited": money(50_000),
    "paid": money(84),
    "refunded": money(49_916),
    "vouched": money(84),
    "reclaimed": False,
    "transactions": [{"purpose": "close", "hash": "0x" + "72" * 32, "block": 9}],
    "lane": {
        "deposited": money(950_000),
        "paid": money(900_084),
        "refunded": money(49_916),
        "held": money(0),
        "adds_up": True,
    },
}


def success() -> list[Any]:
    """The events of a job that goes well."""
    outputs = {
        "type": "outputs",
        "files": ["model.json"],
        "count": 1,
        "bytes": 1_234,
        "to": ["/tmp/out"],
        "missing": [],
        "problems": [],
    }
    return [*BEFORE, exited(0), outputs, SETTLED, {"type": "succeeded", "exit_code": 0}]


def program_failure(code: int) -> list[Any]:
    """The events of a job whose program ends with ``code``."""
    failed = {"type": "failed", "code": "exit", "message": "the program failed", "fix": "see its output"}
    return [*BEFORE, exited(code), SETTLED, {**failed, "retryable": False, "exit_code": code}]


def no_match() -> list[Any]:
    """The events of a job that nobody takes."""
    matching = {**MATCHING, "matches": 0, "candidates": []}
    matching["closest"] = [{"rule": "price", "field": "max_price", "value": 200_000}]
    failed = {
        "type": "failed",
        "code": "no_match",
        "message": "no offer fits",
        "fix": "see the table",
        "retryable": True,
    }
    return [{"type": "queued"}, matching, failed]


def exited(code: int) -> Json:
    """The program's end."""
    return {"type": "exited", "reason": "ok" if code == 0 else "error", "exit_code": code}


class ScriptedControl:
    """One job's script, and canned answers for the rest.

    Attributes:
        events: what every submitted job goes through; :data:`HOLD` entries wait for :meth:`release`.
        output: the job's output in pieces; :data:`HOLD` likewise.
        others: members of a gang beside the first: what is shown of each.
        fail: method name → error raised by it.
        submitted: requests as received; ``planned``: those that were only asked about.
        plan_answer, explanation: what those who ask are told.
        evidence: the receipts' originals, in pieces; chain_answer: what the chain says of their lanes.
        calls: names of the verbs that change something, in order.
        streams_open: how many event and log streams are being read.
    """

    def __init__(self, events: list[Any] | None = None, output: list[Any] | None = None) -> None:
        self.events = success() if events is None else events
        self.output: list[Any] = [b"epoch 1\n", b"epoch 2\n"] if output is None else output
        self.others: dict[str, Any] = {}
        self.fail: dict[str, Exception] = {}
        self.submitted: list[JobRequest] = []
        self.planned: list[JobRequest] = []
        self.plan_answer: Any = {}
        self.explanation: Any = {}
        self.wallet_desk = ScriptedWallet()
        self.calls = self.wallet_desk.calls
        self.evidence: list[Json] = []
        self.chain_answer: Json = {}
        self.asked_of_chain: list[Json] = []
        self.streams_open = 0
        self._released = trio.Event()
        self._token: trio.lowlevel.TrioToken | None = None

    def release(self) -> None:
        """Let held scripts go on. May be called from any thread."""
        assert self._token is not None
        self._token.run_sync_soon(self._released.set)

    async def status(self) -> Json:
        self._try("status")
        return {
            "version": "0.1.0", "name": "alice", "key": "cd" * 32, "peer_id": "12D3KooWtest", "roles": ["requester"],
            "started_at": rfc3339(T0), "addresses": ["/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWtest"], "peers": [],
            "offers": 1, "jobs": {"active": 1, "total": 2},
            "chain": {
                "chain_id": 31337, "escrow": "0x00", "token": "0x01", "account": "0x02", "head": 9, "reachable": True,
            },
            "provider": self._provider(),
        }  # fmt: skip

    async def offers(self, query: Json) -> list[OfferView]:
        self._try("offers")
        self.query = query
        return [OFFER]

    async def bids(self) -> list[BidView]:
        self._try("bids")
        return [bid_view(BUYER.sign(a_bid()), mine=False)]

    async def depth(self, query: Json) -> list[DepthView]:
        self._try("depth")
        self.query = query
        return depth_of([OFFER])

    async def history(self, query: Json) -> list[HistoryBar]:
        self._try("history")
        self.query = query
        return [bar_view(bar) for bar in take_bars([SELLER.sign(an_offer())], NOW)]

    async def submit(self, request: Json) -> Json:
        self._try("submit")
        self.submitted.append(JobRequest.from_json(request))
        return {"job": JOB, "jobs": [JOB, *self.others]} if self.others else {"job": JOB}

    async def plan(self, request: Json) -> PlanView:
        self._try("plan")
        self.planned.append(JobRequest.from_json(request))
        return self.plan_answer

    async def award_file(self, job: str) -> Json:
        self._try("award_file")
        return {"job": job, "file": "Y2ZhYg=="}

    async def explain(self, job: str) -> ExplainView:
        self._try("explain")
        return self.explanation

    async def jobs(self) -> list[JobView]:
        self._try("jobs")
        return [await self.job(JOB)] if self.submitted else []

    async def job(self, job: str) -> JobView:
        self._try("job")
        if job not in (JOB, *self.others):
            raise InvalidRequest(f"there is no job '{job}'", code="not_found")
        plain: JobView = {
            "job": JOB, "name": "digits", "gang": None, "state": "running", "image": "python:3.12", "gpu": "RTX4090",
            "provider": PROVIDER, "lease": LEASE, "price": price_view(83_334), "submitted_at": rfc3339(T0),
            "started_at": None, "finished_at": None, "exit_code": None, "exit_reason": None, "spent": money(84),
            "cap": money(50_000), "error": None, "receipt": None, "outputs": [],
        }  # fmt: skip
        return {**plain, **self.others.get(job, {}), "job": job}

    async def job_events(self, job: str, *, after: int = 0) -> AsyncIterator[Json]:
        async for sequence, event in self._play(self.events):
            if sequence > after:
                yield {"seq": sequence, "time": rfc3339(T0 + 1_000 * sequence), **event}

    async def logs(self, job: str, *, offset: int = 0, follow: bool = False) -> AsyncIterator[LogPiece]:
        position = 0
        async for _, piece in self._play(self.output):
            if position + len(piece) > offset:
                skipped = max(0, offset - position)
                yield {"offset": position + skipped, "data": piece[skipped:]}
            position += len(piece)

    async def cancel(self, job: str) -> JobView:
        self._try("cancel")
        view = await self.job(job)
        self.calls.append("cancel")
        return view

    async def receipts(self, job: str | None = None) -> list[ReceiptView]:
        self._try("receipts")
        one: ReceiptView = {
            "receipt": "5e" * 32, "job": JOB, "lease": LEASE, "provider": PROVIDER, "payer": "0x02", "machine": "m0",
            "gpu": "RTX4090", "price": price_view(83_334), "gpu_ms": 1_000, "amount": money(84),
            "deposited": money(50_000), "paid": money(84), "refunded": money(49_916), "reclaimed": False,
            "exit_reason": "ok", "exit_code": 0, "settled": True, "settled_at": rfc3339(T0),
            "transactions": [{"purpose": "deposit", "hash": "0x" + "71" * 32, "block": 7}],
        }  # fmt: skip
        return [one] if job in (None, JOB) else []

    async def receipt_evidence(self, job: str | None = None) -> AsyncIterator[Json]:
        self._try("receipt_evidence")
        for piece in self.evidence:
            yield piece

    async def receipts_on_chain(self, lane: Json) -> Json:
        self._try("receipts_on_chain")
        self.asked_of_chain.append(lane)
        return self.chain_answer

    async def wallet(self) -> WalletView:
        self._try("wallet")
        return {
            "account": "0x02", "signer": "0x04", "tokens": money(12_400_000), "gas": "1000", "held": money(1_000_000),
            "lanes": [LANE], "paid_lanes": [LANE], "payout_to": "0x05", "left_today": money(10),
        }  # fmt: skip

    async def exit_lane(self, payee: str) -> Json:
        self._try("exit_lane")
        self.calls.append(f"exit {payee}")
        return {"transaction": "0x01", "exit_at": rfc3339(T0), "finished": False}

    async def doctor(self) -> list[Check]:
        self._try("doctor")
        return [{"name": "peers", "ok": False, "warning": False, "detail": "0 connected", "fix": "add an introducer"}]

    async def provider_pause(self) -> Json:
        self._try("provider_pause")
        self.calls.append("pause")
        return {**self._provider(), "paused": True}

    async def provider_resume(self) -> Json:
        self._try("provider_resume")
        self.calls.append("resume")
        return self._provider()

    async def provider_price(self, price: str, machine: str = "") -> Json:
        self._try("provider_price")
        self.calls.append(f"price {price} {machine}".strip())
        return {**self._provider(), "price": price_view(parse_hourly_price(price))}

    async def shutdown(self) -> None:
        self._try("shutdown")
        self.calls.append("shutdown")

    def _provider(self) -> Json:
        return {
            "paused": False, "machine": "m0", "gpu": "RTX4090", "price": price_view(83_334), "total_slots": 2,
            "free_slots": 1, "earned": money(84), "leases": [],
        }  # fmt: skip

    def _try(self, name: str) -> None:
        if name in self.fail:
            raise self.fail[name]

    async def _play(self, script: list[Any]) -> AsyncIterator[tuple[int, Any]]:
        self.streams_open += 1
        sequence = 0
        try:
            for item in script:
                if isinstance(item, Exception):
                    raise item
                if item == HOLD:
                    await self._released.wait()
                    continue
                sequence += 1
                yield sequence, item
        finally:
            self.streams_open -= 1

    def attach(self) -> None:
        """Remember the loop that serves this control, so that other threads can release it."""
        self._token = trio.lowlevel.current_trio_token()


@contextmanager
def served(control: ScriptedControl, socket_path: Path) -> Iterator[None]:
    """Serve a control on a real socket from a thread, until the block is left."""
    ready, failed = threading.Event(), []
    scope = trio.CancelScope()

    async def main() -> None:
        control.attach()
        with scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(serve_api, control, socket_path)
                ready.set()
                await trio.sleep_forever()

    def run() -> None:
        try:
            trio.run(main)
        except (FabricError, BaseExceptionGroup) as error:
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(20), "the API did not start"
    assert not failed, failed
    try:
        yield
    finally:
        assert control._token is not None
        control._token.run_sync_soon(scope.cancel)
        thread.join(20)
        assert not thread.is_alive(), "the API did not stop"
