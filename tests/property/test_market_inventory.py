"""Random awards, ends and restarts of one machine: no slot is ever sold twice, and fencing only grows."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from market.inventory import Inventory, release, reserve, restore


class InventoryMachine(RuleBasedStateMachine):
    """A provider's desk: what it promised is kept here twice, in the inventory and in a plain list of leases."""

    leases = Bundle("leases")

    @initialize(total=st.integers(1, 6))
    def open(self, total: int) -> None:
        self.inventory = Inventory(machine="m0", total_slots=total)
        self.live: dict[bytes, tuple[tuple[int, ...], int]] = {}
        self.over: list[int] = []
        self.granted = 0

    @rule(target=leases, count=st.integers(1, 4))
    def award(self, count: int) -> object:
        lease_id = self.granted.to_bytes(16, "big")
        free_before = self.inventory.free_slots
        reserved = reserve(self.inventory, lease_id, count)
        assert (reserved is None) == (free_before < count)
        if reserved is None:
            return multiple()
        fences = [fence for _, fence in self.live.values()] + self.over
        assert reserved.fencing > max(fences, default=0), "fencing did not grow"
        assert len(reserved.slots) == count
        self.granted += 1
        self.inventory = reserved.inventory
        self.live[lease_id] = (reserved.slots, reserved.fencing)
        return lease_id

    @rule(lease_id=leases)
    def end(self, lease_id: bytes) -> None:
        self.inventory = release(self.inventory, lease_id)
        if lease_id in self.live:
            self.over.append(self.live.pop(lease_id)[1])

    @rule(total=st.integers(1, 6), luck=st.randoms())
    def restart(self, total: int, luck: object) -> None:
        """The journal is read back in any order; the owner may sell another number of slots now."""
        fresh = Inventory(machine="m0", total_slots=total)
        journal = [(lease_id, slots, fence) for lease_id, (slots, fence) in self.live.items()]
        journal += [(b"over" + bytes([number]), (), fence) for number, fence in enumerate(self.over[-200:])]
        luck.shuffle(journal)  # type: ignore[attr-defined]
        for lease_id, slots, fence in journal:
            fresh = restore(fresh, lease_id, slots, fence)
        self.inventory = fresh

    @invariant()
    def no_slot_is_sold_twice(self) -> None:
        sold = Counter(slot for slots, _ in self.live.values() for slot in slots)
        assert all(count == 1 for count in sold.values())
        assert self.inventory.held == {slot: one for one, (slots, _) in self.live.items() for slot in slots}

    @invariant()
    def free_and_held_are_the_whole(self) -> None:
        assert self.inventory.free_slots == max(0, self.inventory.total_slots - len(self.inventory.held))


InventoryMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestInventoryMachine = InventoryMachine.TestCase
