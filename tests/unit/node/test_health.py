"""The doctor's lines: what is wrong, how bad it is, and what to do about it."""

from __future__ import annotations

import random
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from bootstrap.identity import peer_id_of
from ledger.redeem_plan import BASE_GAS, ROW_GAS
from ledger.voucher import SessionKey
from node import health
from node.config import NodeConfig
from node.control import Check
from node.hand_over import TowerView
from node.health import health_checks
from node.offer_intake import OfferIntake
from node.ports import PeerInfo
from node.trading import World
from tests.fakes.desks import RecordingNetwork
from tests.fakes.memory_chain import MemoryChain
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.samples import BUYER, SELLER, an_offer, offered_by
from tests.simulation.marketplace import SimulatedClock

Usage = namedtuple("Usage", "total used free")


class Patient:
    """A node to be examined."""

    def __init__(self, home: Path, *, tokens: int = 5, gas: int = 5, skew_ms: int = 0) -> None:
        self.home, self.network = home, RecordingNetwork(BUYER.key)
        self.network.known = [PeerInfo(key=BUYER.key, peer_id="x", addresses=(), rtt_us=1)]
        clock, chain, wallet = SimulatedClock(skew_ms), MemoryChain(SimulatedClock()), SessionKey(b"w" * 32)
        self.intake = OfferIntake(self.network, SimulatedClock())
        self.intake.take(offered_by(BUYER, issued_at=an_offer().issued_at))
        chain.mint(wallet.address, tokens)
        if gas:
            chain.give_gas(wallet.address, gas)
        self.chain = chain.view(wallet.address)
        self.world = World(
            network=self.network,
            journal=MemoryJournal(),
            chain=self.chain,
            clock=clock,
            rng=random.Random(1),
            signer=BUYER,
            session_key=SessionKey(b"k" * 32),
            wallet=wallet,
            folder=home,
        )

    trading: Any = None

    async def examine(self, **config: Any) -> dict[str, Check]:
        plain = NodeConfig(home=self.home, name="n", api_socket=self.home / "api", **config)
        checks = await health_checks(plain, self.network, self.intake, self.world, self.trading)
        assert all(check["fix"] for check in checks if not check["ok"] or check["warning"]), "a fault without a remedy"
        assert not any(check["fix"] for check in checks if check["ok"] and not check["warning"])
        return {check["name"]: check for check in checks}


def state(check: Check) -> str:
    return "fault" if not check["ok"] else "warning" if check["warning"] else "well"


@pytest.fixture(autouse=True)
def a_roomy_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health.shutil, "disk_usage", lambda _path: Usage(1 << 40, 0, 1 << 40))


async def test_a_healthy_node_has_nothing_to_mend(autojump_clock: MockClock, tmp_path: Path):
    checks = await Patient(tmp_path).examine()
    assert list(checks) == ["peers", "market", "disk", "chain", "clock", "gas", "tokens"]
    assert {state(check) for check in checks.values()} == {"well"}


async def test_a_node_alone_is_ill_unless_it_is_the_introducer(autojump_clock: MockClock, tmp_path: Path):
    patient = Patient(tmp_path)
    patient.network.known = []
    assert state((await patient.examine())["peers"]) == "fault"
    assert state((await patient.examine(introducer=True))["peers"]) == "well"


async def test_an_empty_market_is_worth_a_look(autojump_clock: MockClock, tmp_path: Path):
    patient = Patient(tmp_path)
    patient.intake.book.drop_expired(2**53)
    assert state((await patient.examine())["market"]) == "warning"


async def test_a_full_disk_is_a_fault(autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(health.shutil, "disk_usage", lambda _path: Usage(1 << 40, 0, 1 << 30))
    checks = await Patient(tmp_path).examine()
    assert state(checks["disk"]) == "fault"
    assert str(tmp_path) in checks["disk"]["fix"]


async def test_a_chain_that_is_away_is_a_fault_and_the_rest_is_still_told(autojump_clock: MockClock, tmp_path: Path):
    patient = Patient(tmp_path)
    patient.chain.offline = True
    checks = await patient.examine()
    assert state(checks["chain"]) == "fault"
    assert set(checks) == {"peers", "market", "disk", "chain"}


@pytest.mark.parametrize(
    ("changes", "name", "found"),
    [
        ({"gas": 0}, "gas", "fault"),
        ({"tokens": 0}, "tokens", "warning"),
        ({"skew_ms": 121_000}, "clock", "warning"),
        ({"skew_ms": -121_000}, "clock", "warning"),
        ({"skew_ms": 100_000}, "clock", "well"),
    ],
)
async def test_what_the_chain_says_of_us(
    autojump_clock: MockClock, tmp_path: Path, changes: dict[str, int], name: str, found: str
):
    assert state((await Patient(tmp_path, **changes).examine())[name]) == found


async def test_a_node_without_a_chain_is_not_asked_about_it(autojump_clock: MockClock, tmp_path: Path):
    patient = Patient(tmp_path)
    patient.world = None  # type: ignore[assignment]
    assert list(await patient.examine()) == ["peers", "market", "disk"]


async def test_an_introducer_that_is_not_there_is_named(autojump_clock: MockClock, tmp_path: Path):
    there, away = (f"/ip4/203.0.113.7/tcp/4001/p2p/{peer_id_of(one.key)}" for one in (BUYER, SELLER))
    patient = Patient(tmp_path)
    assert "introducer" not in await patient.examine(introducers=(there,))
    check = (await patient.examine(introducers=(there, away)))["introducer"]
    assert state(check) == "warning"
    assert away in check["detail"]


async def test_amounts_have_units_that_people_read(autojump_clock: MockClock, tmp_path: Path):
    checks = await Patient(tmp_path, gas=25 * 10**16, tokens=1_500_000).examine()
    assert checks["gas"]["detail"] == "0.250000 of the chain's coin (ether)"
    assert checks["tokens"]["detail"] == "1.500000 tokens"


def selling(lanes: int, *, trouble: str = "", towers: tuple[str, ...] = ()) -> Any:
    """A node that holds vouchers of so many lanes."""
    views = [TowerView(peer=b"T" * 32, lanes=lanes, behind=0, trouble=tower) for tower in towers]
    collector = SimpleNamespace(lanes_at_stake=lambda: [None] * lanes, trouble=trouble)
    return SimpleNamespace(
        selling=SimpleNamespace(collector=collector, hand_over=SimpleNamespace(view=lambda: views)), tower=None
    )


@pytest.mark.parametrize(("lanes", "found"), [(0, None), (10, "well"), (11, "warning")])
async def test_gas_must_last_to_redeem_everything_in_a_spike(
    autojump_clock: MockClock, tmp_path: Path, lanes: int, found: str | None
):
    async def price() -> int:
        await trio.lowlevel.checkpoint()
        return 10**9

    patient = Patient(tmp_path, gas=5 * (BASE_GAS + 10 * ROW_GAS) * 10**9)
    patient.world = replace(patient.world, gas_price=price)
    patient.trading = selling(lanes)
    checks = await patient.examine()
    assert (state(checks["gas reserve"]) if "gas reserve" in checks else None) == found
    patient.chain.offline = True
    assert "gas reserve" not in await patient.examine()


async def test_lanes_that_nobody_looks_after_are_told(autojump_clock: MockClock, tmp_path: Path):
    patient = Patient(tmp_path)
    patient.trading = selling(1, trouble="the chain does not answer", towers=("", "not reached: cut"))
    checks = await patient.examine()
    assert state(checks["redeeming"]) == "fault"
    assert (state(checks["watchtower"]), checks["watchtower"]["detail"]) == ("warning", "not reached: cut")
