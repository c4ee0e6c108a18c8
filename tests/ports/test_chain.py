"""One suite for the ``Chain`` port: the fake in memory and the real adapter on two local chains must agree."""

from __future__ import annotations

import pytest
import trio

from ledger.ports import Chain, ChainHead, LaneKey, LaneOnChain, Transaction
from ledger.voucher import SessionKey, close_digest, sign_voucher
from market.errors import InvalidRequest, Unavailable
from tests.fakes.chain_worlds import EXIT_DELAY_S, ChainWorld

pytestmark = pytest.mark.chain

PAYER_SECRET, PAYEE_SECRET, OTHER_SECRET = b"\x11" * 32, b"\x22" * 32, b"\x33" * 32
PAYER, PAYEE, OTHER = SessionKey(PAYER_SECRET), SessionKey(PAYEE_SECRET), SessionKey(OTHER_SECRET)
SESSION = SessionKey(b"\x44" * 32)
LANE = LaneKey(PAYER.address, PAYEE.address, SESSION.address)
FAR_FUTURE_S = 2**40 - 1
PATIENCE_S = 20


@pytest.fixture
async def payer(world: ChainWorld) -> Chain:
    return await world.open(PAYER, PAYER_SECRET)


@pytest.fixture
async def payee(world: ChainWorld) -> Chain:
    return await world.open(PAYEE, PAYEE_SECRET, units=0)


def row(world: ChainWorld, cumulative: int) -> bytes:
    return sign_voucher(SESSION, world.domain, LANE, cumulative).row()


def consent(
    world: ChainWorld, key: SessionKey, *, epoch: int, cumulative: int, deadline_s: int = FAR_FUTURE_S
) -> bytes:
    return key.sign(close_digest(world.domain, LANE, epoch=epoch, cumulative=cumulative, deadline_s=deadline_s))


def lane_of(**numbers: int) -> LaneOnChain:
    """A lane that was filled once, with the escrow's own window."""
    return LaneOnChain(**{"delay_s": EXIT_DELAY_S, **numbers})


async def until_time(chain: Chain, timestamp: int) -> ChainHead:
    with trio.fail_after(PATIENCE_S):
        while (head := await chain.head()).timestamp < timestamp:
            await trio.sleep(0.05)
    return head


async def test_a_view_knows_its_account_and_its_escrow(world: ChainWorld, payer: Chain) -> None:
    assert payer.account == PAYER.address
    assert (payer.chain_id, payer.escrow) == (world.domain.chain_id, world.domain.escrow)
    assert (payer.exit_delay_s, payer.delay_step_s) == (EXIT_DELAY_S, 1)


async def test_blocks_follow_each_other_without_any_transaction(payer: Chain) -> None:
    first = await payer.head()
    with trio.fail_after(PATIENCE_S):
        while (later := await payer.head()).number < first.number + 2:
            await trio.sleep(0.02)
    assert later.hash != first.hash
    assert later.timestamp >= first.timestamp


async def test_a_lane_that_was_never_filled_is_empty(payer: Chain) -> None:
    assert await payer.lane(LANE) == LaneOnChain()


async def test_a_deposit_moves_tokens_into_the_lane_and_is_confirmed_on_return(payer: Chain, payee: Chain) -> None:
    gas_before = await payer.gas_balance(PAYER.address)
    done = await payer.deposit(PAYEE.address, SESSION.address, 700)
    assert done.succeeded
    assert done.gas_used > 21_000
    assert await payee.lane(LANE, confirmations=1) == lane_of(balance=700)
    assert await payer.token_balance(PAYER.address) == 10**9 - 700
    assert await payer.token_balance(payer.escrow) == 700
    assert await payer.gas_balance(PAYER.address) < gas_before


async def test_a_second_deposit_adds_and_older_blocks_still_show_the_first(payer: Chain) -> None:
    await payer.deposit(PAYEE.address, SESSION.address, 700)
    done = await payer.deposit(PAYEE.address, SESSION.address, 300)
    head = await payer.head()
    assert await payer.lane(LANE) == lane_of(balance=1000)
    assert await payer.lane(LANE, confirmations=head.number - done.block + 1) == lane_of(balance=700)
    assert await payer.lane(LANE, confirmations=10**6) == LaneOnChain()


async def test_redeeming_pays_once_and_a_higher_voucher_pays_the_difference(
    world: ChainWorld, payer: Chain, payee: Chain
) -> None:
    await payer.deposit(PAYEE.address, SESSION.address, 1000)
    for cumulative, held in ((400, 400), (400, 400), (300, 400), (650, 650)):
        assert (await payee.redeem_many(PAYEE.address, [row(world, cumulative)])).succeeded
        assert await payee.token_balance(PAYEE.address) == held
    assert await payee.lane(LANE) == lane_of(balance=1000, claimed=650)


async def test_a_preview_says_what_a_redemption_would_pay_and_moves_nothing(
    world: ChainWorld, payer: Chain, payee: Chain
) -> None:
    await payer.deposit(PAYEE.address, SESSION.address, 1000)
    rows = [row(world, 400), bytes(96), row(world, 300)]
    assert await payee.preview_redeem(PAYEE.address, b"".join(rows)) == 400
    assert await payee.preview_redeem(OTHER.address, b"".join(rows)) == 0
    assert await payee.token_balance(PAYEE.address) == 0
    await payee.redeem_many(PAYEE.address, rows)
    assert await payee.token_balance(PAYEE.address) == 400
    assert await payee.preview_redeem(PAYEE.address, b"".join(rows)) == 0


async def test_a_voucher_above_the_balance_pays_what_is_there_and_the_rest_after_a_refill(
    world: ChainWorld, payer: Chain, payee: Chain
) -> None:
    await payer.deposit(PAYEE.address, SESSION.address, 500)
    await payee.redeem_many(PAYEE.address, [row(world, 800)])
    assert await payee.token_balance(PAYEE.address) == 500
    await payer.deposit(PAYEE.address, SESSION.address, 500)
    await payee.redeem_many(PAYEE.address, [row(world, 800)])
    assert await payee.token_balance(PAYEE.address) == 800


async def test_dead_rows_do_not_spoil_a_batch_that_a_stranger_sends(world: ChainWorld, payer: Chain) -> None:
    await payer.deposit(PAYEE.address, SESSION.address, 1000)
    stranger = await world.open(OTHER, OTHER_SECRET, units=0)
    good, garbage = row(world, 250), bytes(96)
    stolen = good[:20] + (900).to_bytes(12, "big") + good[32:]
    done = await stranger.redeem_many(PAYEE.address, [garbage, b"\xff" * 96, stolen, good, good])
    assert done.succeeded
    assert await stranger.token_balance(PAYEE.address) == 250
    assert await stranger.token_balance(OTHER.address) == 0


async def test_a_row_that_is_cut_short_is_refused_before_anything_is_sent(world: ChainWorld, payer: Chain) -> None:
    gas_before = await payer.gas_balance(PAYER.address)
    refused = await payer.redeem_many(PAYEE.address, [row(world, 1)[:-1]])
    assert not refused.succeeded
    assert refused.hash == bytes(32)
    assert await payer.gas_balance(PAYER.address) == gas_before


async def test_an_exit_waits_its_window_and_pays_the_payer_the_rest(
    world: ChainWorld, payer: Chain, payee: Chain
) -> None:
    await payer.deposit(PAYEE.address, SESSION.address, 1000)
    assert (await payer.start_exit(PAYEE.address, SESSION.address)).succeeded
    exit_at = (await payer.lane(LANE)).exit_at
    assert exit_at > 0
    assert not (await payer.start_exit(PAYEE.address, SESSION.address)).succeeded
    await payee.redeem_many(PAYEE.address, [row(world, 300)])
    await payer.deposit(PAYEE.address, SESSION.address, 50)
    assert (await payer.lane(LANE)).exit_at == exit_at

    await until_time(payee, exit_at)
    assert (await payee.finish_exit(LANE)).succeeded
    assert await payer.lane(LANE) == lane_of(balance=300, claimed=300, epoch=1)
    assert await payer.token_balance(PAYER.address) == 10**9 - 300
    assert await payer.token_balance(payer.escrow) == 0


async def test_an_exit_cannot_be_finished_before_its_time(payer: Chain) -> None:
    await payer.deposit(PAYEE.address, SESSION.address, 1000)
    assert not (await payer.finish_exit(LANE)).succeeded
    await payer.start_exit(PAYEE.address, SESSION.address)
    assert not (await payer.finish_exit(LANE)).succeeded
    assert (await payer.lane(LANE)).balance == 1000


async def test_a_spent_voucher_stays_spent_after_an_exit_and_a_refill(
    world: ChainWorld, payer: Chain, payee: Chain
) -> None:
    await payer.deposit(PAYEE.address, SESSION.address, 1000)
    await payee.redeem_many(PAYEE.address, [row(world, 400)])
    await payer.start_exit(PAYEE.address, SESSION.address)
    await until_time(payer, (await payer.lane(LANE)).exit_at)
    await payer.finish_exit(LANE)
    await payer.deposit(PAYEE.address, SESSION.address, 1000)
    await payee.redeem_many(PAYEE.address, [row(world, 400)])
    assert await payee.lane(LANE) == lane_of(balance=1400, claimed=400, epoch=1)
    assert await payee.token_balance(PAYEE.address) == 400


async def test_only_the_payer_starts_and_cancels_its_exit(payer: Chain, payee: Chain) -> None:
    await payer.deposit(PAYEE.address, SESSION.address, 1000)
    assert not (await payee.start_exit(PAYEE.address, SESSION.address)).succeeded
    assert not (await payer.cancel_exit(PAYEE.address, SESSION.address)).succeeded
    await payer.start_exit(PAYEE.address, SESSION.address)
    assert not (await payee.cancel_exit(PAYEE.address, SESSION.address)).succeeded
    assert (await payer.cancel_exit(PAYEE.address, SESSION.address)).succeeded
    assert await payer.lane(LANE) == lane_of(balance=1000)


async def close(
    chain: Chain, *, cumulative: int, payee: bytes = b"", payer: bytes = b"", by_s: int = FAR_FUTURE_S
) -> Transaction:
    return await chain.close_together(
        LANE, cumulative=cumulative, deadline_s=by_s, payee_signature=payee, payer_signature=payer
    )


async def test_closing_together_splits_the_lane_at_once(world: ChainWorld, payer: Chain) -> None:
    await payer.deposit(PAYEE.address, SESSION.address, 1000)
    done = await close(payer, cumulative=350, payee=consent(world, PAYEE, epoch=0, cumulative=350))
    assert done.succeeded
    assert await payer.lane(LANE) == lane_of(balance=350, claimed=350, epoch=1)
    assert await payer.token_balance(PAYEE.address) == 350
    assert await payer.token_balance(PAYER.address) == 10**9 - 350


async def test_a_stranger_may_close_with_both_consents_and_only_once(world: ChainWorld, payer: Chain) -> None:
    stranger = await world.open(OTHER, OTHER_SECRET)
    await payer.deposit(PAYEE.address, SESSION.address, 1000)
    signed = {
        "payee": consent(world, PAYEE, epoch=0, cumulative=600),
        "payer": consent(world, PAYER, epoch=0, cumulative=600),
    }
    assert (await close(stranger, cumulative=600, **signed)).succeeded
    await payer.deposit(PAYEE.address, SESSION.address, 1000)
    assert not (await close(stranger, cumulative=600, **signed)).succeeded
    assert (await payer.lane(LANE)).balance == 1600


async def test_a_close_needs_the_right_consents(world: ChainWorld, payer: Chain, payee: Chain) -> None:
    await payer.deposit(PAYEE.address, SESSION.address, 1000)
    good = consent(world, PAYEE, epoch=0, cumulative=600)
    forged = consent(world, OTHER, epoch=0, cumulative=600)
    by_session_key = consent(world, SESSION, epoch=0, cumulative=600)
    assert not (await close(payer, cumulative=600)).succeeded
    assert not (await close(payer, cumulative=600, payee=forged)).succeeded
    assert not (await close(payer, cumulative=601, payee=good)).succeeded
    assert not (await close(payee, cumulative=600, payer=by_session_key)).succeeded
    assert not (await close(payee, cumulative=600, payee=good, payer=good)).succeeded
    late = consent(world, PAYEE, epoch=0, cumulative=600, deadline_s=1)
    assert not (await close(payer, cumulative=600, payee=late, by_s=1)).succeeded
    above = consent(world, PAYEE, epoch=0, cumulative=1001)
    assert not (await close(payer, cumulative=1001, payee=above)).succeeded
    assert await payer.lane(LANE) == lane_of(balance=1000)


async def test_the_log_tells_a_lane_s_whole_life(world: ChainWorld, payer: Chain, payee: Chain) -> None:
    lane = {"payer": PAYER.address, "provider": PAYEE.address, "signer": SESSION.address}
    first = (await payer.head()).number
    await payer.deposit(PAYEE.address, SESSION.address, 1000)
    await payer.start_exit(PAYEE.address, SESSION.address)
    exit_at = (await payer.lane(LANE)).exit_at
    await payer.cancel_exit(PAYEE.address, SESSION.address)
    redeemed = await payee.redeem_many(PAYEE.address, [row(world, 250), bytes(96)])
    done = await close(payer, cumulative=400, payee=consent(world, PAYEE, epoch=0, cumulative=400))

    log = await payee.events(first, done.block)
    assert [(event.kind, event.arguments) for event in log] == [
        ("Deposited", {**lane, "amount": 1000}),
        ("ExitStarted", {**lane, "exitAt": exit_at}),
        ("ExitCancelled", lane),
        ("Redeemed", {"provider": PAYEE.address, "paid": 250, "rows": 2}),
        ("LaneClosed", {**lane, "toProvider": 150, "toPayer": 600}),
    ]
    assert (log[3].block, log[3].transaction) == (redeemed.block, redeemed.hash)
    assert [e.kind for e in await payee.events(done.block, done.block)] == ["LaneClosed"]


async def test_a_transaction_is_found_by_its_hash(payer: Chain, payee: Chain) -> None:
    done = await payer.deposit(PAYEE.address, SESSION.address, 1000)
    assert await payee.transaction(done.hash) == done
    assert await payee.transaction(b"\x77" * 32) is None


async def test_a_deposit_beyond_the_account_s_tokens_is_its_owner_s_mistake(payer: Chain) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await payer.deposit(PAYEE.address, SESSION.address, 10**9 + 1)
    assert refused.value.code == "tokens_short"
    with pytest.raises(InvalidRequest) as refused:
        await payer.add_stake(10**9 + 1)
    assert refused.value.code == "tokens_short"
    assert "deposit" not in str(refused.value.fix)


async def test_an_account_without_coin_is_told_so(world: ChainWorld) -> None:
    poor = await world.open(OTHER, OTHER_SECRET, units=1000, gas_wei=0)
    with pytest.raises(InvalidRequest) as refused:
        await poor.redeem_many(PAYEE.address, [bytes(96)])
    assert refused.value.code == "gas_short"


async def test_many_tasks_may_send_at_once(payer: Chain) -> None:
    await payer.deposit(PAYEE.address, SESSION.address, 1)
    done: list[Transaction] = []

    async def deposit(amount: int) -> None:
        done.append(await payer.deposit(PAYEE.address, SESSION.address, amount))

    async with trio.open_nursery() as nursery:
        for amount in (10, 100, 1000, 10_000):
            nursery.start_soon(deposit, amount)
    assert len({transaction.hash for transaction in done}) == 4
    assert (await payer.lane(LANE)).balance == 11_111


async def test_a_silent_chain_is_unavailable(world: ChainWorld, payer: Chain) -> None:
    await world.cut()
    for question in (payer.head, lambda: payer.lane(LANE), lambda: payer.deposit(PAYEE.address, SESSION.address, 1)):
        with pytest.raises(Unavailable) as silent:
            await question()
        assert silent.value.code == "chain_unreachable"
