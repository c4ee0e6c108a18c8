"""The ``Chain`` port's other ways in and out: many lanes at once, permits, authorizations, releases, another purse."""

from __future__ import annotations

import pytest
from msgspec import structs

from ledger.ports import Chain, LaneDeposit, LaneKey, LaneOnChain, Transaction
from ledger.token_signatures import authorization_digest, permit_digest
from ledger.voucher import SessionKey, release_digest, sign_voucher
from market.errors import InvalidRequest
from tests.fakes.chain_worlds import EXIT_DELAY_S, ChainWorld

pytestmark = pytest.mark.chain

PAYER_SECRET, PAYEE_SECRET, OTHER_SECRET = b"\x11" * 32, b"\x22" * 32, b"\x33" * 32
PAYER, PAYEE, OTHER = SessionKey(PAYER_SECRET), SessionKey(PAYEE_SECRET), SessionKey(OTHER_SECRET)
SESSION, SECOND = SessionKey(b"\x44" * 32), SessionKey(b"\x55" * 32)
LANE = LaneKey(PAYER.address, PAYEE.address, SESSION.address)
LANE_2 = LaneKey(PAYER.address, PAYEE.address, SECOND.address)
FAR_FUTURE_S = 2**40 - 1
SALT = b"\x66" * 32


@pytest.fixture
async def payer(world: ChainWorld) -> Chain:
    return await world.open(PAYER, PAYER_SECRET)


@pytest.fixture
async def payee(world: ChainWorld) -> Chain:
    return await world.open(PAYEE, PAYEE_SECRET, units=0)


async def permit_of(key: SessionKey, chain: Chain, value: int, *, deadline_s: int = FAR_FUTURE_S) -> bytes:
    digest = permit_digest(
        await chain.token_domain(),
        owner=key.address,
        spender=chain.escrow,
        value=value,
        nonce=await chain.permit_nonce(key.address),
        deadline_s=deadline_s,
    )
    return key.sign(digest)


async def authorization_of(key: SessionKey, chain: Chain, lane: LaneKey, value: int) -> bytes:
    domain = await chain.token_domain()
    return key.sign(
        authorization_digest(domain, escrow=chain.escrow, lane=lane, value=value, salt=SALT, until_s=FAR_FUTURE_S)
    )


async def authorized(chain: Chain, lane: LaneKey, amount: int, signature: bytes) -> Transaction:
    return await chain.deposit_with_authorization(
        lane, amount, until_s=FAR_FUTURE_S, salt=SALT, authorization=signature
    )


async def test_many_lanes_are_filled_by_one_transaction_or_none(payer: Chain, payee: Chain) -> None:
    done = await payer.deposit_many(
        [LaneDeposit(lane=LANE, amount=300), LaneDeposit(lane=LANE_2, amount=500, delay_s=7)]
    )
    assert done.succeeded
    assert await payee.lane(LANE) == LaneOnChain(balance=300, delay_s=EXIT_DELAY_S)
    assert await payee.lane(LANE_2) == LaneOnChain(balance=500, delay_s=7)
    assert await payer.token_balance(payer.escrow) == 800
    nobody = structs.replace(LANE, signer=bytes(20))
    refused = await payer.deposit_many([LaneDeposit(lane=LANE, amount=1), LaneDeposit(lane=nobody, amount=1)])
    assert not refused.succeeded
    assert (await payee.lane(LANE)).balance == 300
    assert not (await payer.deposit_many([])).succeeded


async def test_a_window_grows_by_the_payer_s_will_and_shrinks_only_in_an_empty_lane(
    world: ChainWorld, payer: Chain, payee: Chain
) -> None:
    async def fill(chain: Chain, delay_s: int) -> bool:
        return (await chain.deposit_many([LaneDeposit(lane=LANE, amount=100, delay_s=delay_s)])).succeeded

    stranger = await world.open(OTHER, OTHER_SECRET)
    assert not await fill(stranger, 255)
    assert await fill(stranger, 0)
    assert await fill(payer, EXIT_DELAY_S + 3)
    assert not await fill(payer, EXIT_DELAY_S + 2)
    assert await fill(payer, 0)
    assert (await payer.lane(LANE)).delay_s == EXIT_DELAY_S + 3
    await payee.redeem_many(PAYEE.address, [sign_voucher(SESSION, world.domain, LANE, 300).row()])
    assert await fill(payer, 1)
    assert await payer.lane(LANE) == LaneOnChain(balance=400, claimed=300, delay_s=1)


async def test_a_window_that_the_escrow_cannot_have_is_its_owner_s_mistake(payer: Chain) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await payer.deposit_many([LaneDeposit(lane=LANE, amount=1, delay_s=256)])
    assert refused.value.code == "exit_delay"


async def test_a_permit_stands_for_the_approval(payer: Chain) -> None:
    signed = await permit_of(PAYER, payer, 700)
    done = await payer.deposit_with_permit(PAYEE.address, SESSION.address, 700, deadline_s=FAR_FUTURE_S, permit=signed)
    assert done.succeeded
    assert (await payer.lane(LANE)).balance == 700
    assert await payer.permit_nonce(PAYER.address) == 1
    again = await payer.deposit_with_permit(PAYEE.address, SESSION.address, 700, deadline_s=FAR_FUTURE_S, permit=signed)
    assert not again.succeeded, "used up, and nothing was approved"


async def test_a_permit_that_fails_falls_through_to_the_allowance(payer: Chain) -> None:
    stale = await permit_of(PAYER, payer, 50, deadline_s=1)
    refused = await payer.deposit_with_permit(PAYEE.address, SESSION.address, 50, deadline_s=1, permit=stale)
    assert not refused.succeeded
    await payer.deposit(PAYEE.address, SESSION.address, 100)
    done = await payer.deposit_with_permit(PAYEE.address, SESSION.address, 50, deadline_s=1, permit=stale)
    assert done.succeeded
    assert (await payer.lane(LANE)).balance == 150


async def test_an_authorization_lets_a_stranger_send_the_payer_s_deposit_once(world: ChainWorld, payer: Chain) -> None:
    stranger = await world.open(OTHER, OTHER_SECRET)
    signed = await authorization_of(PAYER, payer, LANE, 600)
    turned = structs.replace(LANE, payee=OTHER.address)
    assert not (await authorized(stranger, turned, 600, signed)).succeeded
    assert not (await authorized(stranger, LANE, 601, signed)).succeeded
    assert (await authorized(stranger, LANE, 600, signed)).succeeded
    assert (await payer.lane(LANE)).balance == 600
    assert await payer.token_balance(PAYER.address) == 10**9 - 600
    assert await stranger.token_balance(OTHER.address) == 10**9
    assert not (await authorized(stranger, LANE, 600, signed)).succeeded


async def test_an_authorization_that_somebody_sent_first_is_not_paid_a_second_time(
    world: ChainWorld, payer: Chain
) -> None:
    stranger = await world.open(OTHER, OTHER_SECRET)
    await payer.deposit(PAYEE.address, SESSION.address, 1)
    signed = await authorization_of(PAYER, payer, LANE, 600)
    assert (await authorized(stranger, LANE, 600, signed)).succeeded
    assert not (await authorized(payer, LANE, 600, signed)).succeeded
    assert (await payer.lane(LANE)).balance == 601


async def test_an_authorization_that_fails_falls_through_for_the_payer_alone(world: ChainWorld, payer: Chain) -> None:
    stranger = await world.open(OTHER, OTHER_SECRET)
    for chain in (payer, stranger):
        await chain.deposit(PAYEE.address, SESSION.address, 1)
    forged = await authorization_of(OTHER, payer, LANE, 600)
    assert not (await authorized(stranger, LANE, 600, forged)).succeeded
    assert (await authorized(payer, LANE, 600, forged)).succeeded
    assert (await payer.lane(LANE)).balance == 601


async def test_a_provider_may_be_paid_out_elsewhere(world: ChainWorld, payer: Chain, payee: Chain) -> None:
    await payer.deposit(PAYEE.address, SESSION.address, 1000)
    row = sign_voucher(SESSION, world.domain, LANE, 400).row()
    for nowhere in (bytes(20), payer.escrow):
        assert not (await payee.redeem_to(nowhere, [row])).succeeded
    # To the sender's own vouchers only: a payer cannot turn the provider's money to itself.
    assert (await payer.redeem_to(PAYER.address, [row])).succeeded
    assert await payer.lane(LANE) == LaneOnChain(balance=1000, delay_s=EXIT_DELAY_S)
    assert (await payee.redeem_to(OTHER.address, [row])).succeeded
    assert await payer.token_balance(OTHER.address) == 400
    assert await payer.token_balance(PAYEE.address) == 0


async def test_a_release_gives_back_at_once_what_the_provider_lets_go(
    world: ChainWorld, payer: Chain, payee: Chain
) -> None:
    await payer.deposit(PAYEE.address, SESSION.address, 1000)
    await payee.redeem_many(PAYEE.address, [sign_voucher(SESSION, world.domain, LANE, 200).row()])

    async def release(
        new_balance: int, signer: SessionKey = PAYEE, *, epoch: int = 0, until_s: int = 2**40 - 1
    ) -> bool:
        digest = release_digest(world.domain, LANE, epoch=epoch, new_balance=new_balance, deadline_s=until_s)
        done = await payer.release(
            PAYEE.address,
            SESSION.address,
            new_balance=new_balance,
            deadline_s=until_s,
            payee_signature=signer.sign(digest),
        )
        return done.succeeded

    assert not await release(300, OTHER)
    assert not await release(300, epoch=1)
    assert not await release(300, until_s=1)
    assert not await release(199)
    assert not await release(1000)
    assert await release(300)
    assert await payer.lane(LANE) == LaneOnChain(balance=300, claimed=200, epoch=1, delay_s=EXIT_DELAY_S)
    assert await payer.token_balance(PAYER.address) == 10**9 - 300
    assert not await release(300)
    await payer.deposit(PAYEE.address, SESSION.address, 700)
    assert not await release(300), "the consent died with its use"
    assert (await payer.lane(LANE)).balance == 1000


async def test_the_log_tells_of_windows_and_releases(world: ChainWorld, payer: Chain) -> None:
    lane = {"payer": PAYER.address, "provider": PAYEE.address, "signer": SESSION.address}
    first = (await payer.head()).number
    await payer.deposit_many([LaneDeposit(lane=LANE, amount=500, delay_s=9)])
    digest = release_digest(world.domain, LANE, epoch=0, new_balance=100, deadline_s=FAR_FUTURE_S)
    done = await payer.release(
        PAYEE.address,
        SESSION.address,
        new_balance=100,
        deadline_s=FAR_FUTURE_S,
        payee_signature=PAYEE.sign(digest),
    )
    assert [(event.kind, event.arguments) for event in await payer.events(first, done.block)] == [
        ("DelaySet", {**lane, "delaySeconds": 9}),
        ("Deposited", {**lane, "amount": 500}),
        ("Released", {**lane, "toPayer": 400}),
    ]
