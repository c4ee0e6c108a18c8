"""The address book."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from bootstrap.address_book import LAST_WAIT_S, MAX_ADDRESSES, MAX_PEERS, AddressBook, load, save
from bootstrap.identity import key_of_seed, peer_id_of
from bootstrap.peer_address import PeerAddress

OURSELVES = key_of_seed(b"o" * 32)


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def address(peer: bytes, port: int = 1) -> PeerAddress:
    return PeerAddress("ip4", "10.0.0.1", port, peer)


@pytest.fixture
def book() -> AddressBook:
    return AddressBook(OURSELVES, random.Random(1))


def test_it_remembers_and_tells_news_from_old_news(book: AddressBook) -> None:
    assert book.learn(key(1), (address(key(1)),))
    assert not book.learn(key(1), (address(key(1)),))
    assert book.learn(key(1), (address(key(1), 2),))
    assert book.addresses(key(1)) == (address(key(1), 2), address(key(1)))
    assert book.addresses(key(2)) == ()


def test_it_does_not_remember_ourselves_or_nothing(book: AddressBook) -> None:
    assert not book.learn(OURSELVES, (address(OURSELVES),))
    assert not book.learn(key(1), ())
    assert book.due(0.0) == []


def test_addresses_and_peers_are_bounded_and_introducers_stay(book: AddressBook) -> None:
    book.learn(key(0), (address(key(0)),), keep=True)
    for number in range(1, MAX_PEERS + 100):
        book.learn(key(number), (address(key(number)),))
    for port in range(1, 100):
        book.learn(key(0), (address(key(0), port),))
    assert len(book.to_json()) == MAX_PEERS
    assert len(book.addresses(key(0))) == MAX_ADDRESSES
    assert book.kept() == [key(0)]


def test_the_peer_that_failed_most_is_forgotten_first(book: AddressBook) -> None:
    for number in range(MAX_PEERS):
        book.learn(key(number), (address(key(number)),))
    book.tried(key(7), worked=False, now=0.0)
    book.learn(key(MAX_PEERS), (address(key(MAX_PEERS)),))
    assert book.addresses(key(7)) == ()
    assert book.addresses(key(8))


def test_waits_double_up_to_a_minute_and_end_with_success(book: AddressBook) -> None:
    book.learn(key(1), (address(key(1)),))
    waits = []
    for _ in range(12):
        book.tried(key(1), worked=False, now=0.0)
        waits.append(next(wait for wait in range(100) if book.due(float(wait))))
    assert waits[0] <= 2
    assert waits[-1] > LAST_WAIT_S / 2 - 1
    assert max(waits) <= LAST_WAIT_S
    book.tried(key(1), worked=True, now=0.0)
    assert book.due(1.0) == [key(1)]


def test_introducers_are_due_first_then_who_failed_least(book: AddressBook) -> None:
    for number in (1, 2, 3):
        book.learn(key(number), (address(key(number)),), keep=number == 3)
    book.tried(key(1), worked=False, now=0.0)
    book.tried(key(3), worked=False, now=0.0)
    assert book.due(100.0) == [key(3), key(2), key(1)]


def test_a_new_address_is_tried_at_once(book: AddressBook) -> None:
    book.learn(key(1), (address(key(1)),))
    book.tried(key(1), worked=False, now=0.0)
    assert book.due(0.0) == []
    book.learn(key(1), (address(key(1), 9),))
    assert book.due(0.0) == [key(1)]


def test_the_address_that_worked_comes_first(book: AddressBook) -> None:
    book.learn(key(1), (address(key(1), 1), address(key(1), 2)))
    book.worked_at(key(1), address(key(1), 2))
    book.worked_at(key(1), address(key(1), 99))
    assert book.addresses(key(1)) == (address(key(1), 2), address(key(1), 1))


def test_it_survives_a_restart(book: AddressBook, tmp_path: Path) -> None:
    peer = key_of_seed(b"p" * 32)
    book.learn(peer, (address(peer, 1), address(peer, 2)))
    save(book, tmp_path / "peers.json")
    again = AddressBook(OURSELVES, random.Random(1))
    load(again, tmp_path / "peers.json")
    assert again.addresses(peer) == book.addresses(peer)


def test_only_what_can_be_dialed_comes_back_from_the_file(book: AddressBook, tmp_path: Path) -> None:
    good, odd = key_of_seed(b"g" * 32), key_of_seed(b"x" * 32)
    entries = {peer_id_of(odd): ["/dns/a..b/tcp/1"], peer_id_of(good): ["/ip6/fe80::1%eth0/tcp/1", "/dns/ab/tcp/1"]}
    (tmp_path / "peers.json").write_text(json.dumps(entries))
    load(book, tmp_path / "peers.json")
    assert book.addresses(good) == (PeerAddress("dns", "ab", 1, good),)
    assert book.addresses(odd) == ()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"nobody": ["/ip4/10.0.0.1/tcp/1"]}', json.dumps({"x": 7}), '{"x": ["nonsense"]}'],
)
def test_a_damaged_file_is_only_a_lost_memory(book: AddressBook, tmp_path: Path, text: str) -> None:
    (tmp_path / "peers.json").write_text(text)
    load(book, tmp_path / "peers.json")
    load(book, tmp_path / "missing.json")
    assert book.due(0.0) == []
