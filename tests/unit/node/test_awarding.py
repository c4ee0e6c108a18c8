"""One provider is asked for a lease: no answer is believed that does not fit, and a lost one leaves nothing behind."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from market.records import Requirements
from node import wire
from node.lease_board import lease_id_of
from node.ports import AnswerLost, PeerUnreachable
from tests.fakes.sales import SELLERS, Reply, Sale, a_sale, grant, refuse
from tests.fakes.samples import BUYER, SESSION_KEY, SPEC
from tests.fakes.samples import an_offer as plain_offer

MALLORY = SELLERS[11]
LIES: dict[str, Reply] = {
    "nothing": lambda s, a: {},
    "a list": lambda s, a: [],
    "junk for a lease": lambda s, a: {"lease": b"junk"},
    "a number for a lease": lambda s, a: {"lease": 5},
    "a number for a refusal": lambda s, a: {"refusal": 5},
    "an offer for a lease": lambda s, a: {"lease": s.sign(plain_offer(provider=s.key)).raw},
    "a lease signed by another": lambda s, a: grant(MALLORY, a, provider=MALLORY.key),
    "a lease for another award": lambda s, a: grant(s, a, award=BUYER.sign(replace(a.record, price=10**6)).raw),
    "a lease under a chosen id": lambda s, a: grant(s, a, lease_id=b"x" * 16),
    "a lease with more slots": lambda s, a: grant(s, a, slots=(0, 1)),
    "a lease of a node that grants nothing on the chain": lambda s, a: grant(s, a, grants=()),
    "a lease with grants of nobody": lambda s, a: grant(s, a, grants=(bytes(64),)),
    "a lease with grants of another account": lambda s, a: grant(s, a, grants=(SESSION_KEY.sign(b"g" * 32),)),
    "a lease with a grant too many": lambda s, a: grant(s, a, grants=(bytes(64), bytes(64))),
    "a refusal signed by another": lambda s, a: refuse(MALLORY, a, provider=MALLORY.key),
    "a refusal of another bid": lambda s, a: refuse(s, a, bid_id=b"x" * 16),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_costs_trust_and_the_sale(autojump_clock: MockClock, lie: str):
    async with a_sale(2) as sale:
        sale.replies[SELLERS[0].key] = LIES[lie]
        outcome = await sale.buy()
    assert outcome.lease is not None
    assert outcome.lease.signer == SELLERS[1].key
    assert [peer for peer, _ in sale.network.penalties] == [SELLERS[0].key]
    assert sale.cancelled == []


async def test_a_provider_without_grants_is_refused_by_a_word_of_its_own(autojump_clock: MockClock):
    async with a_sale(1) as sale:
        sale.replies[SELLERS[0].key] = lambda s, a: grant(s, a, grants=())
        assert (await sale.buy()).lease is None
    assert sale.network.penalties == [(SELLERS[0].key, "no_grant")]


async def test_one_slot_named_twice_is_not_two_slots(autojump_clock: MockClock):
    async with a_sale(1) as sale:
        sale.replies[SELLERS[0].key] = lambda s, a: grant(s, a, slots=(0, 0))
        assert (await sale.buy(spec=replace(SPEC, requirements=Requirements(slots=2)))).lease is None
    assert sale.network.penalties


async def test_an_award_outlives_any_tolerated_clock(autojump_clock: MockClock):
    async with a_sale(1) as sale:
        await sale.buy()
    assert sale.awards[0].record.expires_at > sale.clock.now_ms() + wire.MAX_CLOCK_SKEW_MS


async def test_a_provider_is_looked_for_where_its_offer_says(autojump_clock: MockClock):
    async with a_sale(1, addresses=("/ip4/127.0.0.1/tcp/5",)) as sale:
        sale.network.learned.clear()
        await sale.buy()
    assert sale.network.learned == [(SELLERS[0].key, ("/ip4/127.0.0.1/tcp/5",))]


def losing(sale: Sale, *, answers: int) -> Reply:
    """A seller whose first ``answers`` answers are lost on the way back."""
    left = [answers]

    def reply(seller: Any, award: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise AnswerLost("no answer")
        return grant(seller, award)

    return reply


async def test_an_award_whose_answer_was_lost_is_sent_again_to_the_letter(autojump_clock: MockClock):
    async with a_sale(2) as sale:
        sale.replies[SELLERS[0].key] = losing(sale, answers=1)
        outcome = await sale.buy()
        await trio.sleep(60)
    assert outcome.lease is not None
    assert outcome.lease.signer == SELLERS[0].key
    first, second = sale.awards
    assert first.raw == second.raw
    requests = [request for _, protocol, request in sale.network.requests if protocol == wire.PROTOCOL_AWARD]
    assert requests[0] == requests[1]
    assert (sale.refusals(), sale.cancelled) == ([], [])


async def test_a_lease_that_stays_unknown_is_called_back_while_the_next_is_asked(autojump_clock: MockClock):
    async with a_sale(2) as sale:
        sale.replies[SELLERS[0].key] = losing(sale, answers=2)
        outcome = await sale.buy()
        await trio.sleep(60)
    assert outcome.lease is not None
    assert outcome.lease.signer == SELLERS[1].key
    assert sale.refusals() == ["unreachable"]
    assert sale.asked() == [100, 100, 101]
    lost = lease_id_of(BUYER.key, SELLERS[0].key, sale.awards[0].record.bid_id)
    assert sale.cancelled == [(SELLERS[0].key, lost)], "once it was heard it is not said again"


async def test_calling_back_is_tried_for_a_while(autojump_clock: MockClock):
    async with a_sale(1) as sale:
        sale.replies[SELLERS[0].key] = losing(sale, answers=2)
        answer, away = sale.network.answer, [2]

        def away_for_a_while(peer: bytes, protocol: str, request: bytes) -> bytes:
            if protocol == wire.PROTOCOL_CANCEL and away[0]:
                away[0] -= 1
                raise PeerUnreachable("away")
            return answer(peer, protocol, request)

        sale.network.answer = away_for_a_while
        await sale.buy()
        await trio.sleep(60)
    assert [protocol for _, protocol, _ in sale.network.requests].count(wire.PROTOCOL_CANCEL) == 3
    assert len(sale.cancelled) == 1


async def test_a_request_that_never_left_is_neither_sent_again_nor_called_back(autojump_clock: MockClock):
    async with a_sale(1) as sale:

        def away(*_asked: Any) -> Any:
            raise PeerUnreachable("no address")

        sale.replies[SELLERS[0].key] = away
        await sale.buy()
        await trio.sleep(60)
    assert (len(sale.awards), sale.cancelled) == (1, [])


async def test_a_buyer_that_changes_its_mind_while_asking_calls_back(autojump_clock: MockClock):
    async with a_sale(1) as sale:
        request = sale.network.request

        async def slow(peer: bytes, protocol: str, body: bytes, **options: Any) -> bytes:
            answer = await request(peer, protocol, body, **options)
            if protocol == wire.PROTOCOL_AWARD:
                await trio.sleep(3)
            return answer

        sale.network.request = slow  # type: ignore[method-assign]
        with trio.move_on_after(1):
            await sale.buy()
        await trio.sleep(1)
    assert len(sale.cancelled) == 1
