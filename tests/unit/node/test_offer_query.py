"""The query language: what it finds, how it is printed, and how it says what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from market.errors import InvalidRequest
from market.knowledge import Known
from node.control import OfferView
from node.offer_fields import FIELDS
from node.offer_query import MAX_TERMS, MAX_TEXT, MAX_VALUES, arrange, parse_order, parse_query
from node.views import offer_view
from tests.fakes.samples import SELLER, an_offer


def shown(*, known: Known | None = None, rtt_us: int = 0, **changes: Any) -> OfferView:
    offer = SELLER.sign(an_offer(**changes))
    free = offer.record.free_slots
    return offer_view(offer, free_slots=free, mine=False, known=known or Known(), rtt_us=rtt_us)


def refused(text: str) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as error:
        parse_query(text)
    assert error.value.code == "bad_query"
    assert len(error.value.message) + len(error.value.fix) < 500
    return error.value


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("", True),
        ("   ", True),
        ("gpu=RTX4090", True),
        ("gpu=rtx-4090", True),
        ('gpu="GeForce RTX 4090"', True),
        ("gpu=RTX409", False),
        ("gpu=A100,RTX4090", True),
        ("gpu=A100, RTX4090", True),
        ("gpu!=A100,RTX4090", False),
        ("gpu!=A100", True),
        ("vram>=24GB", True),
        ("vram = 24GB", True),
        ("vram==24GB", True),
        ("vram>24GB", False),
        ("vram=24..48GB", True),
        ("vram=32GB..48GB", False),
        ("vram=8GB,16GB..24GB", True),
        ("cpu>=4 cpu<4.001 memory=16000MiB disk>50GB", True),
        ("price<0.36/h", False),
        ("price<=0.36/h", True),
        ("price=0.3..0.4/h", True),
        ("region=eu", True),
        ("region=e", False),
        ("region=us,eu-west", True),
        ("region!=eu", False),
        ("free>1 slots=2", True),
        ("free>2", False),
        ("runtime=runc", True),
        ("runtime!=runsc", True),
        ("isolation=container", True),
        ("isolation=vm", False),
        ("cuda>=12", True),
        ("cuda>12.4", False),
        ("notice>=10m interruptible=no", True),
        ("simulated=false", True),
        ("simulated!=false", False),
        ("machine=m0", True),
        ("machine=m", False),
        (f"provider={SELLER.key.hex()[:6].upper()}", True),
        ("provider=00", False),
        ("reputation>=100%", True),
        ("gpu=RTX4090 price<0.1/h", False),
    ],
)
def test_queries_find_what_they_say(text: str, passes: bool) -> None:
    assert parse_query(text).wants(shown()) is passes


@pytest.mark.parametrize("text", ["jurisdiction=eu", "jurisdiction=DE,fr", "jurisdiction!=us", "jurisdiction=eea"])
def test_jurisdictions_may_be_groups(text: str) -> None:
    assert parse_query(text).wants(shown(jurisdiction="de"))
    assert not parse_query(text).wants(shown(jurisdiction="us"))


@pytest.mark.parametrize("field", ["region", "jurisdiction", "cuda", "driver", "rtt", "speed", "net"])
def test_what_is_not_known_satisfies_nothing_but_its_contrary(field: str) -> None:
    silent = shown(cuda_milli=0, region="")
    example = FIELDS[field].example
    signs = ("=", "<", ">", "<=", ">=") if FIELDS[field].span else ("=",)
    assert [sign for sign in signs if parse_query(f"{field}{sign}{example}").wants(silent)] == []
    assert parse_query(f"{field}!={example}").wants(silent)


def test_local_facts_can_be_asked_for() -> None:
    offer = shown(known=Known(reputation=900), rtt_us=40_000, driver="535.104.05", speed=1_060, net_mbps=500)
    assert parse_query("reputation=0.9 rtt<50ms driver>=535 speed>1000 net>=0.5Gbit").wants(offer)
    assert not parse_query("reputation>0.9").wants(offer)
    assert not parse_query("rtt<40ms").wants(offer)
    assert not parse_query("driver>535").wants(offer)


@pytest.mark.parametrize(
    ("text", "column", "says", "fix"),
    [
        ("vrma>=24GB", 1, "unknown field 'vrma'", "did you mean 'vram'?"),
        ("gpu=A100 gpu_ram>=24GB", 10, "unknown field 'gpu_ram'", "did you mean 'vram'?"),
        ("zzz=1", 1, "unknown field 'zzz'", "fields: gpu, vram"),
        ("gpu=A100 vram", 14, "an operator is missing after 'vram'", "= != <"),
        ("vram>=", 7, "a value of 'vram' is missing", "vram=24GB"),
        ("gpu=A100,", 10, "a value of 'gpu' is missing", "gpu=RTX4090"),
        ('gpu=""', 5, "a value of 'gpu' is missing", ""),
        ("gpu=A100 vram>=24", 16, "'24' is not a size", "GB"),
        ("price<0.5", 7, "not a price per hour", "0.35/h"),
        ("gpu>A100", 4, "'gpu' has no order", "gpu=RTX4090"),
        ("simulated>no", 10, "'simulated' has no order", ""),
        ("vram>=24GB,48GB", 7, "'>=' takes one value", "vram="),
        ("vram<24GB..48GB", 6, "'<' takes one value", "vram="),
        ("vram=48GB..24GB", 6, "not a range", "smaller"),
        ("simulated=no..yes", 11, "not a range", ""),
        ("  24GB", 3, "'24GB' is not a term", "vram>=24GB"),
        ("gpu=A100;vram>=1GB", 14, "'>' does not belong here", "space"),
    ],
)
def test_mistakes_name_their_place_and_a_way_out(text: str, column: int, says: str, fix: str) -> None:
    error = refused(text)
    assert error.where == f"query, column {column}"
    assert says in error.message
    assert fix in error.fix


def test_queries_are_bounded() -> None:
    parse_query(" ".join(["free>=0"] * MAX_TERMS))
    parse_query("gpu=" + ",".join(["A"] * MAX_VALUES))
    refused(" ".join(["free>=0"] * (MAX_TERMS + 1)))
    refused("gpu=" + ",".join(["A"] * (MAX_VALUES + 1)))
    refused("g" * (MAX_TEXT + 1))
    refused("x" * 900)


@pytest.mark.parametrize("text", ["gpu=A100,H100 vram>=24GB", 'gpu!="RTX 4090"', "price=0.3..0.5/h", ""])
def test_a_query_is_printed_as_it_is_read(text: str) -> None:
    assert str(parse_query(text)) == text
    assert str(parse_query(text.replace("=", " == ").replace("! ==", "!=").replace("> ==", ">="))) == text


def test_offers_are_arranged_by_several_fields() -> None:
    offers = [
        shown(machine=name, price=price, region=region, known=Known(reputation=reputation))
        for name, price, region, reputation in [
            ("a", 2, "eu", 900),
            ("b", 1, "", 800),
            ("c", 1, "us", 900),
            ("d", 3, "eu", 1000),
        ]
    ]

    def arranged(order: str) -> str:
        return "".join(offer["machine"] for offer in arrange(offers, parse_order(order)))

    assert arranged("") in ("bcad", "cbad")
    assert arranged("price,-reputation") == "cbad"
    assert arranged("-price, reputation") == "dabc"
    assert arranged("region") == "adcb"
    assert arranged("-region") == "cadb"


def test_an_order_is_checked_like_a_query() -> None:
    assert parse_order(" ") == ()
    with pytest.raises(InvalidRequest) as error:
        parse_order("price,-reputatoin")
    assert (error.value.where, error.value.fix) == ("order, column 7", "did you mean 'reputation'?")
    for text in (",", "price,", "x" * 2000, ",".join(["price"] * 9)):
        with pytest.raises(InvalidRequest):
            parse_order(text)
