"""The buying side of an auction: down the list until somebody signs, and among many for what they leave."""

from __future__ import annotations

from typing import Any

import trio
from msgspec.structs import replace
from trio.testing import MockClock

from market.quoting import QUOTE_TTL_MS
from market.records import Lease, Quote, RefusalReason, Requirements
from market.signing import verify
from market.transcript import check_award
from node import wire
from node.auction import MAKE_WAY_S
from node.control import price_view
from node.ports import PeerUnreachable
from node.rival_bids import SETTLE_MOST_S
from tests.fakes.sales import SELLERS, Sale, a_rival_bid, a_sale, an_offer_by, at_work, grant, refuse
from tests.fakes.samples import BUYER, PAYER, SESSION, SPEC, some_limits
from tests.simulation.marketplace import START_MS


async def test_the_cheapest_that_signs_gets_the_job(autojump_clock: MockClock):
    async with a_sale() as sale:
        outcome = await sale.buy()
    assert outcome.lease is not None
    assert outcome.lease.signer == SELLERS[0].key
    assert outcome.match is not None
    assert outcome.match.price == 100
    assert sale.asked() == [100]
    assert verify(outcome.lease.raw, Lease).record.award == sale.awards[0].raw


async def test_the_award_repeats_the_tag_to_the_letter(autojump_clock: MockClock):
    async with a_sale(1) as sale:
        await sale.buy()
    (award,) = sale.awards
    (offer,) = sale.intake.book.live(START_MS)
    record, tag = award.record, offer.record
    assert (record.offer_id, record.offer_version, record.price) == (offer.id, tag.version, tag.price)
    assert (record.terms, record.payee, record.escrow) == (tag.terms, tag.settlement.payee, tag.settlement.escrow)
    assert (record.payer, record.signer, record.requester) == (PAYER, SESSION, BUYER.key)
    assert record.lane_proof.startswith(tag.settlement.payee)
    assert record.quote == b""


async def test_a_bid_keeps_to_itself_what_nobody_needs_to_know(autojump_clock: MockClock):
    secret = replace(SPEC, image="secret.example/image", command=("secret", "words"), env={"KEY": "secret"})
    async with a_sale(1) as sale:
        await sale.buy(spec=secret, limits=some_limits(max_price=123_456_789))
        await trio.sleep(1)
    ((topic, message),) = sale.network.published
    assert topic == wire.TOPIC_BIDS
    assert b"secret" not in message
    assert (123_456_789).to_bytes(4, "big") not in message
    ((bid,),) = sale.bids()
    assert bid.record.spec_hash == sale.awards[0].record.spec_hash


async def test_every_auction_has_a_bid_of_its_own(autojump_clock: MockClock):
    async with a_sale(1) as sale:
        await sale.buy()
        await sale.buy()
    assert len({award.record.bid_id for award in sale.awards}) == 2


async def test_a_refusal_leads_to_the_next_best_and_teaches_the_book(autojump_clock: MockClock):
    async with a_sale() as sale:
        sale.replies[SELLERS[0].key] = refuse
        outcome = await sale.buy()
        assert outcome.lease is not None
        assert sale.asked() == [100, 101]
        assert sale.refusals() == ["no_capacity"]
        assert sale.network.penalties == []
        await sale.buy()
    assert sale.asked() == [100, 101, 101], "it was told that nothing is free there"


async def test_a_seller_that_is_away_is_passed_over_without_blame(autojump_clock: MockClock):
    def away(*_asked: Any) -> Any:
        raise PeerUnreachable("away")

    async with a_sale(2) as sale:
        sale.replies[SELLERS[0].key] = away
        outcome = await sale.buy()
    assert outcome.lease is not None
    assert (sale.refusals(), sale.network.penalties, sale.asked()) == (["unreachable"], [], [100, 101])


async def test_so_many_are_asked_and_no_more(autojump_clock: MockClock):
    async with a_sale(12) as sale:
        for seller in SELLERS:
            sale.replies[seller.key] = lambda s, a: refuse(s, a, reason=RefusalReason.DRAINING)
        outcome = await sale.buy()
    assert outcome.lease is None
    assert len(sale.awards) == wire.MAX_AWARD_TRIES
    assert len(outcome.shortlist.matches) == 12


async def test_where_nothing_fits_nobody_is_asked_and_nothing_is_announced(autojump_clock: MockClock):
    async with a_sale(3) as sale:
        outcome = await sale.buy(limits=some_limits(max_price=1))
        await trio.sleep(1)
    assert (outcome.lease, outcome.shortlist.matches, sale.awards, sale.network.published) == (None, (), [], [])
    assert outcome.why_not.closest[0].value == 100


async def test_what_cannot_be_paid_is_not_asked_for(autojump_clock: MockClock):
    async with a_sale(3) as sale:
        caps = [match.cap for match in (await sale.buy()).shortlist.matches]
        sale.awards.clear()
        assert (await sale.buy(funds=min(caps) - 1)).lease is None
        assert sale.awards == []
        assert (await sale.buy(funds=min(caps))).lease is not None


async def test_the_owner_is_told_who_fits_and_why_others_do_not(autojump_clock: MockClock):
    async with at_work(Sale(an_offer_by(0, price=100), an_offer_by(1, price=10**6))) as sale:
        await sale.buy()
    kind, detail = sale.told[0]
    assert (kind, detail["offers"], detail["matches"]) == ("matching", 2, 1)
    assert detail["rejected"] == [{"rule": "price", "fails": 1, "only": 1}]
    assert [one["provider"] for one in detail["candidates"]] == [SELLERS[0].key.hex()]


async def test_a_place_that_was_taken_while_others_were_asked_is_passed_over(autojump_clock: MockClock):
    async with a_sale(4) as sale:

        def refuse_while_others_go(seller: Any, award: Any) -> Any:
            sale.intake.take(an_offer_by(1, price=101, version=2, free_slots=0))
            sale.intake.take(an_offer_by(2, price=102, version=2, withdrawn=True))
            return refuse(seller, award)

        sale.replies[SELLERS[0].key] = refuse_while_others_go
        outcome = await sale.buy()
    assert sale.asked() == [100, 103]
    assert outcome.file is not None
    found = check_award(outcome.file)
    assert (found.place, found.refused, found.by_word) == (4, 1, 2)


async def test_anybody_can_check_why_this_provider_was_chosen(autojump_clock: MockClock):
    async with a_sale(3) as sale:
        sale.replies[SELLERS[0].key] = refuse
        outcome = await sale.buy()
    assert outcome.file is not None
    found = check_award(outcome.file)
    assert (found.place, found.refused, found.provider) == (2, 1, SELLERS[1].key)


async def test_a_node_does_not_buy_from_itself(autojump_clock: MockClock):
    own = BUYER.sign(replace(an_offer_by(0).record, provider=BUYER.key, price=1))
    async with at_work(Sale(own, an_offer_by(1, price=100))) as sale:
        outcome = await sale.buy()
    assert sale.asked() == [100]
    assert (outcome.why_not.offers, outcome.why_not.matches) == (1, 1)
    assert outcome.file is not None
    assert check_award(outcome.file).place == 1


async def test_without_rivals_nobody_waits(autojump_clock: MockClock):
    async with a_sale(3) as sale:
        sale.hear(*[a_rival_bid(number) for number in range(5)])
        began = trio.current_time()
        await sale.buy()
        assert trio.current_time() == began
    assert sale.asked() == [100]


async def test_among_many_each_asks_for_what_the_others_leave(autojump_clock: MockClock):
    """Eight jobs of one node for eight machines with one slot each: every first question is answered with a lease."""
    async with a_sale(8, free_slots=1, total_slots=1) as sale:
        sale.hear(*[a_rival_bid(number, requirements=Requirements(gpus=("A100",))) for number in range(8)])
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(_buy_job, sale, number)
    assert sorted(sale.asked()) == list(range(100, 108))
    assert [len(batch) for batch in sale.bids()] == [wire.MAX_BATCH_RECORDS], "they were announced in one message"


async def _buy_job(sale: Sale, number: int) -> None:
    # A little later than the others, so that all have bid when the first looks who else does.
    await trio.sleep(0.001)
    outcome = await sale.buy(salt=bytes([number]) * 16)
    assert outcome.file is not None
    found = check_award(outcome.file)
    assert found.place == 1


async def test_who_is_left_nothing_lets_the_others_go_first_and_takes_what_they_leave(autojump_clock: MockClock):
    async with a_sale(2, free_slots=3, total_slots=3) as sale:
        bids = [a_rival_bid(number) for number in range(8)]
        sale.hear(*bids)
        granted = tuple(bid.record.bid_id[:8] for bid in bids)

        async def serve() -> None:
            """Two of the eight are served by the first, none by the second."""
            await trio.sleep(0.9)
            sale.intake.take(an_offer_by(0, price=100, version=2, free_slots=1, granted=granted[:2]))
            sale.intake.take(an_offer_by(1, price=101, version=2, free_slots=2, granted=granted[2:]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            # The last of its moment: all eight go first.
            await trio.sleep(0.6)
            await sale.buy()
            assert trio.current_time() > 0.6 + MAKE_WAY_S
    assert sale.asked() == [100]


async def test_among_many_bids_of_others_the_choice_waits_until_they_are_heard(autojump_clock: MockClock):
    async with a_sale(8, free_slots=1, total_slots=1) as sale:
        sale.hear(*[a_rival_bid(number) for number in range(6)])
        began = trio.current_time()
        outcome = await sale.buy()
        assert 0 < trio.current_time() - began < SETTLE_MOST_S
        assert outcome.file is not None
        assert check_award(outcome.file).rivals == 6


async def test_slots_that_are_ours_are_not_asked_for_again_before_their_provider_says_so(autojump_clock: MockClock):
    async with a_sale(2, free_slots=2) as sale:
        for _ in range(3):
            await sale.buy()
        assert sale.asked() == [100, 100, 101]
        sale.intake.take(an_offer_by(0, price=100, version=2, free_slots=1))
        await sale.buy()
    assert sale.asked()[-1] == 100


async def test_a_tag_that_counts_our_lease_already_is_believed(autojump_clock: MockClock):
    async with a_sale(2, free_slots=3) as sale:

        def post_and_grant(seller: Any, award: Any) -> Any:
            granted = (award.record.bid_id[:8],)
            sale.intake.take(an_offer_by(0, price=100, version=2, free_slots=1, granted=granted))
            return grant(seller, award)

        sale.replies[SELLERS[0].key] = post_and_grant
        await sale.buy()
        del sale.replies[SELLERS[0].key]
        await sale.buy()
    assert sale.asked() == [100, 100]


async def test_rivals_whose_bids_were_granted_are_not_counted_again(autojump_clock: MockClock):
    async with at_work(Sale()) as sale:
        bids = [a_rival_bid(number) for number in range(8)]
        granted = tuple(bid.record.bid_id[:8] for bid in bids[:4])
        for number in range(8):
            sale.intake.take(
                an_offer_by(number, price=100 + number, free_slots=1, granted=granted if number == 5 else ())
            )
        sale.hear(*bids)
        outcome = await sale.buy()
    assert outcome.file is not None
    assert check_award(outcome.file).rivals == 4
    assert sale.asked() == [100], "four are too few to make way for"


async def test_who_quotes_below_all_tags_is_asked_first_and_at_its_quote(autojump_clock: MockClock):
    async with a_sale(3) as sale:
        sale.quotes = {SELLERS[1].key: 99, SELLERS[2].key: 95}
        outcome = await sale.buy(quotes=True)
    assert outcome.lease is not None
    assert outcome.lease.signer == SELLERS[2].key
    (award,) = sale.awards
    assert (award.record.price, verify(award.record.quote, Quote).record.price) == (95, 95)
    quoted = [(one["provider"], one["price"], one["tag"]) for kind, one in sale.told if kind == "quoted"]
    assert quoted == [(SELLERS[n].key.hex(), price_view(p), price_view(100 + n)) for n, p in ((2, 95), (1, 99))]
    assert outcome.file is not None
    assert check_award(outcome.file).price == 95


async def test_who_does_not_stand_by_its_quotes_is_asked_at_its_tag(autojump_clock: MockClock):
    async with a_sale(3) as sale:
        sale.quotes = {SELLERS[0].key: 90, SELLERS[1].key: 95}
        sale.auctioneer.quotes_in_vain = {SELLERS[0].key}.__contains__
        await sale.buy(quotes=True)
        sale.quotes = {SELLERS[0].key: 90}
        await sale.buy(quotes=True)
    assert sale.asked() == [95, 100]


async def test_nobody_is_asked_for_a_quote_that_was_not_wanted(autojump_clock: MockClock):
    async with a_sale(3) as sale:
        sale.quotes = {SELLERS[2].key: 95}
        await sale.buy()
    assert wire.PROTOCOL_QUOTE not in [protocol for _, protocol, _ in sale.network.requests]
    assert sale.asked() == [100]


async def test_a_quote_does_not_raise_what_is_set_aside_or_paid(autojump_clock: MockClock):
    async with a_sale(1) as sale:
        sale.quotes = {SELLERS[0].key: 101}
        assert (await sale.buy(quotes=True)).lease is not None
    assert (sale.asked(), sale.awards[0].record.quote) == ([100], b"")


async def test_a_quote_that_got_old_while_others_were_asked_is_not_tried(autojump_clock: MockClock):
    async with a_sale(3) as sale:
        sale.quotes = {SELLERS[0].key: 90, SELLERS[1].key: 91}
        request = sale.network.request

        async def slow(peer: bytes, protocol: str, body: bytes, **options: Any) -> bytes:
            if protocol == wire.PROTOCOL_AWARD and peer == SELLERS[0].key:
                await trio.sleep(QUOTE_TTL_MS / 1000)
                raise PeerUnreachable("away")
            return await request(peer, protocol, body, **options)

        sale.network.request = slow  # type: ignore[method-assign]
        outcome = await sale.buy(quotes=True)
    assert sale.asked() == [102]
    assert outcome.file is not None
    assert [one.word for one in outcome.file.tries] == ["unreachable", "quote_expired"]
    assert check_award(outcome.file).place == 3
