"""``cfab provider price`` and ``set-price`` against a scripted node: figures a seller can act on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from market.errors import InvalidRequest
from node.control import OfferView, price_view
from tests.fakes.cli_runner import cfab
from tests.fakes.scripted_control import OFFER, ScriptedControl, served

FLOOR = ("--watts", "350", "--power-price", "0.30/kWh", "--wear", "0.02/h")


class Market(ScriptedControl):
    """A node that sees these offers."""

    def __init__(self, offers: list[OfferView]) -> None:
        super().__init__()
        self.seen = offers

    async def offers(self, query: dict[str, Any]) -> list[OfferView]:
        return self.seen


def offered(name: str, price: int, **changes: Any) -> OfferView:
    view: Any = {**OFFER, "provider": name, "simulated": False, "price": price_view(price), **changes}
    return view


OTHERS = [
    offered("a", 60_000, gpu="NVIDIA GeForce RTX 4090"),
    offered("b", 80_000),
    offered("c", 100_000),
    offered("d", 120_000),
    offered("d", 500_000, machine="m1"),
    offered("e", 1, simulated=True),
    offered("f", 2, gpu="NVIDIA H100"),
]
OWN = offered("me", 90_000, mine=True, machine="m0")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def control(home: Path) -> Iterator[Market]:
    node = Market([*OTHERS, OWN])
    with served(node, home / "api.sock"):
        yield node


def test_a_seller_sees_cost_market_and_its_own_place(control: Market, home: Path) -> None:
    (advice,) = cfab(home, "provider", "price", *FLOOR, "--json").json
    assert (advice["gpu"], advice["machine"], advice["providers"], advice["cheaper"]) == ("RTX4090", "m0", 4, 2)
    market = [advice["market"][name]["nano_per_gpu_second"] for name in ("low", "median", "high")]
    assert market == [60_000, 80_000, 100_000]
    assert advice["floor"]["hourly"] == "0.1250/h"
    assert advice["suggested"]["hourly"] == "0.2880/h"
    told = cfab(home, "provider", "price", *FLOOR).out.decode()
    for piece in (
        "RTX4090 (m0)",
        "0.1250/h   350 W at 0.30/kWh, wear 0.0200/h",
        "0.2160/h · 0.2880/h · 0.3600/h   quartiles of 4 other providers",
        "0.3240/h   2 of 4 other providers ask less",
        "0.2880/h   cfab provider set-price 0.2880/h",
    ):
        assert piece in told, told


def test_a_price_below_its_cost_is_called_a_loss(control: Market, home: Path) -> None:
    told = cfab(home, "provider", "price", "--watts", "2000", "--power-price", "0.30/kWh").out.decode()
    assert "below the floor: every job is a loss" in told
    assert "cfab provider set-price 0.6000/h" in told, "never below the floor, whatever the market asks"


def test_who_does_not_sell_yet_asks_by_model(control: Market, home: Path) -> None:
    control.seen = OTHERS
    (advice,) = cfab(home, "provider", "price", "--gpu", "rtx4090", "--json").json
    assert (advice["machine"], advice["price"], advice["cheaper"], advice["floor"]) == (None, None, None, None)
    assert advice["suggested"]["nano_per_gpu_second"] == 80_000
    ended = cfab(home, "provider", "price")
    assert ended.code != 0
    assert "--gpu" in ended.err


def test_a_model_nobody_sells_has_no_market(control: Market, home: Path) -> None:
    (advice,) = cfab(home, "provider", "price", "--gpu", "B300", *FLOOR, "--json").json
    assert (advice["market"], advice["providers"]) == (None, 0)
    assert advice["suggested"]["hourly"] == "0.2500/h", "twice the floor"
    assert "nobody sells this model" in cfab(home, "provider", "price", "--gpu", "B300").out.decode()


def test_the_floor_of_the_config_is_used_without_flags(control: Market, home: Path) -> None:
    environ = {"CFAB_PROVIDER_FLOOR": "0.30/h"}
    (advice,) = cfab(home, "provider", "price", "--json", environ=environ).json
    assert advice["floor"]["nano_per_gpu_second"] == 83_333
    assert advice["suggested"]["hourly"] == "0.3000/h"


@pytest.mark.parametrize("half", [("--watts", "350"), ("--power-price", "0.30/kWh"), ("--wear", "0.02/h")])
def test_half_a_cost_is_no_floor(control: Market, home: Path, half: tuple[str, str]) -> None:
    ended = cfab(home, "provider", "price", *half)
    assert ended.code == 2
    assert "--power-price" in ended.err


def test_set_price_says_how_long_it_holds(control: Market, home: Path) -> None:
    ended = cfab(home, "provider", "set-price", "0.32/h", "--machine", "m0")
    assert ended.code == 0
    assert "at 0.3200/h" in ended.out.decode()
    assert 'put price = "0.3200/h" under [provider]' in ended.err
    assert control.calls == ["price 0.32/h m0"]
    assert cfab(home, "provider", "set-price", "0.32/h", "--json").json["price"]["hourly"] == "0.3200/h"


def test_set_price_refuses_what_is_no_price_before_it_asks(control: Market, home: Path) -> None:
    assert cfab(home, "provider", "set-price", "0.32").code != 0
    assert control.calls == []
    control.fail["provider_price"] = InvalidRequest("below the floor", code="price_outside_limits", fix="another")
    assert "below the floor" in cfab(home, "provider", "set-price", "0.01/h").err
