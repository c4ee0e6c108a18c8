"""The demo's acts, in order: raise the market, see its offers, sell one job, check the end from the chain."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio
from msgspec import Struct

from ledger.evm_reader import EvmReader, open_evm_reader
from market.errors import FabricError, Unavailable
from market.money import format_tokens
from node.cli.follow import follow_job
from node.cli.terminal import short
from node.devnet import checks
from node.devnet.checks import Finding
from node.devnet.local_market import CHAIN, LocalMarket
from node.devnet.narrator import Narrator
from node.devnet.topology import PROVIDERS, REQUESTER
from node.devnet.vigil import Followed, follow_watchfully
from node.job_file.load import load_job_file
from runtime.docker_engine import open_docker_engine
from runtime.job_image import DEFAULT_TAG, ensure_job_image
from runtime.nvidia_probe import NvidiaProbe

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "digits"
_RELEASE_PATIENCE_S = 45.0
_LOOK_S = 0.25


class Sold(Struct, frozen=True, kw_only=True):
    """One job's way through the market. ``before`` are the wallets when it was submitted."""

    job: str
    before: dict[str, int]
    followed: Followed


async def raise_market(market: LocalMarket, narrator: Narrator) -> None:
    """Image, keys, chain, contracts, wallets, nodes.

    Raises:
        Unavailable: no engine, or a process ended early; the message names its log.
    """
    began = time.monotonic()
    await ensure_job_image()
    narrator.step("image", f"{DEFAULT_TAG}, made of this Python interpreter", seconds=_since(began))
    began = time.monotonic()
    await market.raise_up(real_gpu=await _has_real_gpu(market.folder / "probe"))
    assert market.chain is not None
    narrator.step("chain", f"{market.chain_kind} on {market.chain.rpc}, escrow 0x{market.chain.escrow.hex()}")
    narrator.step(
        "nodes",
        f"{', '.join(market.seats)}: separate processes, libp2p over TCP",
        seconds=_since(began),
        folder=str(market.folder),
        processes={name: ticket.pid for name, ticket in market.processes.tickets().items()},
        homes={node_id: str(home) for node_id, home in market.homes().items()},
    )
    began = time.monotonic()
    offers = await market.wait_offers(len(PROVIDERS))
    narrator.step("offers", f"{len(offers)} seen by the requester", seconds=_since(began), offers=offers)
    narrator.offers(offers)


async def sell_job(market: LocalMarket, narrator: Narrator) -> Sold:
    """Submit the example through the API as its user would, and stay with it to the end.

    Raises:
        InvalidRequest: the job is refused. Unavailable: a node or the chain does not answer.
    """
    request = load_job_file(await trio.to_thread.run_sync(_copy_example, market.folder / "job"))
    async with open_reader(market) as reader:
        before = await checks.read_wallets(reader, market.accounts)
    client = market.client(REQUESTER)
    submit = partial(client.post, "jobs", body=request.to_post())
    job = str((await trio.to_thread.run_sync(submit))["job"])
    narrator.step("submitted", f"{request.name}, job {short(job)}, from examples/digits/job.yaml", job=job)
    follow = partial(follow_job, client, job, narrator.session, ticks=True)
    followed = await follow_watchfully(market, follow, partial(_tell_death, narrator))
    return Sold(job=job, before=before, followed=followed)


async def check_end(market: LocalMarket, sold: Sold, narrator: Narrator) -> list[Finding]:
    """Everything that must hold after a job that ended as it should. Shows the receipt."""
    client = market.client(REQUESTER)
    receipts = await trio.to_thread.run_sync(partial(client.get, "receipts", job=sold.job))
    if len(receipts) != 1:
        return [Finding(False, f"the job has {len(receipts)} receipts instead of one")]
    receipt: dict[str, Any] = receipts[0]
    narrator.receipt(receipt)
    async with open_reader(market) as reader:
        books = await checks.read_books(reader)
        after = await checks.read_wallets(reader, market.accounts)
        confirmed = await checks.check_transactions(reader, receipt)
        signed = checks.check_receipt(receipt, reader, books)
    model = market.folder / "job" / "out" / "model.json"
    output = await trio.to_thread.run_sync(checks.check_model, model, EXAMPLE)
    money = [checks.check_books(books), *checks.check_wallets(sold.before, after, books, REQUESTER)]
    return [*output, *signed, confirmed, *money, Finding(books.held == 0, "chain: nothing is held any more")]


async def check_after_death(market: LocalMarket, sold: Sold) -> list[Finding]:
    """What is true of the money after somebody died, read from the chain alone, if there is one."""
    dead = {gone.name for gone in sold.followed.deaths}
    if CHAIN in dead:
        return await _check_promise(market, sold)
    if REQUESTER in dead:
        await _wait_released(market)
    async with open_reader(market) as reader:
        books = await checks.read_books(reader)
        after = await checks.read_wallets(reader, market.accounts)
        delay = reader.exit_delay_s
    findings = [checks.check_books(books), *checks.check_wallets(sold.before, after, books, REQUESTER)]
    if books.held:
        text = f"{format_tokens(books.held)} is still held: the payer's own within {delay} s of asking for it"
        findings.append(Finding(True, f"chain: {text}, without anybody's consent"))
    return findings


async def _check_promise(market: LocalMarket, sold: Sold) -> list[Finding]:
    """Without a chain: what the provider holds a valid voucher for, by the requester's journal."""
    gone = Finding(False, "chain: it is gone, so its books cannot be read; nothing moved since its last block")
    receipts = await trio.to_thread.run_sync(partial(market.client(REQUESTER).get, "receipts", job=sold.job))
    if market.chain is None or not receipts or not receipts[0]["evidence"]["voucher"]:
        return [gone, Finding(True, "promises: no voucher was signed, so nobody is owed anything")]
    return [gone, checks.check_promise(receipts[0], market.chain.chain_id, market.chain.escrow)]


@asynccontextmanager
async def open_reader(market: LocalMarket) -> AsyncIterator[EvmReader]:
    """The chain as anybody can read it.

    Raises:
        Unavailable: it does not answer.
    """
    if market.chain is None:
        raise Unavailable("the chain was never up", code="chain_unreachable")
    facts = market.chain
    async with open_evm_reader(facts.rpc, chain_id=facts.chain_id, escrow=facts.escrow, token=facts.token) as reader:
        yield reader


async def _wait_released(market: LocalMarket) -> None:
    """Wait until no provider works for a dead requester any more: it has redeemed what it held by then."""
    with trio.move_on_after(_RELEASE_PATIENCE_S):
        for name in PROVIDERS:
            while await trio.to_thread.run_sync(_leases, market.client(name).get):
                await trio.sleep(_LOOK_S)


def _copy_example(folder: Path) -> Path:
    """The example in a folder of its own, so that its output does not land in the checkout; returns its job file."""
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("out", "__pycache__"))
    return folder / "job.yaml"


def _leases(get: Callable[..., Any]) -> list[Any]:
    try:
        return list(get("status")["provider"]["leases"])
    except FabricError:
        return []


async def _has_real_gpu(folder: Path) -> bool:
    """Whether this machine has an NVIDIA card that its engine can hand to a container."""
    if not NvidiaProbe().gpus():
        return False
    async with open_docker_engine(node_id="probe", state_dir=folder) as engine:
        return (await engine.info()).nvidia


def _tell_death(narrator: Narrator, gone: Any, consequence: str) -> None:
    narrator.step("died", f"{gone}; {consequence}", kind="fail", process=gone.name)


def _since(began: float) -> float:
    return time.monotonic() - began
