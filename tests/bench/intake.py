"""How fast gossip becomes a book on one core, and how much of that time is spent on signatures. Nothing is asserted.

    python -m tests.bench.intake [PROVIDERS]

Messages go the whole way that a node's network hands them: judged, then delivered into the book with its index and to
the address book. *New* offers are of machines never heard of, *refreshes* newer versions of those, *replays* the very
same messages by another forwarder. Beside each small part the same signatures are checked alone, so that both see the
same machine; shares are of processor time: of all, and of what comes after the bytes were decoded.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Iterable, Iterator

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from bootstrap.address_book import AddressBook
from bootstrap.identity import peer_id_of
from bootstrap.peer_address import dialable
from market import codec
from market.records import Offer
from market.signing import Signer, Verified, read
from node import wire
from node.admission import pack_batch
from node.garbage import collect_less_often
from node.offer_intake import OfferIntake
from node.peer_budgets import ADDRESS_RATE
from node.ports import Verdict
from tests.fakes.desks import RecordingNetwork, SetClock
from tests.fakes.samples import NOW, a_signer, an_offer

Check = tuple[Ed25519PublicKey, bytes, bytes]
CARDS = ("NVIDIA GeForce RTX 4090", "NVIDIA A100-SXM4-80GB", "NVIDIA H100 80GB HBM3", "none")
PART = 128
"""Offers between two looks at the clock."""
GOAL = "≥ 90 % in Ed25519"


class AddressNetwork(RecordingNetwork):
    """Reads addresses as the real network does, and sends nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._book = AddressBook(self.key, random.Random(1))

    def learn(self, peer: bytes, addresses: tuple[str, ...]) -> None:
        self._book.learn(peer, dialable(peer, addresses, limit=8))


class Stopwatch:
    """Processor seconds, added up."""

    def __init__(self) -> None:
        self.total = 0.0

    def __enter__(self) -> None:
        self._began = time.process_time()

    def __exit__(self, *_: object) -> None:
        self.total += time.process_time() - self._began


def main(providers: int) -> None:
    """Measure and print."""
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}, {providers} providers"
    )
    collect_less_often()
    heads = f"{'IN A MESSAGE':>13}{'OFFERS/s':>11}{'ONE OFFER':>11}{'DECODING':>11}{'ED25519':>10}{'SHARE':>8}"
    print(f"\n{'OFFERS':<12}{heads}{'DECODED':>9}  GOAL")
    for batch in (wire.MAX_BATCH_RECORDS, 1):
        for name, *watches in trio.run(measure, providers, batch):
            one, check, decode = (watch.total / providers * 1e6 for watch in watches)
            shares = f"{check / one:>7.1%}{check / (one - decode):>9.1%}  {GOAL}" if check else ""
            print(f"{name:<12}{batch:>13}{1e6 / one:>11.0f}{one:>8.1f} µs{decode:>8.1f} µs{check:>7.1f} µs {shares}")


async def measure(providers: int, batch: int) -> list[tuple[str, Stopwatch, Stopwatch, Stopwatch]]:
    """New offers, refreshes, and replays of those, each with the signatures and the decoding alone."""
    network, clock = AddressNetwork(), SetClock()
    intake = OfferIntake(network, clock)
    intake.register()
    signers = [a_signer(f"p{number}") for number in range(providers)]
    found = []
    forwarders = (number.to_bytes(32, "big") for number in range(10**9))
    for name, age in (("new", 0), ("refreshes", wire.OFFER_REFRESH_MS)):
        clock.now = NOW + age
        use_up_addresses(intake, clock.now)
        watch, alone, decoding, replayed = Stopwatch(), Stopwatch(), Stopwatch(), Stopwatch()
        for part in parts([posted(signer, number, clock.now) for number, signer in enumerate(signers)]):
            messages = [pack_batch(part[start : start + batch]) for start in range(0, len(part), batch)]
            checks = [check_of(offer) for offer in part]
            with watch:
                hear(network, next(forwarders), messages)
            with alone:
                for key, signature, signed in checks:
                    key.verify(signature, signed)
            with decoding:
                for message in messages:
                    for raw in codec.unpack_list(message, limit=wire.MAX_GOSSIP_BYTES):
                        read(raw, Offer, limit=wire.MAX_GOSSIP_RECORD)
            with replayed:
                hear(network, next(forwarders), messages)
        assert len(intake.book) == providers + ADDRESS_RATE.burst
        found.append((name, watch, alone, decoding))
    return [*found, ("replays", replayed, Stopwatch(), Stopwatch())]


def hear(network: RecordingNetwork, forwarder: bytes, messages: list[bytes]) -> None:
    """What a network does with messages of one forwarder."""
    judge, deliver = network.judges[wire.TOPIC_OFFERS], network.deliveries[wire.TOPIC_OFFERS]
    for message in messages:
        assert judge(forwarder, message) is Verdict.ACCEPT
        deliver(forwarder, message)


def use_up_addresses(intake: OfferIntake, now: int) -> None:
    """A node under load reads few addresses; one that was idle has a reserve of them."""
    for number in range(int(ADDRESS_RATE.burst)):
        signer = a_signer(f"early{number}")
        intake.take(posted(signer, number, now), source=signer.key)


def posted(signer: Signer, number: int, now: int) -> Verified[Offer]:
    """What a usual provider posts."""
    peer = peer_id_of(signer.key)
    return signer.sign(
        an_offer(
            provider=signer.key,
            version=now,
            issued_at=now,
            expires_at=now + wire.OFFER_TTL_MS,
            gpu=CARDS[number % len(CARDS)],
            price=90_000 + number * 7 % 20_000,
            driver="560.35.03",
            addresses=(f"/ip4/10.0.{number % 250}.7/tcp/4001/p2p/{peer}", f"/ip4/203.0.113.9/tcp/4001/p2p/{peer}"),
            images=("sha256:" + "ab" * 32,),
        )
    )


def check_of(offer: Verified[Offer]) -> Check:
    """The signature of an offer, ready to be checked."""
    envelope = codec.unpack(offer.raw)
    signed = b"computefabric/offer/1\0" + envelope["body"]
    return Ed25519PublicKey.from_public_bytes(offer.signer), envelope["sig"], signed


def parts(offers: list[Verified[Offer]]) -> Iterator[list[Verified[Offer]]]:
    """Offers in parts of equal size."""
    starts: Iterable[int] = range(0, len(offers), PART)
    return (offers[start : start + PART] for start in starts)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4096)
