"""A provider's slots, and whether an award can be honoured. Reserve before promise.

The provider arbitrates: the first valid award gets the slots. Each lease gets a fencing number that only grows, so
of two leases on one slot everybody knows the later.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from market.quoting import agreed_price
from market.records import Award, Offer, RefusalReason
from market.signing import Verified

FENCING_LUCK = 1 << 10
"""How many numbers each millisecond has."""


class Inventory(Struct, frozen=True, kw_only=True):
    """The slots of one machine. ``held`` maps a slot number to the lease that has it."""

    machine: str
    total_slots: int
    fencing: int = 0
    held: dict[int, bytes] = {}

    @property
    def free_slots(self) -> int:
        """How many slots nobody holds."""
        return max(0, self.total_slots - len(self.held))


class Reservation(Struct, frozen=True, kw_only=True):
    """Slots set aside for a lease, and the inventory in which they are."""

    inventory: Inventory
    slots: tuple[int, ...]
    fencing: int


def fencing_from(now: int, luck: int) -> int:
    """The least fencing number to give at ``now``, UTC milliseconds: it grows with the clock, and stays below 2**53
    until the year 2248.

    Args:
        luck: drawn below :data:`FENCING_LUCK`. Two copies of one node that run at once, by mistake, could grant one
            slot under one number in the same millisecond: that costs the provider half of its stake.

    Raises:
        ValueError: ``luck`` is out of range.
    """
    if not 0 <= luck < FENCING_LUCK:
        raise ValueError("luck reaches into the next millisecond")
    return now * FENCING_LUCK + luck


def reserve(inventory: Inventory, lease_id: bytes, count: int, *, at_least: int = 1) -> Reservation | None:
    """Set the lowest free slots aside; None when there are too few. Repeating it for the same lease is an error.

    The fencing number is the next one, or ``at_least``: with :func:`fencing_from` there, it grows even over a lost
    journal.
    """
    if lease_id in inventory.held.values():
        raise ValueError("this lease holds slots already")
    if inventory.free_slots < count:
        return None
    free = [slot for slot in range(inventory.total_slots) if slot not in inventory.held]
    taken = tuple(free[:count])
    fencing = max(inventory.fencing + 1, at_least)
    held = {**inventory.held, **dict.fromkeys(taken, lease_id)}
    return Reservation(
        inventory=msgspec.structs.replace(inventory, held=held, fencing=fencing), slots=taken, fencing=fencing
    )


def restore(inventory: Inventory, lease_id: bytes, slots: Sequence[int], fencing: int) -> Inventory:
    """Put a lease from the journal back on its slots.

    A slot beyond ``total_slots`` is kept too: the owner may sell fewer slots today than when the lease was signed.

    Raises:
        ValueError: another lease holds one of them: the journal contradicts itself.
    """
    if any(inventory.held.get(slot, lease_id) != lease_id for slot in slots):
        raise ValueError("two leases of the journal hold one slot")
    held = {**inventory.held, **dict.fromkeys(slots, lease_id)}
    return msgspec.structs.replace(inventory, held=held, fencing=max(inventory.fencing, fencing))


def release(inventory: Inventory, lease_id: bytes) -> Inventory:
    """Free whatever this lease holds; nothing happens when it holds nothing."""
    held = {slot: holder for slot, holder in inventory.held.items() if holder != lease_id}
    return msgspec.structs.replace(inventory, held=held)


def judge_award(
    award: Award, tags: Sequence[Verified[Offer]], inventory: Inventory, *, now: int, draining: bool = False
) -> RefusalReason | None:
    """Why an award cannot be honoured, or None. ``tags`` are the offers still honoured, newest first.

    A tag stays good for a while after a newer one replaced it, so that a price change never traps a requester that
    has not heard of it yet (DESIGN §3.1).
    """
    tag = next((offer for offer in tags if offer.id == award.offer_id), None)
    if draining:
        return RefusalReason.DRAINING
    if tag is None:
        return RefusalReason.STALE_PRICE if tags else RefusalReason.UNKNOWN_OFFER
    offer = tag.record
    if award.expires_at <= now or award.issued_at > now + 60_000:
        return RefusalReason.EXPIRED
    price = agreed_price(award, tag, now)
    if price is None:
        return RefusalReason.BAD_QUOTE
    if award.price != price or award.machine != offer.machine or award.offer_version != offer.version:
        return RefusalReason.STALE_PRICE
    settlement = offer.settlement
    if (award.chain_id, award.escrow, award.payee) != (
        settlement.chain_id,
        settlement.escrow,
        settlement.payee,
    ):
        return RefusalReason.WRONG_SETTLEMENT
    if award.terms != offer.terms:
        return RefusalReason.WRONG_SETTLEMENT
    if inventory.free_slots < award.slots:
        return RefusalReason.NO_CAPACITY
    return None
