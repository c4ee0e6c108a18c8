"""Opening an escrow: everything that would cost money later is found out before the first call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from msgspec import structs

from ledger.artifact import load_artifact
from ledger.deploy import Deployment, deploy, fund
from ledger.evm_chain import open_evm_chain
from ledger.evm_reader import MAX_EVENT_BLOCKS, open_evm_reader
from ledger.evm_rpc import open_evm_rpc
from ledger.evm_sender import EvmSender, SendPolicy
from ledger.local_chain import DEV_KEY
from ledger.ports import LaneKey, LaneOnChain
from ledger.voucher import Domain, SessionKey, sign_voucher
from market.errors import InvalidRequest
from tests.fakes.escrow_on_revm import load_token
from tests.fakes.faulty_rpc import FaultyRpc, new_chain, serve_rpc

PAYER, PAYEE = SessionKey(b"\x21" * 32), b"\x22" * 20
LANE = LaneKey(PAYER.address, PAYEE, PAYER.address)


@pytest.fixture
def faulty() -> FaultyRpc:
    return FaultyRpc(new_chain())


@pytest.fixture
async def url(faulty: FaultyRpc) -> AsyncIterator[str]:
    async with serve_rpc(faulty) as address:
        yield address


@pytest.fixture
async def deployed(url: str) -> Deployment:
    return await deploy(url, DEV_KEY, exit_delay_s=77)


async def refusal(url: str, deployed: Deployment, **changes: object) -> str:
    wanted = {"chain_id": deployed.chain_id, "escrow": deployed.escrow, "token": deployed.token} | changes
    with pytest.raises(InvalidRequest) as refused:
        async with open_evm_reader(url, **wanted):  # type: ignore[arg-type]
            pass
    return refused.value.code


async def test_what_was_deployed_is_read_back(url: str, deployed: Deployment) -> None:
    async with open_evm_reader(url, chain_id=deployed.chain_id, escrow=deployed.escrow) as reader:
        assert (reader.token, reader.exit_delay_s) == (deployed.token, 77)
        assert await reader.lane(LANE) == LaneOnChain()


async def test_another_chain_s_id_is_refused(url: str, deployed: Deployment) -> None:
    assert await refusal(url, deployed, chain_id=1) == "wrong_chain"


async def test_an_address_without_our_code_is_refused(url: str, deployed: Deployment) -> None:
    assert await refusal(url, deployed, escrow=PAYEE) == "not_our_escrow"
    assert await refusal(url, deployed, escrow=deployed.token) == "not_our_escrow"


async def test_another_token_is_refused(url: str, deployed: Deployment) -> None:
    assert await refusal(url, deployed, token=PAYEE) == "wrong_token"


@pytest.mark.parametrize(
    ("changes", "code", "place"),
    [
        ({"chain_id": 1}, "wrong_chain", "rpc and chain_id under [chain]"),
        ({"escrow": PAYEE}, "not_our_escrow", "escrow under [chain]"),
        ({"token": PAYEE}, "wrong_token", "token under [chain]"),
    ],
)
async def test_a_refusal_says_what_where_and_how_to_mend_it(
    url: str, deployed: Deployment, changes: dict[str, object], code: str, place: str
) -> None:
    wanted = {"chain_id": deployed.chain_id, "escrow": deployed.escrow, "token": deployed.token} | changes
    with pytest.raises(InvalidRequest) as refused:
        async with open_evm_reader(url, **wanted):  # type: ignore[arg-type]
            pass
    assert (refused.value.code, refused.value.where) == (code, place)
    assert refused.value.fix


async def deployed_token(faulty: FaultyRpc, url: str, name: str) -> bytes:
    """Put one of the odd tokens on the chain."""
    async with open_evm_rpc(url) as rpc:
        policy = SendPolicy(confirmations=0, poll_ms=5)
        sender = EvmSender(rpc, DEV_KEY, chain_id=faulty.chain.chain_id, policy=policy)
        made = await sender.send(None, load_token(name).bytecode)
    return bytes.fromhex(str(faulty.chain.mined[made.hash].created)[2:])


async def test_a_token_that_counts_in_other_decimals_is_refused(faulty: FaultyRpc, url: str) -> None:
    token = await deployed_token(faulty, url, "TinyToken")
    assert await refusal(url, await deploy(url, DEV_KEY, exit_delay_s=77, token=token)) == "token_decimals"


async def test_a_token_without_signatures_is_told_so(faulty: FaultyRpc, url: str) -> None:
    token = await deployed_token(faulty, url, "FeeToken")
    made = await deploy(url, DEV_KEY, exit_delay_s=77, token=token)
    async with open_evm_reader(url, chain_id=made.chain_id, escrow=made.escrow) as reader:
        with pytest.raises(InvalidRequest) as refused:
            await reader.token_domain()
    assert refused.value.code == "no_token_signatures"


async def forgeries(faulty: FaultyRpc, url: str, deployed: Deployment) -> dict[int, str | None]:
    """Our own code with one immutable changed by hand in all its places: by the first place, what opening says."""
    address = "0x" + deployed.escrow.hex()
    original = faulty.chain.account(address)
    found = {}
    for places in load_artifact("Escrow").immutables:
        code = bytearray(original.code)
        for start, length in places:
            code[start : start + length] = (int.from_bytes(code[start : start + length], "big") ^ 1).to_bytes(length)
        assert load_artifact("Escrow").is_deployed_as(bytes(code))
        faulty.canned["eth_getCode"] = "0x" + code.hex()
        head = faulty.chain.head
        state = {**head.state, address: replace(original, code=bytes(code))}
        faulty.chain.blocks[head.number] = structs.replace(head, state=state)
        found[places[0][0]] = await refusal_or_none(url, deployed)
    return found


async def test_a_look_alike_with_another_domain_or_other_delays_is_refused(
    faulty: FaultyRpc, url: str, deployed: Deployment
) -> None:
    # It would take vouchers that it never honours, or let its payers leave at once.
    found = await forgeries(faulty, url, deployed)
    assert list(found.values()).count("not_our_escrow") >= 2


async def refusal_or_none(url: str, deployed: Deployment) -> str | None:
    try:
        async with open_evm_reader(url, chain_id=deployed.chain_id, escrow=deployed.escrow):
            return None
    except InvalidRequest as error:
        return error.code


async def test_a_long_log_is_read_in_pieces(faulty: FaultyRpc, url: str, deployed: Deployment) -> None:
    await fund(url, DEV_KEY, PAYER.address, token=deployed.token, units=1000, gas_wei=10**18)
    async with open_evm_chain(
        rpc_url=url,
        chain_id=deployed.chain_id,
        escrow=deployed.escrow,
        account_key=b"\x21" * 32,
        confirmations=0,
        poll_ms=5,
    ) as chain:
        done = await chain.deposit(PAYEE, PAYER.address, 10)
        faulty.asked.clear()
        log = await chain.events(0, 2 * MAX_EVENT_BLOCKS)
    assert [(event.kind, event.block) for event in log] == [("Deposited", done.block)]
    assert faulty.asked["eth_getLogs"] == 3


async def test_a_preview_says_what_redeeming_would_pay(url: str, deployed: Deployment) -> None:
    await fund(url, DEV_KEY, PAYER.address, token=deployed.token, units=1000, gas_wei=10**18)
    async with open_evm_chain(
        rpc_url=url,
        chain_id=deployed.chain_id,
        escrow=deployed.escrow,
        account_key=b"\x21" * 32,
        confirmations=0,
        poll_ms=5,
    ) as chain:
        await chain.deposit(PAYEE, PAYER.address, 100)
        from_us = [
            sign_voucher(PAYER, Domain(deployed.chain_id, deployed.escrow), LANE, amount).row()
            for amount in (30, 50, 40)
        ]
        assert await chain.preview_redeem(PAYEE, b"".join([*from_us, bytes(96)])) == 50
        await chain.redeem_many(PAYEE, from_us)
        assert await chain.token_balance(PAYEE) == 50
