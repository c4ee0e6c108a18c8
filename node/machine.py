"""A machine that is for sale: what it is, what it costs, which slots are taken, and the tags that are honoured."""

from __future__ import annotations

from collections import deque

from msgspec import Struct
from msgspec.structs import replace

from market.errors import InvalidRequest
from market.inventory import Inventory
from market.money import format_hourly
from market.records import Offer, PaymentTerms, Settlement
from market.signing import Signer, Verified
from node import wire

_TAGS_KEPT = 64
_GRANTED_KEPT = 64
_ADDRESSES = 8
"""As many as fit into an offer; a host with many networks has more, and an offer with more is refused everywhere."""


class MachineClass(Struct, frozen=True, kw_only=True):
    """What the owner decided to sell. Amounts are per slot; prices in nanotokens per GPU-second.

    The price stays between ``floor`` and ``price_cap`` (0: no limit), whoever moves it; with ``surge`` it follows use.
    ``quote_discount`` is permille given away to who asks for a quote while everything is idle.
    """

    name: str
    gpu: str
    simulated: bool
    slots: int
    gpu_uuids: tuple[str, ...]
    vram_mib: int
    cpu_milli: int
    memory_mib: int
    disk_mib: int
    price: int
    region: str
    driver: str
    cuda_milli: int
    runtimes: tuple[str, ...]
    isolation: str
    terms: PaymentTerms
    settlement: Settlement
    jurisdiction: str = ""
    interruptible: bool = False
    notice_ms: int = 0
    speed: int = 0
    net_mbps: int = 0
    surge: bool = False
    floor: int = 0
    price_cap: int = 0
    quote_discount: int = 0


_ON_THE_TAG = tuple(name for name in MachineClass.__struct_fields__ if name in Offer.__struct_fields__)
"""What goes into an offer as it stands in the description."""


class Machine:
    """One machine class with its inventory and its posted tags.

    Attributes:
        inventory: which lease holds which slot.
        draining: True while the owner takes no new leases.
        images: digests of images that are here already, at most as many as fit into an offer.
    """

    def __init__(self, description: MachineClass, signer: Signer) -> None:
        self.description = description
        self.inventory = Inventory(machine=description.name, total_slots=description.slots)
        self.draining = False
        self.images: tuple[str, ...] = ()
        self._granted: deque[tuple[bytes, int]] = deque(maxlen=_GRANTED_KEPT)
        self._signer = signer
        self._tags: deque[tuple[Verified[Offer], int]] = deque(maxlen=_TAGS_KEPT)
        self._version = 0

    def check_price(self, price: int) -> None:
        """Whether the owner's own limits allow a price.

        Raises:
            InvalidRequest: below the floor, or above the cap.
        """
        sold = self.description
        if price < sold.floor or (sold.price_cap and price > sold.price_cap):
            limit = f"below the floor, {format_hourly(sold.floor)}" if price < sold.floor else ""
            limit = limit or f"above the cap, {format_hourly(sold.price_cap)}"
            raise InvalidRequest(
                f"{format_hourly(price)} is {limit}",
                code="price_outside_limits",
                fix="choose another price, or change floor and price_cap under [provider] and restart the node",
            )

    def reprice(self, price: int) -> None:
        """Ask another price from the next post on. Leases keep the price of their award.

        Raises:
            InvalidRequest: outside the owner's own limits.
        """
        self.check_price(price)
        self.description = replace(self.description, price=price)

    def note_grant(self, bid_id: bytes, now: int) -> None:
        """A bid was given slots of this machine: tell those who would count it as a rival for what is left."""
        self._granted.append((bid_id[:8], now))

    def post(self, now: int, addresses: tuple[str, ...]) -> Verified[Offer]:
        """Write and sign the offer that is true now. The version is the time, so that it grows across restarts."""
        self._version = max(self._version + 1, now)
        offer = self._signer.sign(self._draft(now, addresses))
        self._tags.appendleft((offer, now))
        return offer

    def has_news(self, now: int, addresses: tuple[str, ...]) -> bool:
        """Whether a new tag would say anything that the last one did not: something besides its dates."""
        if not self._tags or self._version > self._tags[0][0].record.version:
            return True
        last, draft = self._tags[0][0].record, self._draft(now, addresses)
        if set(draft.granted) <= set(last.granted):
            draft = replace(draft, granted=last.granted)
        return replace(draft, version=last.version, issued_at=last.issued_at, expires_at=last.expires_at) != last

    def _draft(self, now: int, addresses: tuple[str, ...]) -> Offer:
        d = self.description
        return Offer(
            provider=self._signer.key,
            machine=d.name,
            version=self._version,
            issued_at=now,
            expires_at=now + wire.OFFER_TTL_MS,
            free_slots=0 if self.draining else self.inventory.free_slots,
            total_slots=d.slots,
            images=self.images,
            granted=tuple(name for name, at in self._granted if now - at < wire.GRANTED_SHOWN_MS),
            addresses=addresses[:_ADDRESSES],
            **{name: getattr(d, name) for name in _ON_THE_TAG},
        )

    def withdraw(self, now: int) -> Verified[Offer]:
        """Write and sign that this machine is not for sale any more. No tag is honoured from now on."""
        gone = withdrawal(self._signer, self.post(now, ()).record, now)
        self._version = gone.record.version
        self._tags.clear()
        return gone

    def outdo(self, version: int) -> None:
        """Somebody holds this version of our offer, from a time when our clock was ahead: the next one is newer."""
        self._version = max(self._version, version)

    @property
    def posted_at(self) -> int:
        """When the last tag was written, UTC milliseconds; 0 before the first."""
        return self._tags[0][1] if self._tags else 0

    def tags(self, now: int) -> list[Verified[Offer]]:
        """Offers still honoured, newest first: the current one, those replaced moments ago, and those still valid
        at today's price (a mere refresh must not void what a peer holds)."""
        honoured: list[Verified[Offer]] = []
        replaced_at: int | None = None
        for offer, posted_at in self._tags:
            fresh = replaced_at is None or now - replaced_at <= wire.HONOUR_OLD_TAG_MS
            same_price = offer.record.price == self.description.price
            if offer.record.expires_at > now and (fresh or same_price):
                honoured.append(offer)
            replaced_at = posted_at
        return honoured


def withdrawal(signer: Signer, offer: Offer, now: int) -> Verified[Offer]:
    """Sign the tombstone of one of our own offers. It is believed until every older version has expired, even if our
    clock was set back by a minute since we posted them."""
    return signer.sign(
        replace(
            offer,
            version=max(offer.version + 1, now),
            issued_at=now,
            expires_at=now + 2 * wire.OFFER_TTL_MS,
            withdrawn=True,
            free_slots=0,
            images=(),
            granted=(),
            addresses=(),
        )
    )
