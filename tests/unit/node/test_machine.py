"""A machine for sale: its tag says what is true, and a tag in a peer's hands is not voided without notice."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from market import codec
from market.errors import InvalidRequest
from market.inventory import reserve
from market.records import Offer
from market.signing import verify
from node import wire
from node.machine import Machine, withdrawal
from tests.fakes.desks import machine_class
from tests.fakes.samples import NOW, SELLER


def a_machine(**changes: object) -> Machine:
    return Machine(machine_class(**changes), SELLER)


def test_an_offer_says_what_is_for_sale():
    machine = a_machine(gpu="NVIDIA H100", vram_mib=81_559, driver="560.35", cuda_milli=12_600)
    offer = machine.post(NOW, ("/ip4/127.0.0.1/tcp/1",)).record
    assert (offer.gpu, offer.vram_mib, offer.driver, offer.cuda_milli) == ("NVIDIA H100", 81_559, "560.35", 12_600)
    assert (offer.issued_at, offer.expires_at) == (NOW, NOW + wire.OFFER_TTL_MS)
    assert (offer.free_slots, offer.total_slots, offer.price) == (2, 2, 100_000)
    assert offer.addresses == ("/ip4/127.0.0.1/tcp/1",)


def test_what_we_post_is_what_others_accept():
    """A host with many addresses must not post an offer that every peer rejects."""
    machine = a_machine()
    offer = machine.post(NOW, tuple(f"/ip4/10.0.0.{number}/tcp/1" for number in range(40)))
    assert len(verify(offer.raw, Offer).record.addresses) == 8
    assert len(codec.pack([offer.raw])) < wire.MAX_GOSSIP_BYTES


def test_versions_grow_even_when_the_clock_does_not():
    machine = a_machine()
    versions = [machine.post(now, ()).record.version for now in (NOW, NOW, NOW - 5_000, NOW + 10)]
    assert versions == [NOW, NOW + 1, NOW + 2, NOW + 10]


def test_versions_grow_across_a_restart():
    before = a_machine().post(NOW, ()).record.version
    assert a_machine().post(NOW + 1, ()).record.version > before


def test_a_tag_names_the_bids_that_were_granted_moments_ago():
    machine = a_machine()
    machine.note_grant(b"1" * 16, NOW)
    machine.note_grant(b"2" * 16, NOW + 1_000)
    assert machine.post(NOW + 1_000, ()).record.granted == (b"1" * 8, b"2" * 8)
    later = NOW + wire.GRANTED_SHOWN_MS
    assert machine.post(later, ()).record.granted == (b"2" * 8,)
    assert machine.post(later + 1_000, ()).record.granted == ()


def test_a_tag_names_as_many_granted_bids_as_others_accept():
    machine = a_machine()
    for number in range(100):
        machine.note_grant(number.to_bytes(16, "little"), NOW)
    granted = verify(machine.post(NOW, ()).raw, Offer).record.granted
    assert granted == tuple(number.to_bytes(8, "little") for number in range(36, 100)), "the newest"


def test_what_was_said_already_is_no_news():
    machine = a_machine()
    assert machine.has_news(NOW, ())
    machine.note_grant(b"1" * 16, NOW)
    machine.post(NOW, ())
    assert not machine.has_news(NOW + 1, ())
    assert not machine.has_news(NOW + wire.GRANTED_SHOWN_MS, ()), "a grant that is forgotten"


def test_whatever_a_tag_says_is_news_when_it_changes():
    def sells_less(machine: Machine) -> None:
        machine.draining = True

    def costs_more(machine: Machine) -> None:
        machine.reprice(200_000)

    def has_an_image(machine: Machine) -> None:
        machine.images = ("sha256:x",)

    for change in (
        sells_less,
        costs_more,
        has_an_image,
        lambda machine: machine.note_grant(b"1" * 16, NOW),
        lambda machine: machine.outdo(NOW + 9),
    ):
        machine = a_machine()
        machine.post(NOW, ())
        assert machine.has_news(NOW, ("/ip4/127.0.0.1/tcp/1",))
        change(machine)
        assert machine.has_news(NOW, ())
        machine.post(NOW, ())
        assert not machine.has_news(NOW, ())


def test_taken_slots_are_not_offered_and_a_draining_machine_offers_none():
    machine = a_machine()
    taken = reserve(machine.inventory, b"l" * 16, 1)
    assert taken is not None
    machine.inventory = taken.inventory
    assert machine.post(NOW, ()).record.free_slots == 1
    machine.draining = True
    assert machine.post(NOW, ()).record.free_slots == 0


def test_an_unchanged_price_is_honoured_until_its_tag_expires():
    machine = a_machine()
    first = machine.post(NOW, ())
    second = machine.post(NOW + 20_000, ())
    assert machine.tags(NOW + 20_000) == [second, first]
    assert machine.tags(NOW + 59_999) == [second, first]
    assert machine.tags(NOW + 60_000) == [second]


def test_a_replaced_price_is_honoured_a_moment_longer():
    machine = a_machine()
    old = machine.post(NOW, ())
    machine.description = replace(machine.description, price=200_000)
    new = machine.post(NOW + 1_000, ())
    assert machine.tags(NOW + 1_000 + wire.HONOUR_OLD_TAG_MS) == [new, old]
    assert machine.tags(NOW + 1_001 + wire.HONOUR_OLD_TAG_MS) == [new]


def test_a_withdrawn_machine_outdates_every_tag_and_honours_none():
    machine = a_machine()
    tag = machine.post(NOW, ("/ip4/127.0.0.1/tcp/1",)).record
    gone = machine.withdraw(NOW + 5).record
    assert verify(machine.withdraw(NOW + 5).raw, Offer).record.withdrawn
    assert gone.withdrawn
    assert (gone.provider, gone.machine, gone.free_slots, gone.addresses) == (tag.provider, tag.machine, 0, ())
    assert gone.version > tag.version
    assert gone.expires_at > tag.expires_at
    assert machine.tags(NOW + 5) == []
    again = machine.post(NOW + 5, ())
    assert again.record.version > gone.version
    assert machine.tags(NOW + 5) == [again]


def test_a_withdrawal_outlives_what_was_posted_before_our_clock_was_set_back():
    tag = a_machine().post(NOW, ()).record
    gone = withdrawal(SELLER, tag, NOW - 60_000).record
    assert gone.version > tag.version
    assert gone.expires_at >= tag.expires_at


def test_a_version_that_others_hold_is_outdone():
    machine = a_machine()
    machine.outdo(NOW + 10_000)
    machine.outdo(5)
    assert machine.post(NOW, ()).record.version == NOW + 10_001


def test_a_price_of_long_ago_that_is_todays_again_is_honoured():
    machine = a_machine()
    first = machine.post(NOW, ())
    machine.description = replace(machine.description, price=200_000)
    dear = machine.post(NOW + 1_000, ())
    machine.description = replace(machine.description, price=100_000)
    cheap = machine.post(NOW + 2_000, ())
    assert machine.tags(NOW + 30_000) == [cheap, first]
    assert dear not in machine.tags(NOW + 30_000)


def test_another_price_is_within_the_owners_limits_or_changes_nothing():
    machine = a_machine(floor=50_000, price_cap=200_000)
    for price in (50_000, 200_000):
        machine.reprice(price)
        assert machine.post(NOW + price, ()).record.price == price
    for price, limit in ((49_999, "floor"), (200_001, "cap")):
        with pytest.raises(InvalidRequest) as refused:
            machine.reprice(price)
        assert limit in refused.value.message
        assert machine.description.price == 200_000
    free = a_machine()
    free.reprice(0)
    assert free.description.price == 0


def test_the_number_of_remembered_tags_is_bounded():
    machine = a_machine()
    for number in range(200):
        machine.post(NOW + number, ())
    assert len(machine.tags(NOW + 200)) == 64
