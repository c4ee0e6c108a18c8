"""``cfab --light`` as a process of its own against real libp2p peers, one of which lies. It touches no file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from market import codec
from market.records import Offer
from market.signing import Verified, verify
from node import wire
from node.history_desk import HistoryDesk
from node.home import home_folder
from node.libp2p_network import Libp2pNetwork, open_libp2p_network
from node.offer_intake import OfferIntake
from node.peer_exchange import PeerExchange
from node.public_desk import PublicDesk
from node.system_clock import SystemClock
from tests.fakes.open_nodes import open_nodes
from tests.fakes.samples import BUYER, a_bid, a_signer, an_offer

pytestmark = pytest.mark.processes
LISTEN = ("/ip4/127.0.0.1/tcp/0",)
DEADLINE_S = 60
PRICES = {"a": 100_000, "b": 120_000, "c": 90_000}
WATCHED = """
import os, sys
home, touched, written = os.environ["HOME"], [], []

def watch(event, args):
    if event in ("open", "os.mkdir", "os.listdir", "os.scandir", "os.rename", "socket.bind"):
        place = str(args[0])
        if place.startswith(home):
            touched.append(place)
        if event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and place != os.devnull:
            written.append(place)

sys.addaudithook(watch)
from node.cli import main
code = main(sys.argv[1:])
print("TOUCHED", touched, written, file=sys.stderr)
sys.exit(code)
"""
"""The command line, which tells at its end what it opened below its home, and what it opened for writing anywhere."""


@dataclass
class Town:
    """Three peers with the same offers; the last does not show those of one provider."""

    networks: list[Libp2pNetwork] = field(default_factory=list)
    intakes: list[OfferIntake] = field(default_factory=list)
    prices: list[HistoryDesk] = field(default_factory=list)

    @property
    def address(self) -> str:
        return self.networks[0].addresses()[0]

    async def look(self, home: Path, *words: str, join: bool = True) -> subprocess.CompletedProcess[bytes]:
        environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"}
        line = [sys.executable, "-c", WATCHED, "--light", *(("--join", self.address) if join else ()), *words]
        with trio.fail_after(DEADLINE_S):
            return await trio.run_process(line, capture_stdout=True, capture_stderr=True, check=False, env=environment)


def offers_now(clock: SystemClock) -> list[Verified[Offer]]:
    now = clock.now_ms()
    return [
        a_signer(name).sign(
            replace(an_offer(provider=a_signer(name).key, price=price), issued_at=now, expires_at=now + 60_000)
        )
        for name, price in PRICES.items()
    ]


def hide(network: Libp2pNetwork, intake: OfferIntake, victim: bytes) -> None:
    """Answer for the book as an honest node does, but for one provider."""
    honest = intake._sync._answer

    async def answer(peer: bytes, question: bytes) -> bytes:
        page = codec.unpack_list(await honest(peer, question), limit=wire.MAX_RESPONSE)
        shown = [raw for raw in page[1:] if verify(raw, Offer).signer != victim]
        return codec.pack([page[0], *shown] if page else [])

    network.serve(wire.PROTOCOL_BOOK, answer, max_request=wire.MAX_BOOK_REQUEST)


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    clock, made = SystemClock(), Town()
    async with open_nodes() as opener, trio.open_nursery() as nursery:
        for number in range(3):
            introducers = made.networks[0].addresses() if made.networks else ()
            opening = open_libp2p_network(seed=bytes([number + 1]) * 32, listen=LISTEN, introducers=introducers)
            network = await opener.open(opening)
            intake, exchange = OfferIntake(network, clock), PeerExchange(network)
            prices = HistoryDesk(network, clock, intake.book.live, path=None)
            for part in (intake, exchange, prices, PublicDesk(network, clock, intake.bids_heard.values)):
                part.register()
            made.networks.append(network)
            made.intakes.append(intake)
            made.prices.append(prices)
        for offer in offers_now(clock):
            for intake in made.intakes:
                intake.take(offer)
        now = clock.now_ms()
        bid = BUYER.sign(replace(a_bid(), issued_at=now, expires_at=now + 60_000))
        made.intakes[0].bids_heard.add(bid, b"")
        for prices in made.prices:
            await prices._look()
        hide(made.networks[2], made.intakes[2], a_signer("a").key)
        with trio.fail_after(DEADLINE_S):
            while len(made.networks[0].peers()) < 2:
                await trio.sleep(0.05)
        yield made
        nursery.cancel_scope.cancel()


def touched(ended: subprocess.CompletedProcess[bytes]) -> str:
    return ended.stderr.decode().splitlines()[-1]


async def test_the_market_is_seen_and_the_liar_named(town: Town, tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o555)  # the superuser could still write: that nothing is opened for it is looked at below
    ended = await town.look(tmp_path, "offers", "region=eu", "--json")
    assert ended.returncode == 0, ended.stderr
    seen = json.loads(ended.stdout)
    assert [offer["price"]["nano_per_gpu_second"] for offer in seen["offers"]] == sorted(PRICES.values())
    assert [offer["seen_by"] for offer in seen["offers"]] == [3, 2, 3]
    liar = town.networks[2].key.hex()
    assert {peer["peer"]: [one["provider"] for one in peer["hides"]] for peer in seen["peers"]} == {
        town.networks[0].key.hex(): [],
        town.networks[1].key.hex(): [],
        liar: [a_signer("a").key.hex()],
    }
    assert touched(ended) == "TOUCHED [] []"
    assert os.listdir(tmp_path) == []


async def test_everything_else_can_be_asked_too(town: Town, tmp_path: Path) -> None:
    look = partial(town.look, tmp_path)
    answers: dict[str, Any] = {}

    async def ask(name: str, *words: str) -> None:
        answers[name] = await look(name, *words, "--json")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, "depth", "RTX4090")
        nursery.start_soon(ask, "bids")
        nursery.start_soon(ask, "history", "RTX4090", "--over", "1h")
        nursery.start_soon(ask, "whatif", "-g", "RTX4090", "-t", "30m", "--max-price", "0.4/h")
    assert {name: ended.returncode for name, ended in answers.items()} == dict.fromkeys(answers, 0)
    found = {name: json.loads(ended.stdout)[name] for name, ended in answers.items()}
    assert [(depth["gpu"], depth["slots"], depth["providers"]) for depth in found["depth"]] == [("RTX4090", 6, 3)]
    assert [bid["requester"] for bid in found["bids"]] == [BUYER.key.hex()]
    assert [bar["median"]["nano_per_gpu_second"] for bar in found["history"]] == [100_000]
    # A cap of 0.4 tokens an hour leaves out the dearest.
    assert (found["whatif"]["matches"], found["whatif"]["best"]["price"]["nano_per_gpu_second"]) == (2, 90_000)
    assert {touched(ended) for ended in answers.values()} == {"TOUCHED [] []"}


async def test_of_a_home_that_is_there_only_the_config_is_read(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CFAB_HOME", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    home = home_folder()
    home.mkdir(parents=True, mode=0o700)
    for name in ("node.key", "session.key", "wallet.json", "journal.sqlite"):
        (home / name).write_text("not to be read")
    config = home / "config.toml"
    config.write_text(f'[node]\nintroducers = ["{town.address}"]\n')
    ended = await town.look(tmp_path, "offers", join=False)
    assert ended.returncode == 0, ended.stderr
    assert f"hides 1 offer that others show: {a_signer('a').key.hex()[:8]}/m0" in ended.stderr.decode()
    assert touched(ended) == f"TOUCHED [{str(config)!r}] []"
