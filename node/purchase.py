"""What an auction is held for, and who pays."""

from __future__ import annotations

from msgspec import Struct

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

    ``weights`` belong to the strategy ``custom``; ``job`` is what is known of the job beyond its spec.
    """

    spec: JobSpec
    salt: bytes
    limits: Limits
    strategy: str
    weights: tuple[int, ...] = ()
    job: JobFacts | None = None
    funds: int | None = None

    def ask(self, bid: Bid) -> Ask:
        """The whole ask behind a bid of this purchase."""
        return ask_of(bid, self.limits, self.job or facts_of_spec(self.spec))
