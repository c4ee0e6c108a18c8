"""What an auction is held for, and who pays."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from market.ask import Ask, JobFacts, ask_of, facts_of_spec
from market.feasibility import Limits
from market.records import Bid, JobSpec


class Purse(Struct, frozen=True, kw_only=True):
    """Who pays: the wallet's account, the session key's, and the escrow the money lies in."""

    payer: bytes
    signer: bytes
    chain_id: int
    escrow: bytes


class Purchase(Struct, frozen=True, kw_only=True):
    """What an auction is held for. ``funds`` is what can be set aside, in units; None while that is not known.

    ``weights`` belong to the strategy ``custom``; ``job`` is what is known of the job beyond its spec; ``quotes`` is
    whether the best are asked for a price below their tag first; ``resting`` are those of the providers that ``limits``
    deny whom its owner did not deny.
    """

    spec: JobSpec
    salt: bytes
    limits: Limits
    strategy: str
    weights: tuple[int, ...] = ()
    job: JobFacts | None = None
    funds: int | None = None
    quotes: bool = False
    resting: tuple[bytes, ...] = ()

    def ask(self, bid: Bid) -> Ask:
        """The whole ask behind a bid of this purchase. Nobody can buy from itself."""
        limits = replace(self.limits, deny=(*self.limits.deny, bid.requester))
        return ask_of(bid, limits, self.job or facts_of_spec(self.spec))
