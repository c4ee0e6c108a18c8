"""Several endpoints of one chain: the next one answers for a dead one, and none of another chain is ever believed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio

from ledger import evm_rpc
from ledger.endpoint_health import EndpointState, HealthRules
from ledger.evm_rpc import MAX_ENDPOINTS, EvmRpc, open_evm_rpc
from ledger.local_chain import DEV_KEY
from ledger.voucher import SessionKey
from market.errors import InvalidRequest, Unavailable
from tests.fakes.faulty_rpc import CHAIN_ID, FaultyRpc, new_chain, serve_rpc

RULES = HealthRules(faults_allowed=2, first_pause_s=0.05, most_pause_s=0.1, max_lag=5)
PATIENCE_S = 20


@asynccontextmanager
async def opened(*faulty: FaultyRpc, chain_id: int | None = CHAIN_ID) -> AsyncIterator[EvmRpc]:
    async with AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(serve_rpc(one)) for one in faulty]
        yield await stack.enter_async_context(open_evm_rpc(urls, chain_id=chain_id, rules=RULES))


def pair() -> tuple[FaultyRpc, FaultyRpc]:
    chain = new_chain()
    return FaultyRpc(chain), FaultyRpc(chain)


async def head(rpc: EvmRpc) -> int:
    return await rpc.ask(lambda web3: int(web3.eth.block_number))


async def test_the_first_endpoint_is_asked_as_long_as_it_answers() -> None:
    first, second = pair()
    async with opened(first, second) as rpc:
        second.asked.clear()
        for _ in range(3):
            await head(rpc)
        assert not second.asked


async def test_the_next_one_answers_for_a_dead_one_and_after_some_faults_nobody_waits_for_it() -> None:
    first, second = pair()
    async with opened(first, second) as rpc:
        first.dead = True
        for _ in range(2):
            await head(rpc)
        assert [view.state for view in rpc.views()] == [EndpointState.RESTING, EndpointState.WELL]
        first.asked.clear()
        await head(rpc)
        assert not first.asked


async def test_a_resting_endpoint_is_probed_and_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evm_rpc, "WATCH_S", 0.02)
    first, second = pair()
    async with opened(first, second) as rpc:
        first.dead = True
        for _ in range(2):
            await head(rpc)
        first.dead = False
        with trio.fail_after(PATIENCE_S):
            while rpc.views()[0].state is not EndpointState.WELL:
                await trio.sleep(0.01)
        first.asked.clear()
        await head(rpc)
        assert first.asked


async def test_when_nobody_answers_the_error_names_all() -> None:
    first, second = pair()
    async with opened(first, second) as rpc:
        first.dead = second.dead = True
        with pytest.raises(Unavailable) as silent:
            await head(rpc)
    assert silent.value.code == "chain_unreachable"
    assert all(name in silent.value.message for name in rpc.endpoint.split(" or "))


async def test_an_endpoint_of_another_chain_is_refused_by_name_and_never_believed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = pair()
    first.canned["eth_chainId"] = hex(5)
    async with opened(first, second) as rpc:
        await head(rpc)
        assert first.asked["eth_blockNumber"] == 0
        view = rpc.views()[0]
        assert (view.state, view.note) == (EndpointState.REFUSED, f"chain 5, not {CHAIN_ID}")
        assert f"{view.name} is not used: it is chain 5" in caplog.text


async def test_when_all_are_on_another_chain_nothing_is_opened() -> None:
    first, second = pair()
    first.canned["eth_chainId"] = second.canned["eth_chainId"] = hex(5)
    with pytest.raises(InvalidRequest) as refused:
        async with opened(first, second):
            pass
    assert refused.value.code == "wrong_chain"


async def test_a_chain_that_changed_behind_an_outage_is_not_taken_for_ours() -> None:
    first, second = pair()
    async with opened(first, second) as rpc:
        first.dead = True
        await head(rpc)
        first.dead, first.canned["eth_chainId"] = False, hex(5)
        first.asked.clear()
        await head(rpc)
        assert first.asked["eth_blockNumber"] == 0


async def test_a_single_endpoint_whose_chain_changed_is_no_answer_until_it_is_ours_again() -> None:
    only = FaultyRpc(new_chain())
    async with opened(only) as rpc:
        only.dead = True
        with pytest.raises(Unavailable):
            await head(rpc)
        only.dead, only.canned["eth_chainId"] = False, hex(5)
        with pytest.raises(Unavailable) as refused:
            await head(rpc)
        assert refused.value.code == "wrong_chain"
        del only.canned["eth_chainId"]
        with trio.fail_after(PATIENCE_S):
            while True:
                try:
                    await head(rpc)
                    break
                except Unavailable:
                    await trio.sleep(0.01)


async def test_a_stuck_endpoint_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evm_rpc, "WATCH_S", 0.02)
    first, second = pair()
    second.chain.mine()
    first.canned["eth_blockNumber"] = hex(1)
    async with opened(first, second) as rpc:
        with trio.fail_after(PATIENCE_S):
            while rpc.views()[0].state is not EndpointState.BEHIND:
                await trio.sleep(0.02)
        assert await head(rpc) > 1


async def test_a_refusal_is_asked_elsewhere_too_and_counts_against_who_refused() -> None:
    class Limited(FaultyRpc):
        def answer(self, method: str, parameters: list[object]) -> object:
            if method == "eth_blockNumber":
                method = "cfab_noSuchMethod"
            return super().answer(method, parameters)

    chain = new_chain()
    async with opened(Limited(chain), FaultyRpc(chain)) as rpc:
        for _ in range(2):
            await head(rpc)
        assert rpc.views()[0].state is EndpointState.RESTING


async def test_a_send_goes_to_every_endpoint_and_one_that_takes_it_is_enough() -> None:
    first, second = pair()
    async with opened(first, second) as rpc:
        first.dead = True
        raw = bytes.fromhex("00")
        second.canned["eth_sendRawTransaction"] = "0x" + "11" * 32
        sent = await rpc.tell(lambda web3: web3.eth.send_raw_transaction(raw))
        assert bytes(sent) == b"\x11" * 32


async def test_a_send_whose_answer_is_lost_is_not_refused_by_the_refusal_of_another() -> None:
    first, second = pair()
    async with opened(first, second) as rpc:
        first.dead = True
        with pytest.raises(Unavailable) as unknown:
            await rpc.tell(lambda web3: web3.eth.send_raw_transaction(b"\x00"))
    assert unknown.value.code == "chain_unreachable"


async def test_several_are_asked_at_once_and_a_dead_one_is_replaced() -> None:
    chain = new_chain()
    three = [FaultyRpc(chain) for _ in range(3)]
    async with opened(*three) as rpc:
        three[1].dead = True
        account = SessionKey(DEV_KEY).address
        answers = await rpc.ask_each(lambda web3: int(web3.eth.get_balance(account)), most=2)
        assert [answer.endpoint for answer in answers] == [0, 2]
        assert answers[0].value == answers[1].value
        assert await rpc.ask_each(lambda web3: 1, most=1, beside=[0, 1, 2]) == []


async def test_errors_of_the_body_come_out_as_they_are() -> None:
    first, second = pair()
    with pytest.raises(InvalidRequest):
        async with opened(first, second):
            raise InvalidRequest("of the body", code="body")


async def test_too_many_endpoints_are_refused() -> None:
    with pytest.raises(InvalidRequest) as refused:
        async with open_evm_rpc(["http://127.0.0.1:9"] * (MAX_ENDPOINTS + 1)):
            pass
    assert refused.value.code == "chain_url"
