"""The ``Chain`` port's stake: put up, left, taken out after its time, and lost for a contradiction."""

from __future__ import annotations

import pytest
from msgspec import structs

from ledger.ports import Chain, Contradiction, Stake
from ledger.voucher import SessionKey
from tests.fakes.chain_worlds import ChainWorld
from tests.fakes.stake_model import NOBODY
from tests.fakes.statements import GRANT, RECEIPT, statement_digest

pytestmark = pytest.mark.chain

PROVIDER_SECRET, OTHER_SECRET = b"\x22" * 32, b"\x33" * 32
PROVIDER, OTHER = SessionKey(PROVIDER_SECRET), SessionKey(OTHER_SECRET)
SUBJECT = b"\x5a" * 32
STAKE_DELAY_S = 2 * 255
"""Twice the longest window of an escrow with steps of a second."""


@pytest.fixture
async def provider(world: ChainWorld) -> Chain:
    return await world.open(PROVIDER, PROVIDER_SECRET, units=10_000)


@pytest.fixture
async def other(world: ChainWorld) -> Chain:
    return await world.open(OTHER, OTHER_SECRET, units=0)


def proof(world: ChainWorld, *, kind: int = RECEIPT, sequence: int = 1, signer: SessionKey = PROVIDER) -> Contradiction:
    bodies = (b"\x0a" * 32, b"\x0b" * 32)
    signatures = [signer.sign(statement_digest(world.domain, kind, SUBJECT, sequence, body)) for body in bodies]
    return Contradiction(
        provider=PROVIDER.address,
        kind=kind,
        subject=SUBJECT,
        sequence=sequence,
        body_a=bodies[0],
        signature_a=signatures[0],
        body_b=bodies[1],
        signature_b=signatures[1],
    )


async def test_a_stake_is_put_up_and_seen_by_all(provider: Chain, other: Chain) -> None:
    assert await other.stake_of(PROVIDER.address) == Stake()
    assert (await provider.add_stake(600)).succeeded
    assert (await provider.add_stake(400)).succeeded
    assert await other.stake_of(PROVIDER.address, confirmations=1) == Stake(amount=1000)
    assert await other.stake_of(PROVIDER.address, confirmations=10**6) == Stake()
    assert await other.token_balance(PROVIDER.address) == 9_000
    assert await other.token_balance(other.escrow) == 1_000
    assert not (await provider.add_stake(0)).succeeded


async def test_a_stake_leaves_only_after_its_time(world: ChainWorld, provider: Chain) -> None:
    assert not (await provider.leave_stake()).succeeded
    await provider.add_stake(1000)
    assert not (await provider.take_stake()).succeeded
    assert (await provider.leave_stake()).succeeded
    assert not (await provider.leave_stake()).succeeded
    leaving = await provider.stake_of(PROVIDER.address)
    assert leaving.amount == 1000
    assert leaving.unlock_at >= (await provider.head()).timestamp + STAKE_DELAY_S - 60
    assert not (await provider.take_stake()).succeeded
    await world.leap(STAKE_DELAY_S + 1)
    assert (await provider.head()).timestamp >= leaving.unlock_at
    assert (await provider.take_stake()).succeeded
    assert await provider.stake_of(PROVIDER.address) == Stake()
    assert await provider.token_balance(PROVIDER.address) == 10_000
    assert not (await provider.take_stake()).succeeded


async def test_new_money_stops_a_leave(world: ChainWorld, provider: Chain) -> None:
    await provider.add_stake(1000)
    await provider.leave_stake()
    await provider.add_stake(1)
    assert await provider.stake_of(PROVIDER.address) == Stake(amount=1001)
    await world.leap(STAKE_DELAY_S + 1)
    assert not (await provider.take_stake()).succeeded


@pytest.mark.parametrize("kind", [RECEIPT, GRANT])
async def test_two_stories_of_one_thing_cost_half_the_stake_once(
    world: ChainWorld, provider: Chain, other: Chain, kind: int
) -> None:
    await provider.add_stake(1001)
    await provider.leave_stake()
    first = (await other.head()).number
    done = await other.slash_equivocation(proof(world, kind=kind))
    assert done.succeeded
    # 501 are taken, of which 125 go to the reporter; a stake that is leaving has not left.
    assert (await other.stake_of(PROVIDER.address)).amount == 500
    assert await other.token_balance(OTHER.address) == 125
    assert await other.token_balance(NOBODY) == 376
    assert await other.token_balance(other.escrow) == 500
    told = [event for event in await other.events(first, done.block) if event.kind == "Slashed"]
    assert told[0].arguments == {
        "provider": PROVIDER.address,
        "reporter": OTHER.address,
        "kind": kind,
        "subject": SUBJECT,
        "seq": 1,
        "bounty": 125,
        "burnt": 376,
    }
    assert not (await other.slash_equivocation(proof(world, kind=kind))).succeeded
    assert (await other.slash_equivocation(proof(world, kind=kind, sequence=2))).succeeded
    assert (await other.stake_of(PROVIDER.address)).amount == 250


async def test_what_is_no_contradiction_costs_nothing(world: ChainWorld, provider: Chain, other: Chain) -> None:
    true = proof(world)
    assert not (await other.slash_equivocation(true)).succeeded, "there is no stake yet"
    await provider.add_stake(1000)
    for wrong in (
        proof(world, signer=OTHER),
        structs.replace(true, body_b=true.body_a, signature_b=true.signature_a),
        structs.replace(true, signature_b=true.signature_a),
        structs.replace(true, sequence=2),
        structs.replace(true, kind=GRANT),
        structs.replace(true, kind=2),
        structs.replace(true, subject=bytes(32)),
        structs.replace(true, provider=OTHER.address),
        structs.replace(true, signature_a=b""),
    ):
        assert not (await other.slash_equivocation(wrong)).succeeded
    assert await provider.stake_of(PROVIDER.address) == Stake(amount=1000)
    assert (await other.slash_equivocation(true)).succeeded
