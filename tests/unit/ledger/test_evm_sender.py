"""Sending over a bad line: lost answers, stuck fees, other senders of the same account, reverts, cancellation."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from ledger.evm_rpc import EvmRpc, open_evm_rpc
from ledger.evm_sender import NOT_SENT, EvmSender, SendPolicy
from ledger.local_chain import DEV_KEY
from ledger.voucher import SessionKey
from market.errors import InvalidRequest, Unavailable
from tests.fakes.faulty_rpc import CHAIN_ID, GWEI, FaultyRpc, new_chain, serve_rpc

OTHER = SessionKey(b"\x55" * 32)
REVERTS = bytes.fromhex("60006000fd")
"""Init code that reverts at once."""
PATIENCE_S = 20


@pytest.fixture
def faulty() -> FaultyRpc:
    return FaultyRpc(new_chain())


@pytest.fixture
async def rpc(faulty: FaultyRpc) -> AsyncIterator[EvmRpc]:
    async with serve_rpc(faulty) as url, open_evm_rpc(url) as opened:
        yield opened


def sender_on(rpc: EvmRpc, **policy: float) -> EvmSender:
    settings = {"confirmations": 0, "poll_ms": 5, "bump_after_s": 0.05, "patience_s": 10.0} | policy
    return EvmSender(rpc, DEV_KEY, chain_id=CHAIN_ID, policy=SendPolicy(**settings))  # type: ignore[arg-type]


async def test_a_lost_answer_to_a_send_neither_fails_nor_doubles_it(faulty: FaultyRpc, rpc: EvmRpc) -> None:
    faulty.answers_to_lose["eth_sendRawTransaction"] = 1
    done = await sender_on(rpc).send(OTHER.address, b"", value=7)
    assert done.succeeded
    assert list(faulty.chain.mined) == [done.hash]
    assert faulty.chain.account("0x" + OTHER.address.hex()).balance == 7


async def test_lost_answers_while_waiting_are_waited_out(faulty: FaultyRpc, rpc: EvmRpc) -> None:
    faulty.answers_to_lose["eth_getTransactionReceipt"] = 3
    assert (await sender_on(rpc).send(OTHER.address, b"", value=7)).succeeded
    assert faulty.asked["eth_getTransactionReceipt"] > 3


async def test_a_stuck_transaction_is_replaced_at_a_higher_fee_under_the_same_nonce(
    faulty: FaultyRpc, rpc: EvmRpc
) -> None:
    faulty.tip_needed = 2 * GWEI
    with trio.fail_after(PATIENCE_S):
        done = await sender_on(rpc).send(OTHER.address, b"", value=7)
    mined = faulty.chain.mined[done.hash].transaction
    assert len(faulty.held) >= 2
    assert done.hash not in faulty.held
    assert (mined.nonce, mined.tip_cap >= 2 * GWEI) == (0, True)


async def test_fees_are_never_raised_above_the_cap(faulty: FaultyRpc, rpc: EvmRpc) -> None:
    faulty.tip_needed = 10 * GWEI
    cap = 4 * GWEI
    with trio.move_on_after(1.0) as waited:
        await sender_on(rpc, fee_cap_wei=cap).send(OTHER.address, b"", value=7)
    assert waited.cancelled_caught
    # The same bytes go out again at the cap: a node may have forgotten them.
    assert len(faulty.held) > len(set(faulty.held)) >= 2
    assert not faulty.chain.mined


async def test_a_chain_dearer_than_the_cap_is_not_paid(faulty: FaultyRpc, rpc: EvmRpc) -> None:
    with pytest.raises(Unavailable) as refused:
        await sender_on(rpc, fee_cap_wei=GWEI, fee_patience_s=0.05).send(OTHER.address, b"", value=7)
    assert refused.value.code == "fees_too_high"
    assert not faulty.chain.mined


async def test_two_senders_of_one_account_do_not_lose_each_other_s_transactions(faulty: FaultyRpc, rpc: EvmRpc) -> None:
    first, second = sender_on(rpc), sender_on(rpc)

    async def send(sender: EvmSender) -> None:
        assert (await sender.send(OTHER.address, b"", value=1)).succeeded

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(send, first)
                nursery.start_soon(send, second)
    assert faulty.chain.account("0x" + OTHER.address.hex()).balance == 10
    assert len(faulty.chain.mined) == 10


async def test_a_transaction_whose_nonce_another_one_took_is_given_up(faulty: FaultyRpc, rpc: EvmRpc) -> None:
    faulty.tip_needed = 10 * GWEI
    async with trio.open_nursery() as nursery:

        async def overtaken() -> None:
            with pytest.raises(Unavailable) as given_up:
                await sender_on(rpc, bump_after_s=60).send(OTHER.address, b"", value=7)
            assert given_up.value.code == "displaced"

        nursery.start_soon(overtaken)
        with trio.fail_after(PATIENCE_S):
            while not faulty.held:
                await trio.sleep(0.005)
            faulty.tip_needed = 0
            await sender_on(rpc).send(OTHER.address, b"", value=9)
    assert faulty.chain.account("0x" + OTHER.address.hex()).balance == 9


async def test_a_refusal_that_the_chain_foresees_costs_nothing(faulty: FaultyRpc, rpc: EvmRpc) -> None:
    refused = await sender_on(rpc).send(None, REVERTS)
    assert (refused.succeeded, refused.hash, refused.gas_used) == (False, NOT_SENT, 0)
    assert faulty.asked["eth_sendRawTransaction"] == 0


async def test_a_refusal_in_the_block_itself_is_told_with_what_it_cost(faulty: FaultyRpc, rpc: EvmRpc) -> None:
    faulty.canned["eth_estimateGas"] = hex(100_000)
    refused = await sender_on(rpc).send(None, REVERTS)
    assert not refused.succeeded
    assert refused.hash in faulty.chain.mined
    assert refused.gas_used > 21_000


async def test_an_account_without_coin_is_told_before_anything_is_sent(faulty: FaultyRpc, rpc: EvmRpc) -> None:
    poor = EvmSender(rpc, b"\x66" * 32, chain_id=CHAIN_ID, policy=SendPolicy())
    with pytest.raises(InvalidRequest) as refused:
        await poor.send(OTHER.address, b"")
    assert refused.value.code == "gas_short"
    assert faulty.asked["eth_sendRawTransaction"] == 0


async def test_a_chain_that_falls_silent_in_the_middle_is_given_up_after_the_patience(
    faulty: FaultyRpc, rpc: EvmRpc
) -> None:
    faulty.answers_to_lose["eth_getTransactionCount"] = 0
    faulty.answers_to_lose["eth_getTransactionReceipt"] = 10**6
    with trio.fail_after(PATIENCE_S), pytest.raises(Unavailable) as silent:
        await sender_on(rpc, patience_s=0.1).send(OTHER.address, b"", value=7)
    assert silent.value.code == "chain_unreachable"


async def test_a_send_that_has_begun_is_finished_even_when_its_task_is_cancelled(
    faulty: FaultyRpc, rpc: EvmRpc
) -> None:
    faulty.gate.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender_on(rpc).send, OTHER.address, b"")
        with trio.fail_after(PATIENCE_S):
            while not faulty.asked["eth_sendRawTransaction"]:
                await trio.sleep(0.005)
        nursery.cancel_scope.cancel()
        faulty.gate.set()
    assert len(faulty.chain.mined) == 1


async def test_confirmations_are_blocks_on_top(faulty: FaultyRpc, rpc: EvmRpc) -> None:
    done = await sender_on(rpc, confirmations=3).send(OTHER.address, b"")
    assert faulty.chain.head.number >= done.block + 3
