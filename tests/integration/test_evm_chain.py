"""The chain adapter against anvil's harder moments: stuck fees, a reorganised chain, a restart; and gas told alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from ledger.anvil import run_anvil
from ledger.create2 import FACTORY, FACTORY_CODE, DelayTerms, escrow_address
from ledger.deploy import Deployment, deploy, fund
from ledger.evm_chain import EvmChain, open_evm_chain
from ledger.evm_rpc import open_evm_rpc
from ledger.evm_sender import SendPolicy
from ledger.local_chain import DEV_KEY, run_embedded
from ledger.ports import Contradiction, LaneDeposit, LaneKey, Transaction
from ledger.voucher import Domain, SessionKey, close_digest, release_digest, sign_voucher
from market.errors import InvalidRequest, Unavailable
from tests.fakes.statements import GRANT, statement_digest

pytestmark = pytest.mark.chain

PAYER_SECRET = b"\x51" * 32
PAYER, PAYEE, SESSION = SessionKey(PAYER_SECRET), SessionKey(b"\x52" * 32), SessionKey(b"\x53" * 32)
LANE = LaneKey(PAYER.address, PAYEE.address, SESSION.address)
PATIENCE_S = 30


async def control(url: str, method: str, *parameters: Any) -> Any:
    """Ask a development chain for something no real chain offers."""
    async with open_evm_rpc(url) as rpc:
        return await rpc.ask(lambda web3: web3.provider.make_request(method, list(parameters)))  # type: ignore[arg-type]


async def bank(url: str) -> Deployment:
    deployed = await deploy(url, DEV_KEY, exit_delay_s=3600)
    await fund(url, DEV_KEY, PAYER.address, token=deployed.token, units=10**9, gas_wei=10**18)
    return deployed


@asynccontextmanager
async def payer_on(url: str, deployed: Deployment, **policy: Any) -> AsyncIterator[EvmChain]:
    async with open_evm_chain(
        rpc_url=url,
        chain_id=deployed.chain_id,
        escrow=deployed.escrow,
        account_key=PAYER_SECRET,
        policy=SendPolicy(**{"confirmations": 0, "poll_ms": 20, "bump_after_s": 0.2} | policy),
    ) as chain:
        yield chain


async def until(condition: Any) -> None:
    with trio.fail_after(PATIENCE_S):
        while not await condition():
            await trio.sleep(0.02)


async def test_a_stuck_deposit_is_replaced_in_the_pool_and_happens_once() -> None:
    async with run_anvil() as url:
        deployed = await bank(url)
        async with payer_on(url, deployed) as payer:
            await payer.deposit(PAYEE.address, SESSION.address, 1)
            await control(url, "evm_setAutomine", False)
            await control(url, "evm_setIntervalMining", 0)
            fees: set[str] = set()

            async def replaced_twice() -> bool:
                pool = (await control(url, "txpool_content"))["result"]["pending"]
                waiting = [sent for by_nonce in pool.values() for sent in by_nonce.values()]
                assert len(waiting) <= 1
                fees.update(sent["maxFeePerGas"] for sent in waiting)
                return len(fees) >= 3

            async with trio.open_nursery() as nursery:
                nursery.start_soon(payer.deposit, PAYEE.address, SESSION.address, 500)
                await until(replaced_twice)
                await control(url, "evm_mine")
            assert (await payer.lane(LANE)).balance == 501


async def test_a_deposit_that_a_reorganisation_undid_is_sent_again() -> None:
    async with run_anvil(block_time_s=3600) as url:
        deployed = await bank(url)
        async with payer_on(url, deployed, confirmations=3) as payer:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(payer.deposit, PAYEE.address, SESSION.address, 700)

                async def approved() -> bool:
                    return (await payer.lane(LANE)).balance == 700

                await until(approved)
                await control(url, "anvil_reorg", 1, [])
                assert (await payer.lane(LANE)).balance == 0
                await until(approved)
                for _ in range(3):
                    await control(url, "evm_mine")
            assert (await payer.lane(LANE, confirmations=3)).balance == 700
            log = await payer.events(0, (await payer.head()).number)
            assert [event.arguments["amount"] for event in log] == [700]


async def test_a_chain_with_a_state_file_goes_on_where_it_stopped(tmp_path: Path) -> None:
    state = tmp_path / "chain.json"
    async with run_anvil(state_file=state) as url:
        deployed = await bank(url)
        async with payer_on(url, deployed) as payer:
            await payer.deposit(PAYEE.address, SESSION.address, 900)
    async with run_anvil(state_file=state) as url, payer_on(url, deployed) as payer:
        assert (await payer.lane(LANE)).balance == 900
        assert (await payer.deposit(PAYEE.address, SESSION.address, 1)).succeeded


async def gas_of_a_life(url: str) -> dict[str, int]:
    deployed = await bank(url)
    domain = Domain(deployed.chain_id, deployed.escrow)
    async with payer_on(url, deployed) as payer:
        used = {
            "first deposit": await payer.deposit(PAYEE.address, SESSION.address, 10**6),
            "top-up": await payer.deposit(PAYEE.address, SESSION.address, 10**6),
        }
        for name, amounts in (("one row", [100]), ("replay", [100]), ("three rows", [200, 300, 50])):
            rows = [sign_voucher(SESSION, domain, LANE, amount).row() for amount in amounts]
            used[name] = await payer.redeem_many(PAYEE.address, rows)
        used["start exit"] = await payer.start_exit(PAYEE.address, SESSION.address)
        used["cancel exit"] = await payer.cancel_exit(PAYEE.address, SESSION.address)
        digest = close_digest(domain, LANE, epoch=0, cumulative=400, deadline_s=2**40 - 1)
        used["close"] = await payer.close_together(
            LANE, cumulative=400, deadline_s=2**40 - 1, payee_signature=PAYEE.sign(digest), payer_signature=b""
        )
        used |= await gas_of_the_rest(payer, domain)
    return {name: transaction.gas_used for name, transaction in used.items()}


async def gas_of_the_rest(payer: EvmChain, domain: Domain) -> dict[str, Transaction]:
    lanes = [LaneKey(PAYER.address, PAYEE.address, bytes([signer]) * 20) for signer in (1, 2)]
    deposits = [LaneDeposit(lane=lane, amount=1000, delay_s=7200) for lane in lanes]
    used = {"many deposits": await payer.deposit_many(deposits)}
    digest = release_digest(domain, lanes[0], epoch=0, new_balance=1, deadline_s=2**40 - 1)
    used["release"] = await payer.release(
        PAYEE.address, lanes[0].signer, new_balance=1, deadline_s=2**40 - 1, payee_signature=PAYEE.sign(digest)
    )
    used["stake"] = await payer.add_stake(1001)
    used["leave"] = await payer.leave_stake()
    bodies = (b"\x0a" * 32, b"\x0b" * 32)
    signed = [PAYER.sign(statement_digest(domain, GRANT, bytes(32), 1, body)) for body in bodies]
    proof = Contradiction(
        provider=PAYER.address,
        kind=GRANT,
        subject=bytes(32),
        sequence=1,
        body_a=bodies[0],
        signature_a=signed[0],
        body_b=bodies[1],
        signature_b=signed[1],
    )
    used["slash"] = await payer.slash_equivocation(proof)
    return used


async def test_both_local_chains_charge_the_same_gas() -> None:
    async with run_anvil() as url:
        by_anvil = await gas_of_a_life(url)
    async with run_embedded() as url:
        by_embedded = await gas_of_a_life(url)
    assert by_embedded == by_anvil
    assert all(gas > 21_000 for gas in by_anvil.values())


async def test_a_deployment_that_the_contract_refuses_is_told() -> None:
    async with run_anvil() as url:
        with pytest.raises(Unavailable) as refused:
            await deploy(url, DEV_KEY, exit_delay_s=1, token=PAYER.address)
    assert refused.value.code == "chain_refused"


async def test_a_window_that_no_escrow_can_have_is_refused_before_anything_is_sent() -> None:
    for seconds in (0, -1, 255 * 3600 + 1):
        with pytest.raises(InvalidRequest) as refused:
            await deploy("http://127.0.0.1:1", DEV_KEY, exit_delay_s=seconds)
        assert refused.value.code == "exit_delay"


async def test_the_escrow_lies_where_its_terms_say_whoever_deploys_it() -> None:
    async with run_anvil() as url:
        first = await deploy(url, DEV_KEY, exit_delay_s=3600)
        assert first.escrow == escrow_address(first.token, DelayTerms(3600, 1))
        await fund(url, DEV_KEY, PAYER.address, token=first.token, gas_wei=10**18)
        again = await deploy(url, PAYER_SECRET, exit_delay_s=3600, token=first.token)
        longer = await deploy(url, PAYER_SECRET, exit_delay_s=7200, token=first.token)
    assert (again.escrow, again.block) == (first.escrow, 0)
    assert longer.escrow != first.escrow


async def test_a_chain_without_the_factory_gets_it_by_its_own_transaction() -> None:
    async with run_anvil(extra=("--disable-default-create2-deployer",)) as url:
        assert (await control(url, "eth_getCode", "0x" + FACTORY.hex(), "latest"))["result"] == "0x"
        deployed = await deploy(url, DEV_KEY, exit_delay_s=60)
        assert (await control(url, "eth_getCode", "0x" + FACTORY.hex(), "latest"))["result"][2:] == FACTORY_CODE.hex()
        assert deployed.escrow == escrow_address(deployed.token, DelayTerms(1, 60))


async def test_other_code_where_the_factory_should_be_is_refused() -> None:
    async with run_anvil() as url:
        await control(url, "anvil_setCode", "0x" + FACTORY.hex(), "0x6001")
        with pytest.raises(Unavailable) as refused:
            await deploy(url, DEV_KEY, exit_delay_s=60)
    assert refused.value.code == "factory_missing"
