"""Holds an auction on offers that a light client has checked: as a node would, but with nobody's money. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from market.ask import JobFacts
from market.explain import why_not
from market.knowledge import Known
from market.matching import shortlist
from market.offer_book import OfferBook
from market.records import Offer
from market.signing import Verified
from node import wire
from node.job_file.request import JobRequest
from node.job_terms import ask_of_request
from node.plan_shapes import PlanView
from node.plan_view import plan_view
from node.purchase import Purse

_NOBODY = bytes(20)


def light_plan(
    request: JobRequest, job: JobFacts, offers: Iterable[Verified[Offer]], rtts: Mapping[bytes, int], *, now: int
) -> PlanView:
    """What an auction for a job would see now. Nothing is known of anybody but the round trips given; a lane is open to
    nobody; and the escrow is the one that most providers want to be paid by.

    Args:
        request: the job.
        job: what is known of it.
        offers: checked offers.
        rtts: microseconds, by provider.
        now: UTC milliseconds.
    """
    known = list(offers)
    book = OfferBook(max_skew_ms=wire.MAX_CLOCK_SKEW_MS)
    for offer in known:
        book.take(offer, now)
    for provider, rtt_us in rtts.items():
        book.know(provider, Known(rtt_us=rtt_us))
    ask = ask_of_request(request, job, usual_purse(known))
    found = shortlist(book, ask, now=now)
    return plan_view(request, ask, found, why_not(book, ask, now), funds=None)


def usual_purse(offers: Iterable[Verified[Offer]]) -> Purse:
    """A purse in the escrow that most providers name; of several the first in order, so that all choose alike."""
    providers: dict[tuple[int, bytes], set[bytes]] = {}
    for offer in offers:
        place = offer.record.settlement
        providers.setdefault((place.chain_id, place.escrow), set()).add(offer.signer)
    chain_id, escrow = min(providers, key=lambda one: (-len(providers[one]), one), default=(1, _NOBODY))
    return Purse(payer=_NOBODY, signer=_NOBODY, chain_id=chain_id, escrow=escrow)
