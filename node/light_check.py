"""What several peers say of one market, held against each other: who hides, who forges, who shows what is over. Pure.

Nothing here needs a key of our own: every offer is signed by its provider. A peer can therefore do three things only:
show what nobody signed (*forges*), not show what is there (*hides*), and show an older version, or one that was
withdrawn or is over, as if it were live (*stale*). The first is seen at once. The other two look like news that has not
arrived yet, so a peer in doubt is asked again after a grace, and is named only if it still does it then. Our own watch
measures the grace: providers' clocks may be wrong.

A peer is not named where those who do as it does are as many as those who contradict it, nor on the word of the
offer's own provider: both would let a provider that shows its offer to few make the many look like liars. Only where
two answered is one named on the word of the other, which may be the liar: whoever reads it must know that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from msgspec import Struct

from market.errors import PeerFault
from market.offer_book import MAX_MACHINES_PER_PROVIDER, MAX_TTL_MS
from market.records import Offer
from market.signing import Verified

Name = tuple[bytes, str]
"""Provider and machine."""
MAX_NAMED = 100
"""Examples kept of each kind of fault of one peer."""


class Discrepancy(Struct, frozen=True, kw_only=True):
    """An offer that a peer does not show as it is: ``true`` is what others have, ``shown`` what it has instead."""

    true: Verified[Offer]
    shown: Verified[Offer] | None = None


class Statement:
    """What one peer showed of its book.

    Attributes:
        peer: whose book it is.
        shown: the newest version of each machine, withdrawals too; none that has expired.
        complete: the peer showed all of it.
        forged: codes of what was wrong with envelopes that nobody signed like that.
        over: offers that expired longer ago than the peer's clock and ours may differ.
        misdated: how many offers are over, or dated such that no node with our time would keep them.
    """

    def __init__(self, peer: bytes) -> None:
        self.peer = peer
        self.shown: dict[Name, Verified[Offer]] = {}
        self.complete = False
        self.forged: Counter[str] = Counter()
        self.over: list[Verified[Offer]] = []
        self.misdated = 0

    @property
    def live(self) -> int:
        """How many offers it shows for sale."""
        return sum(not offer.record.withdrawn for offer in self.shown.values())

    def hear(
        self, envelopes: Iterable[bytes], verify: Callable[[bytes], Verified[Offer]], now: int, *, max_skew_ms: int
    ) -> None:
        """Add what is on one page.

        Args:
            envelopes: signed offers as the peer gave them.
            verify: checks an envelope, or remembers that it was checked.
            now: UTC milliseconds.
            max_skew_ms: how far clocks may differ.
        """
        for raw in envelopes:
            try:
                offer = verify(raw)
            except PeerFault as fault:
                self.forged[fault.code] += 1
                continue
            record = offer.record
            if record.expires_at <= now:
                self.misdated += 1
                # Both clocks may be wrong, in opposite directions.
                if record.expires_at <= now - 2 * max_skew_ms and len(self.over) < MAX_NAMED:
                    self.over.append(offer)
            elif record.issued_at > now + max_skew_ms or record.expires_at > now + max_skew_ms + MAX_TTL_MS:
                self.misdated += 1
            else:
                name = (record.provider, record.machine)
                known = self.shown.get(name)
                if known is None or known.record.version < record.version:
                    self.shown[name] = offer


def newest(statements: Iterable[Statement]) -> dict[Name, Verified[Offer]]:
    """The newest version of each machine that anybody shows, withdrawals too."""
    found: dict[Name, Verified[Offer]] = {}
    for statement in statements:
        for name, offer in statement.shown.items():
            known = found.get(name)
            if known is None or (offer.record.version, offer.id) > (known.record.version, known.id):
                found[name] = offer
    return found


def doubts(statements: list[Statement], now: int, *, grace_ms: int) -> dict[bytes, list[Discrepancy]]:
    """Peers that do not show what others do, and what that is: to be asked again after the grace.

    Args:
        statements: of all peers that answered.
        now: UTC milliseconds.
        grace_ms: how long news may be under way. An offer that expires in less cannot be asked about again.
    """
    whole = [statement for statement in statements if statement.complete]
    found: dict[bytes, list[Discrepancy]] = {}
    for name, true in _comparable(newest(statements), now + 2 * grace_ms).items():
        judges = [one for one in whole if one.peer != name[0]]
        at_odds = [
            one
            for one in judges
            if _differs(shown := one.shown.get(name), true) and not _is_refresh(shown, true, now - grace_ms)
        ]
        if at_odds and _are_outnumbered(len(at_odds), len(judges)):
            for one in at_odds:
                found.setdefault(one.peer, []).append(Discrepancy(true=true, shown=one.shown.get(name)))
    return found


def confirmed(in_doubt: list[Discrepancy], again: Statement) -> list[Discrepancy]:
    """Those doubts about a peer that are none any more: it still does not show what it should after the grace."""
    still: list[Discrepancy] = []
    for one in in_doubt:
        record = one.true.record
        shown = again.shown.get((record.provider, record.machine))
        if again.complete and _differs(shown, one.true):
            still.append(Discrepancy(true=one.true, shown=shown))
    return still


def _are_outnumbered(at_odds: int, judges: int) -> bool:
    """Half of many can be one stranger's: they decide nothing. Of two, one must be wrong, and it is said which."""
    return 2 * at_odds < judges or (at_odds, judges) == (1, 2)


def _differs(shown: Verified[Offer] | None, true: Verified[Offer]) -> bool:
    """Not to show a withdrawal is no lie: the machine is not offered either way."""
    return not true.record.withdrawn if shown is None else shown.record.version < true.record.version


def _is_refresh(shown: Verified[Offer] | None, true: Verified[Offer], since: int) -> bool:
    """Every offer is said again every 20 seconds; that such news is under way is the rule and hurts nobody."""
    if shown is None or true.record.withdrawn:
        return False
    return shown.record.price == true.record.price and true.record.issued_at > since


def _comparable(offers: dict[Name, Verified[Offer]], until: int) -> dict[Name, Verified[Offer]]:
    """Nodes keep only so many machines of one provider, each perhaps others: with more of them nothing is proved."""
    machines = Counter(provider for provider, _ in offers)
    return {
        name: offer
        for name, offer in offers.items()
        if offer.record.expires_at > until and machines[name[0]] <= MAX_MACHINES_PER_PROVIDER
    }
