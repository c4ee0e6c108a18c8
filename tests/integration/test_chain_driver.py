"""The chain driver against anvil in real life's moments: deep forks, outages, dear gas, a second program, a kill -9."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import trio

from ledger.anvil import run_anvil
from ledger.deploy import Deployment, deploy, fund
from ledger.embedded_rpc import RpcError
from ledger.evm_chain import EvmChain, Sending, open_evm_chain
from ledger.evm_reader import open_evm_reader
from ledger.evm_rpc import open_evm_rpc
from ledger.evm_sender import EvmSender, SendPolicy
from ledger.gas_fees import GWEI
from ledger.local_chain import DEV_KEY
from ledger.ports import Journal, LaneKey
from ledger.sqlite_journal import open_journal
from ledger.voucher import SessionKey
from market.errors import InvalidRequest, Unavailable
from tests.fakes.faulty_rpc import serve_rpc
from tests.integration.deposit_sender import CAP, PAYEE, SECRET, SESSION

pytestmark = pytest.mark.chain

PAYER = SessionKey(SECRET)
LANE = LaneKey(PAYER.address, PAYEE, SESSION.address)
PATIENCE_S = 30
ROOT = Path(__file__).parents[2]


class Forwarding:
    """An endpoint that passes everything on to anvil, until it is cut."""

    def __init__(self, url: str) -> None:
        self.cut = False
        self.asked = 0
        self._url = url

    def answer(self, method: str, parameters: list[Any]) -> Any:
        self.asked += 1
        if self.cut:
            raise ConnectionResetError("cut")
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        with requests.Session() as session:
            session.trust_env = False
            said = session.post(self._url, json=body, timeout=10).json()
        if "error" in said:
            raise RpcError(said["error"]["code"], said["error"]["message"], said["error"].get("data"))
        return said["result"]


async def control(url: str, method: str, *parameters: Any) -> Any:
    """Ask anvil for something no real chain offers."""
    async with open_evm_rpc(url) as rpc:
        return await rpc.ask(lambda web3: web3.provider.make_request(method, list(parameters)))  # type: ignore[arg-type]


async def bank(url: str) -> Deployment:
    deployed = await deploy(url, DEV_KEY, exit_delay_s=3600)
    await fund(url, DEV_KEY, PAYER.address, token=deployed.token, units=10**9, gas_wei=10**18)
    return deployed


@asynccontextmanager
async def payer_on(
    url: str | list[str], deployed: Deployment, journal: Journal, *, limit: int = 0, **policy: Any
) -> AsyncIterator[EvmChain]:
    quick = {"confirmations": 0, "poll_ms": 20, "bump_after_s": 0.3, "keep_s": 0.1, "patience_s": 0.5}
    async with open_evm_chain(
        rpc_url=url,
        chain_id=deployed.chain_id,
        escrow=deployed.escrow,
        account_key=SECRET,
        policy=SendPolicy(**quick | policy),  # type: ignore[arg-type]
        sending=Sending(journal=journal, now_ms=lambda: 1, deposit_limit=limit),
    ) as chain:
        yield chain


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with open_journal(tmp_path / "journal.db") as opened:
        yield opened


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    with trio.fail_after(PATIENCE_S):
        while not await condition():
            await trio.sleep(0.02)


async def deposits(chain: EvmChain) -> list[Any]:
    log = await chain.events(0, (await chain.head()).number)
    return [event.arguments["amount"] for event in log if event.kind == "Deposited"]


async def test_three_blocks_that_took_a_deposit_with_them_do_not_keep_it(journal: Journal) -> None:
    async with run_anvil(block_time_s=3600) as url:
        deployed = await bank(url)
        async with payer_on(url, deployed, journal, confirmations=1) as payer:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(payer.deposit, PAYEE, SESSION.address, 700)

                async def landed() -> bool:
                    return (await payer.lane(LANE)).balance == 700

                await until(landed)
                for _ in range(2):
                    await control(url, "evm_mine")
            [before] = [event for event in await payer.events(0, 100) if event.kind == "Deposited"]
            # Its sender was told, and has gone. A fork of three blocks undoes it.
            await control(url, "anvil_reorg", 3, [])
            assert await payer.transaction(before.transaction) is None
            await until(landed)
            await control(url, "evm_mine")
            [after] = [event for event in await payer.events(0, 100) if event.kind == "Deposited"]
            assert after.block > before.block


async def test_an_endpoint_that_is_cut_is_left_and_both_being_away_loses_nothing(journal: Journal) -> None:
    async with run_anvil() as url, AsyncExitStack() as stack:
        deployed = await bank(url)
        ways = [Forwarding(url), Forwarding(url)]
        urls = [await stack.enter_async_context(serve_rpc(way)) for way in ways]
        payer = await stack.enter_async_context(payer_on(urls, deployed, journal))
        await payer.deposit(PAYEE, SESSION.address, 1)
        ways[0].cut = True
        await payer.deposit(PAYEE, SESSION.address, 10)
        await control(url, "evm_setAutomine", False)
        await control(url, "evm_setIntervalMining", 0)

        async def in_pool() -> bool:
            return bool((await control(url, "txpool_content"))["result"]["pending"])

        async def deposit_into_silence() -> None:
            with pytest.raises(Unavailable):
                await payer.deposit(PAYEE, SESSION.address, 100)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(deposit_into_silence)
            await until(in_pool)
            ways[1].cut = True
        await control(url, "anvil_dropAllTransactions")
        await control(url, "evm_setAutomine", True)
        ways[1].cut = False

        async def landed() -> bool:
            try:
                return (await payer.lane(LANE)).balance == 111
            except Unavailable:
                return False

        await until(landed)
        assert await deposits(payer) == [1, 10, 100]


async def test_dear_gas_is_waited_out_and_no_more_than_the_cap_is_paid(journal: Journal) -> None:
    async with run_anvil(block_time_s=3600) as url:
        deployed = await bank(url)
        async with payer_on(url, deployed, journal, fee_cap_wei=50 * GWEI) as payer:
            await payer.deposit(PAYEE, SESSION.address, 1)
            await control(url, "anvil_setNextBlockBaseFeePerGas", hex(900 * GWEI))
            await control(url, "evm_mine")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(payer.deposit, PAYEE, SESSION.address, 500)

                async def waits() -> bool:
                    return "more than the cap" in payer.health().sending.waiting

                await until(waits)
                await control(url, "anvil_setNextBlockBaseFeePerGas", hex(GWEI))
                await control(url, "evm_mine")
            assert await deposits(payer) == [1, 500]
            assert payer.health().sending.waiting == ""


async def test_a_nonce_that_another_program_took_costs_no_deposit(journal: Journal) -> None:
    async with run_anvil() as url:
        deployed = await bank(url)
        async with payer_on(url, deployed, journal, final_after=2, confirmations=0) as payer:
            await payer.deposit(PAYEE, SESSION.address, 1)
            await control(url, "evm_setAutomine", False)
            await control(url, "evm_setIntervalMining", 0)

            async def in_pool() -> bool:
                return bool((await control(url, "txpool_content"))["result"]["pending"])

            async with trio.open_nursery() as nursery:
                nursery.start_soon(payer.deposit, PAYEE, SESSION.address, 500)
                await until(in_pool)
                await control(url, "anvil_dropAllTransactions")
                async with open_evm_rpc(url) as rpc:
                    other = EvmSender(rpc, SECRET, chain_id=deployed.chain_id, policy=SendPolicy(poll_ms=20))
                    with trio.move_on_after(1):
                        await other.send(b"\x99" * 20, b"", value=7)
                await control(url, "evm_mine")
                await control(url, "evm_setAutomine", True)
                await control(url, "evm_setIntervalMining", 1)
            assert await deposits(payer) == [1, 500]


async def test_the_day_s_limit_of_the_hot_key_is_kept_before_anything_is_signed(journal: Journal) -> None:
    async with run_anvil() as url:
        deployed = await bank(url)
        async with payer_on(url, deployed, journal, limit=600) as payer:
            await payer.deposit(PAYEE, SESSION.address, 500)
            with pytest.raises(InvalidRequest) as refused:
                await payer.deposit(PAYEE, SESSION.address, 101)
            assert refused.value.code == "deposit_limit"
            await payer.deposit(PAYEE, SESSION.address, 100)
            assert await deposits(payer) == [500, 100]


@pytest.mark.processes
@pytest.mark.parametrize("stage", ["written down", "in the pool"])
async def test_a_kill_in_the_middle_of_a_deposit_deposits_once(tmp_path: Path, stage: str) -> None:
    async with run_anvil() as url:
        deployed = await bank(url)
        words = [sys.executable, "-m", "tests.integration.deposit_sender", url, str(deployed.chain_id)]
        words += [deployed.escrow.hex(), str(tmp_path / "journal.db")]
        # The approval of the token comes first, and is not what this is about.
        await _approve(url, deployed)
        await control(url, "evm_setAutomine", False)
        await control(url, "evm_setIntervalMining", 0)
        if stage == "written down":
            await _killed([*words, "stop"], "about to send")
            assert not (await control(url, "txpool_content"))["result"]["pending"]
        else:
            await _killed_in_pool(words, url)
        await control(url, "evm_setAutomine", True)
        await control(url, "evm_setIntervalMining", 1)
        with trio.fail_after(PATIENCE_S):
            done = await trio.run_process(words, cwd=ROOT, capture_stdout=True)
        assert done.stdout.decode().splitlines()[-1] == "funded"
        async with open_evm_reader(url, chain_id=deployed.chain_id, escrow=deployed.escrow) as reader:
            assert (await reader.lane(LANE)).balance == CAP
            log = await reader.events(0, (await reader.head()).number)
            assert [event.arguments["amount"] for event in log if event.kind == "Deposited"] == [CAP]


async def _approve(url: str, deployed: Deployment) -> None:
    async with open_evm_rpc(url) as rpc:
        data = bytes.fromhex("095ea7b3") + deployed.escrow.rjust(32, b"\0") + b"\xff" * 32
        sender = EvmSender(rpc, SECRET, chain_id=deployed.chain_id, policy=SendPolicy(confirmations=0, poll_ms=20))
        assert (await sender.send(deployed.token, data)).succeeded


async def _killed(words: list[str], line: str) -> None:
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(_run, words)
        assert process.stdout is not None
        heard = b""
        with trio.fail_after(PATIENCE_S):
            while line.encode() not in heard:
                heard += await process.stdout.receive_some(4096)
        process.kill()


async def _killed_in_pool(words: list[str], url: str) -> None:
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(_run, words)

        async def in_pool() -> bool:
            return bool((await control(url, "txpool_content"))["result"]["pending"])

        await until(in_pool)
        process.kill()


async def _run(words: list[str], task_status: trio.TaskStatus[trio.Process] = trio.TASK_STATUS_IGNORED) -> None:
    process = await trio.lowlevel.open_process(words, cwd=ROOT, stdout=subprocess.PIPE)
    task_status.started(process)
    await process.wait()
