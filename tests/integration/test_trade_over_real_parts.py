"""One job over real Docker, a real chain and the real journal; only the network between the nodes is in memory."""

from __future__ import annotations

import os
import random
import secrets
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from ledger.deploy import deploy, fund
from ledger.evm_chain import open_evm_chain
from ledger.local_chain import DEV_KEY, start_local_chain
from ledger.sqlite_journal import open_journal
from ledger.voucher import SessionKey
from market import money
from market.records import JobSpec, PaymentTerms, Requirements, Settlement
from market.signing import Signer
from node.job_file.request import JobRequest, LocalInput, LocalOutput
from node.job_journal import history
from node.machine import Machine, MachineClass
from node.system_clock import SystemClock
from node.trading import TradingSettings, World, trading_node
from runtime.docker_engine import open_docker_engine
from runtime.job_image import ensure_job_image
from runtime.ports import ContainerEngine
from tests.fakes.memory_network import MemoryWorld

PRICE = 200_000
SCRIPT = """
import pathlib, time
data = pathlib.Path("/work/in/data.txt").read_text()
for step in range(4):
    print("step", step, flush=True)
    time.sleep(0.5)
out = pathlib.Path("/work/out"); out.mkdir()
(out / "result.txt").write_text(data.upper())
"""


async def _world(stack: AsyncExitStack, memory: MemoryWorld, name: str, *, chain: Any, rpc: str, folder: Path) -> World:
    seed, secret = secrets.token_bytes(32), secrets.token_bytes(32)
    home = folder / name
    home.mkdir(mode=0o700)
    network = await stack.enter_async_context(memory.open(seed))
    journal = await stack.enter_async_context(open_journal(home / "journal.sqlite"))
    account = SessionKey(secret)
    await fund(rpc, DEV_KEY, account.address, token=chain.token, units=50_000_000, gas_wei=10**18)
    view = await stack.enter_async_context(
        open_evm_chain(
            rpc_url=rpc,
            chain_id=chain.chain_id,
            escrow=chain.escrow,
            token=chain.token,
            account_key=secret,
            poll_ms=100,
        )
    )
    return World(
        network=network,
        journal=journal,
        chain=view,
        clock=SystemClock(),
        rng=random.Random(os.urandom(8)),
        signer=Signer.from_seed(seed),
        session_key=SessionKey(secrets.token_bytes(32)),
        wallet=account,
        folder=home,
    )


@pytest.mark.docker
@pytest.mark.chain
async def test_a_job_is_run_in_docker_and_paid_on_a_chain(tmp_path: Path) -> None:
    await ensure_job_image()
    source = tmp_path / "source"
    source.mkdir()
    (source / "data.txt").write_text("digits")
    (source / "job.py").write_text(SCRIPT)
    settings = TradingSettings(poll_s=0.2, settle_patience_s=20, close_patience_s=20, confirmations=0)
    memory = MemoryWorld()
    async with AsyncExitStack() as stack:
        local = await stack.enter_async_context(start_local_chain())
        deployed = await deploy(local.url, DEV_KEY, exit_delay_s=60)
        where: dict[str, Any] = {"chain": deployed, "rpc": local.url, "folder": tmp_path}
        seller = await _world(stack, memory, "seller", **where)
        buyer = await _world(stack, memory, "buyer", **where)
        engine = await stack.enter_async_context(
            open_docker_engine(node_id=seller.signer.key.hex()[:16], state_dir=tmp_path / "seller" / "runtime")
        )
        stack.push_async_callback(_remove_all, engine)
        machine = Machine(_machine(deployed, seller), seller.signer)
        selling = await stack.enter_async_context(trading_node(seller, settings, machines=[machine], engine=engine))
        buying = await stack.enter_async_context(trading_node(buyer, settings, machines=[], engine=None))
        buyer.network.learn(seller.signer.key, seller.network.addresses())
        buying.intake.take(machine.post(seller.clock.now_ms(), seller.network.addresses()))
        desk = buying.buying.desk
        job_id = await desk.submit(_request(source, tmp_path / "result"))
        with trio.fail_after(60):
            while job_id in desk.jobs:
                await trio.sleep(0.1)
        events = await history(buyer.journal, job_id)
        log = buying.buying.files.log_path(job_id).read_bytes()
        totals = await buying.buying.history.totals(buying.buying.payer.lane(seller.wallet.address))
        earned = await seller.chain.token_balance(seller.wallet.address)
        with trio.fail_after(30):
            while selling.selling.desk.boards:
                await trio.sleep(0.1)
        assert await engine.leases() == []
    kinds = [event["type"] for event in events]
    assert kinds[-1] == "succeeded", events
    assert log.decode().splitlines() == [f"step {n}" for n in range(4)]
    assert (tmp_path / "result" / "result.txt").read_text() == "DIGITS"
    paid = [event for event in events if event["type"] == "paid"]
    assert paid[-1]["final"]
    assert paid[-1]["amount"]["units"] == money.amount_due(PRICE, paid[-1]["gpu_ms"])
    assert earned == 50_000_000 + paid[-1]["amount"]["units"]
    assert totals.adds_up
    assert totals.held == 0
    assert totals.paid == paid[-1]["amount"]["units"]


async def _remove_all(engine: ContainerEngine) -> None:
    """Leave nothing behind, also when the test fails half-way."""
    with trio.CancelScope(shield=True):
        for state in await engine.leases():
            await engine.ensure_removed(state.lease_id)


def _machine(deployed: Any, seller: World) -> MachineClass:
    return MachineClass(
        name="m0",
        gpu="none",
        simulated=False,
        slots=1,
        gpu_uuids=(),
        vram_mib=0,
        cpu_milli=1000,
        memory_mib=512,
        disk_mib=256,
        price=PRICE,
        region="eu",
        driver="",
        cuda_milli=0,
        runtimes=("runc",),
        isolation="container",
        terms=PaymentTerms(tick_ms=500, grace_ms=5_000, start_within_ms=60_000),
        settlement=Settlement(chain_id=deployed.chain_id, escrow=deployed.escrow, payee=seller.wallet.address),
    )


def _request(source: Path, result: Path) -> JobRequest:
    spec = JobSpec(
        image="cfab-job-base:local",
        command=("python3", "-u", "/work/in/job.py"),
        requirements=Requirements(slots=1, memory_mib=256),
        outputs=("/work/out",),
        max_duration_ms=60_000,
    )
    request = JobRequest(name="upper", spec=spec, max_price=10**9, max_total=10**9)
    return msgspec.structs.replace(
        request,
        inputs=(LocalInput(source=str(source), target="/work/in"),),
        outputs=(LocalOutput(source="/work/out", destination=str(result)),),
    )
