"""How providers have behaved towards this node: from its own awards and leases, nothing by hearsay.

*Bait rule*: a provider that refuses at the very tag it advertises, on two of its versions, is left alone for a while,
twice as long every time. Losing a race is no bait: the refusal then names a newer version, or fewer slots than asked.
*Quotes* that their own provider will not stand by say nothing about its tags: they only make its quotes not asked for.
*Reputation* is the share of awards and leases that went well, with one good one to start from; *failure* is the share
of leases that ended by the provider's fault, drawn towards :data:`PRIOR_FAILURE` until there are many.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from market.records import Award, ExitReason, Refusal, RefusalReason

PRIOR_FAILURE = 20
"""Permille of leases expected to fail with a stranger."""
PRIOR_WEIGHT = 10
FIRST_PAUSE_MS = 10_000
LAST_PAUSE_MS = 3_600_000
BAITS = 2
"""Versions refused at their own tag before a provider is left alone."""
MEMORY = 200
"""Outcomes that count; older ones fade, so that a provider can mend its ways."""

OUR_DOING = frozenset({ExitReason.OK, ExitReason.ERROR, ExitReason.OOM, ExitReason.TIME_LIMIT})
"""Ends that say nothing against the provider: the program's own. ``UNPAID`` is not among them: a requester answers
every report it gets, so on its side this end means that none came. A cancelled job is judged by who cancelled it."""
_EITHERS_DOING = frozenset({ExitReason.IMAGE, ExitReason.START_FAILED})
"""A job that never ran, and costs nothing: a slip of its owner's in the image or the command is as likely as a machine
that cannot run what it sold."""
_HONEST = frozenset(
    {RefusalReason.BAD_SPEC, RefusalReason.EXPIRED, RefusalReason.NOT_ADMITTED, RefusalReason.BAD_QUOTE}
)
"""Refusals that say something about the requester, or about a quote: nothing about the tag."""


class Conduct(Struct, frozen=True, kw_only=True):
    """One provider's record with this node.

    Attributes:
        honoured, refused: awards that became leases; awards refused at the advertised tag.
        kept, broken: leases that ended well; leases that ended by the provider's fault.
        baits: how many versions in a row were refused at their own tag.
        last_bait: the newest such version.
        pauses: how often it was left alone without an honoured award in between.
        quiet_until: UTC milliseconds until which it is not asked.
        slips: how many of its quotes it did not stand by, less the awards it honoured since.
        unquoted_until: UTC milliseconds until which its quotes are not asked for.
    """

    honoured: int = 0
    refused: int = 0
    kept: int = 0
    broken: int = 0
    baits: int = 0
    last_bait: int = 0
    pauses: int = 0
    quiet_until: int = 0
    slips: int = 0
    unquoted_until: int = 0

    @property
    def reputation(self) -> int:
        """Permille of dealings that went well. A stranger has 1000."""
        good, all_ = self.honoured + self.kept, self.honoured + self.kept + self.refused + self.broken
        return 1000 * (good + 1) // (all_ + 1)

    @property
    def failure(self) -> int:
        """Permille of leases expected to fail by the provider's fault."""
        leases = self.kept + self.broken
        return (1000 * self.broken + PRIOR_FAILURE * PRIOR_WEIGHT) // (leases + PRIOR_WEIGHT)

    def is_quiet(self, now: int) -> bool:
        """Whether it is to be left alone now."""
        return now < self.quiet_until

    def quotes_in_vain(self, now: int) -> bool:
        """Whether its quotes are not worth asking for now."""
        return now < self.unquoted_until


NEW = Conduct()


def after_lease(conduct: Conduct) -> Conduct:
    """An award was honoured: whatever was held against its tags is forgiven."""
    slips = max(0, conduct.slips - 1)
    return _faded(replace(conduct, honoured=conduct.honoured + 1, baits=0, pauses=0, quiet_until=0, slips=slips))


def after_refusal(conduct: Conduct, award: Award, refusal: Refusal, now: int) -> Conduct:
    """An award was refused.

    Args:
        conduct: as it was.
        award: what was asked for.
        refusal: the provider's answer.
        now: UTC milliseconds.
    """
    if refusal.reason is RefusalReason.BAD_QUOTE:
        return _after_slip(conduct, now)
    if not is_bait(award, refusal) or award.offer_version <= conduct.last_bait:
        return conduct
    baits = conduct.baits + 1
    after = replace(conduct, refused=conduct.refused + 1, baits=baits, last_bait=award.offer_version)
    if baits >= BAITS:
        pause = min(FIRST_PAUSE_MS << min(conduct.pauses, 16), LAST_PAUSE_MS)
        after = replace(after, baits=0, pauses=conduct.pauses + 1, quiet_until=now + pause)
    return _faded(after)


def is_bait(award: Award, refusal: Refusal) -> bool:
    """Whether a refusal contradicts what the provider advertises at that moment by its own words."""
    if refusal.reason in _HONEST or refusal.version != award.offer_version:
        return False
    return refusal.reason is not RefusalReason.NO_CAPACITY or refusal.free_slots >= award.slots


def _after_slip(conduct: Conduct, now: int) -> Conduct:
    """A quote was not honoured. One that ran out on the way, or was forgotten in a restart, is a slip; several are a
    way to be asked first."""
    slips = conduct.slips + 1
    if slips < BAITS:
        return replace(conduct, slips=slips)
    pause = min(FIRST_PAUSE_MS << min(slips - BAITS, 16), LAST_PAUSE_MS)
    return replace(conduct, slips=slips, unquoted_until=now + pause)


def after_end(conduct: Conduct, reason: ExitReason | None, *, by_us: bool) -> Conduct:
    """A funded lease is over.

    Args:
        conduct: as it was.
        reason: why it ended; None when the provider never said.
        by_us: whether this node asked for the end.
    """
    if reason in _EITHERS_DOING and not by_us:
        return conduct
    good = by_us or reason in OUR_DOING
    if good:
        return _faded(replace(conduct, kept=conduct.kept + 1))
    return _faded(replace(conduct, broken=conduct.broken + 1))


def _faded(conduct: Conduct) -> Conduct:
    total = conduct.honoured + conduct.refused + conduct.kept + conduct.broken
    if total <= MEMORY:
        return conduct
    return replace(
        conduct,
        honoured=conduct.honoured // 2,
        refused=conduct.refused // 2,
        kept=conduct.kept // 2,
        broken=conduct.broken // 2,
    )
