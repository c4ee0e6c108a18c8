"""The protocol of one auction, so that anybody can hold it again and must find the same winner.

An award carries the digest of its transcript. Whoever is shown the transcript checks that it has this digest, that
every offer and bid in it is signed, and that the rules of :mod:`market.decision` pick the awarded offer from them, or
that the better ones were asked first and refused. What a requester never heard of cannot be in it: a transcript proves
that the choice followed from what was known, not that everything was known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from market import codec, money
from market.ask import Ask, JobFacts, ask_of
from market.decision import MAX_OFFER_BYTES, MAX_OFFERS, can_be_written, decide, written_size
from market.errors import InvalidRequest, PeerFault
from market.feasibility import Limits
from market.knowledge import STRANGER, Known
from market.matching import Match, Shortlist, shortlist
from market.offer_book import Intake, OfferBook
from market.offer_index import OfferIndex
from market.offer_row import Query
from market.records import Award, Bid, Digest, Lease, Offer, Quote, Refusal, RefusalReason
from market.signing import Verified, digest, verify

MAX_BYTES = 16 * 1024 * 1024
MAX_SKEW_MS = 60_000
_MAX_TRIES = 64


class Seen(Struct, frozen=True, kw_only=True):
    """An offer as the requester saw it: its envelope, the free slots counted on, and what it knew of the provider."""

    offer: bytes
    free: Annotated[int, Meta(ge=0, le=4096)]
    known: Known = STRANGER


class Transcript(Struct, frozen=True, kw_only=True):
    """Everything an auction was decided by.

    Attributes:
        bid: the requester's signed bid.
        limits, job: its private part.
        now: the requester's clock, UTC milliseconds.
        offers: all live offers, or the best of those that fit where ``complete`` is False.
        rivals: signed bids of others that were counted with, in no particular order.
        quotes: signed quotes that were in hand.
        reference: the going price the costs were computed with.
    """

    bid: bytes
    limits: Limits
    job: JobFacts
    now: Annotated[int, Meta(ge=0)]
    offers: Annotated[tuple[Seen, ...], Meta(max_length=MAX_OFFERS)]
    complete: bool
    reference: Annotated[int, Meta(ge=0, le=10**15)]
    rivals: Annotated[tuple[bytes, ...], Meta(max_length=4096)] = ()
    quotes: Annotated[tuple[bytes, ...], Meta(max_length=64)] = ()

    @property
    def digest(self) -> bytes:
        """What an award says of its transcript."""
        return transcript_digest(codec.pack_record(self))


def transcript_digest(packed: bytes) -> bytes:
    """The digest of a transcript's bytes: not of what is read from them, which may be less."""
    return digest(b"computefabric/transcript/1\0", packed)


class Try(Struct, frozen=True, kw_only=True):
    """An award that led to nothing: the offer's id, and the provider's signed refusal, or the requester's word for what
    happened where there is none."""

    offer_id: Digest
    refusal: Annotated[bytes, Meta(max_length=4096)] = b""
    word: Annotated[str, Meta(max_length=64)] = ""


class AwardFile(Struct, frozen=True, kw_only=True):
    """What ``cfab verify-award`` reads: the transcript as it was packed, the award, and the lease it became, if any."""

    transcript: Annotated[bytes, Meta(max_length=MAX_BYTES)]
    award: Annotated[bytes, Meta(max_length=8192)]
    lease: Annotated[bytes, Meta(max_length=32_768)] = b""
    tries: Annotated[tuple[Try, ...], Meta(max_length=_MAX_TRIES)] = ()


_MAGIC = b"cfab award 1\n"


def pack_file(file: AwardFile) -> bytes:
    """The bytes of a file: a line that says what it is, the hash of the rest, the rest."""
    body = codec.pack_record(file)
    return _MAGIC + digest(_MAGIC, body) + body


def read_file(data: bytes) -> AwardFile:
    """Read :func:`pack_file`'s bytes.

    Raises:
        InvalidRequest: it is no such file, or not as it was written.
    """
    start = len(_MAGIC) + 32
    if not data.startswith(_MAGIC):
        raise InvalidRequest(
            "this is no award file", code="not_an_award", fix="'cfab explain JOB --award FILE' writes one"
        )
    if data[len(_MAGIC) : start] != digest(_MAGIC, data[start:]):
        raise InvalidRequest("the file is not as it was written", code="altered_file", fix="get it again")
    try:
        return codec.unpack_record(data[start:], AwardFile, limit=2 * MAX_BYTES)
    except PeerFault as fault:
        raise InvalidRequest(f"the file cannot be read: {fault.message}", code=fault.code) from None


class Replayed(Struct, frozen=True, kw_only=True):
    """The outcome of a check that passed. ``place`` counts from 1; ``by_word`` of the tries before it rest on the
    requester's word alone."""

    offers: int
    fitting: int
    rivals: int
    complete: bool
    place: int
    refused: int
    by_word: int
    provider: bytes
    machine: str
    price: int
    expected_cost: int


def record_auction(
    book: OfferBook,
    bid: Verified[Bid],
    ask: Ask,
    *,
    now: int,
    rivals: Sequence[Verified[Bid]] = (),
    quotes: Sequence[Verified[Quote]] = (),
) -> Transcript:
    """Write down an auction that is about to be decided on this book.

    Args:
        book: as it is now.
        bid, ask: what is bought.
        now: UTC milliseconds, the same that the decision is made with.
        rivals, quotes: the same that the decision is made with; rivals count only in a market that is written whole.
    """
    query, complete = book.compile(ask, now), can_be_written(book, now)
    live = sorted(book.live(now) if complete else _best(book, ask, query, now), key=lambda offer: offer.id)
    return Transcript(
        bid=bid.raw,
        limits=ask.limits,
        job=ask.job,
        now=now,
        offers=tuple(
            Seen(offer=one.raw, free=book.free_slots(one.record), known=book.known(one.record.provider)) for one in live
        ),
        complete=complete,
        reference=query.reference,
        rivals=tuple(sorted(rival.raw for rival in rivals)) if complete else (),
        quotes=tuple(sorted(quote.raw for quote in quotes)),
    )


def _check_figures(limits: Limits, job: JobFacts) -> None:
    """Everything a requester adds to its bid is what it is in a real job: an index counts in so many bits."""
    within = (
        (limits.max_price, money.MAX_PRICE),
        (limits.max_rtt_us, 2**53),
        (job.max_ms, 2**32),
        (job.work_ms * job.work_speed // 1000, 2**41),
        (job.work_ms, 2**41),
        (job.work_speed, 2**41),
        (job.image_mib, 2**31),
        (job.moved_mib, 2**31),
        (job.waiting or 0, money.MAX_PRICE),
    )
    if not all(0 <= figure <= most for figure, most in within):
        raise InvalidRequest("the requester's own figures are those of no job", code="bad_figures")


def _best(book: OfferBook, ask: Ask, query: Query, now: int) -> list[Verified[Offer]]:
    """Of a market too large to write down: those that are chosen from, and the best others as far as there is room."""
    chosen = {match.offer.id: match.offer for match in shortlist(book, ask, now=now).matches}
    room = MAX_OFFER_BYTES - sum(map(written_size, chosen.values()))
    for _, handle in book.index.top(query, MAX_OFFERS - len(chosen)):
        offer = book.offer_at(handle)
        if offer.id not in chosen:
            room -= written_size(offer)
            if room < 0:
                break
            chosen[offer.id] = offer
    return list(chosen.values())


def hold_again(transcript: Transcript, *, index: OfferIndex | None = None) -> Shortlist:
    """Decide the auction of a transcript anew.

    Raises:
        PeerFault: something in it is not signed by whom it names, or out of bounds.
        InvalidRequest: an offer in it was not live or stands in it twice, the going price is not that of its offers, or
            a figure is beyond any job's.
    """
    _check_figures(transcript.limits, transcript.job)
    bid = verify(transcript.bid, Bid)
    book = OfferBook(max_skew_ms=MAX_SKEW_MS, max_offers=MAX_OFFERS + 1, index=index)
    for seen in transcript.offers:
        _put(book, seen, transcript.now)
    ask = ask_of(bid.record, transcript.limits, transcript.job)
    if transcript.complete and book.compile(ask, transcript.now).reference != transcript.reference:
        raise InvalidRequest("the going price is not the one of these offers", code="wrong_reference")
    return decide(
        book,
        ask,
        now=transcript.now,
        rivals=[verify(raw, Bid) for raw in transcript.rivals],
        quotes=[verify(raw, Quote) for raw in transcript.quotes],
        reference=None if transcript.complete else transcript.reference,
    )


def check_award(file: AwardFile, *, index: OfferIndex | None = None) -> Replayed:
    """Hold the auction behind an award again.

    Raises:
        InvalidRequest: the award does not follow from what it was chosen from; ``code`` says in which way.
    """
    try:
        award = verify(file.award, Award)
        transcript = codec.unpack_record(file.transcript, Transcript, limit=MAX_BYTES)
        if transcript_digest(file.transcript) != award.record.transcript:
            raise InvalidRequest("this is not the transcript that the award names", code="altered_transcript")
        bid = verify(transcript.bid, Bid).record
        said = award.record
        if (bid.requester, bid.bid_id, bid.spec_hash) != (said.requester, said.bid_id, said.spec_hash):
            raise InvalidRequest("the award answers another bid", code="wrong_bid")
        _check_lease(file.lease, award)
        found = hold_again(transcript, index=index)
        return _find_winner(file, award.record, transcript, found)
    except PeerFault as fault:
        raise InvalidRequest(f"not what was signed: {fault.message}", code=fault.code) from None


def _find_winner(file: AwardFile, award: Award, transcript: Transcript, found: Shortlist) -> Replayed:
    tried = {one.offer_id: one for one in file.tries}
    refused = by_word = 0
    for place, match in enumerate(found.matches, 1):
        if match.offer.id == award.offer_id:
            _check_terms(award, match)
            return Replayed(
                offers=len(transcript.offers),
                fitting=len(found.matches),
                rivals=len(transcript.rivals),
                complete=transcript.complete,
                place=place,
                refused=refused,
                by_word=by_word,
                provider=award.provider,
                machine=award.machine,
                price=award.price,
                expected_cost=match.expected_cost,
            )
        failed = tried.get(match.offer.id)
        if failed is None:
            raise InvalidRequest(
                f"place {place} was better than the awarded offer and was not asked", code="wrong_winner"
            )
        if failed.refusal:
            _check_refusal(failed.refusal, match.offer, award)
            refused += 1
        else:
            by_word += 1
    raise InvalidRequest("the awarded offer is not among those that fit", code="wrong_winner")


def _check_terms(award: Award, match: Match) -> None:
    """An award names its offer by id and says again what that offer says: to believe it, it must be the same."""
    offer, place = match.offer.record, match.offer.record.settlement
    if (award.provider, award.machine, award.offer_version) != (offer.provider, offer.machine, offer.version):
        raise InvalidRequest("the award goes to another machine than the offer it names", code="wrong_winner")
    if (award.chain_id, award.escrow, award.payee) != (place.chain_id, place.escrow, place.payee):
        raise InvalidRequest("the award pays into another account than the offer it names", code="wrong_account")
    quote = b"" if match.quote is None else match.quote.raw
    if (award.price, award.slots, award.quote) != (match.row.price, match.query.slots, quote):
        raise InvalidRequest("the award has another price or size than the offer it names", code="wrong_price")
    if award.terms != offer.terms:
        raise InvalidRequest("the award has other terms than the offer it names", code="wrong_terms")


def _check_refusal(raw: bytes, offer: Verified[Offer], award: Award) -> None:
    refusal = verify(raw, Refusal)
    if refusal.signer != offer.record.provider or refusal.record.bid_id != award.bid_id:
        raise InvalidRequest("a refusal of another award, or by another provider", code="wrong_refusal")


def _check_lease(raw: bytes, award: Verified[Award]) -> None:
    if raw:
        lease = verify(raw, Lease)
        if lease.record.award != award.raw or lease.signer != award.record.provider:
            raise InvalidRequest("the lease is about another award", code="wrong_lease")


def _put(book: OfferBook, seen: Seen, now: int) -> None:
    offer = verify(seen.offer, Offer)
    book.know(offer.record.provider, seen.known)
    outcome = book.take(offer, now)
    if outcome is not Intake.ADDED:
        raise InvalidRequest(f"an offer in it was not live then: {outcome.value}", code="not_live")
    if seen.free < offer.record.free_slots:
        # Less than the tag says, because the provider said so when it refused another award.
        told = Refusal(
            provider=offer.record.provider,
            bid_id=bytes(16),
            reason=RefusalReason.NO_CAPACITY,
            free_slots=seen.free,
            version=offer.record.version,
        )
        book.learn(told, offer.record.machine)
