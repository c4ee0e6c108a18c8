"""An auction over checked offers, with nobody's money."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from market.ask import facts_of_spec
from market.records import JobSpec, Requirements, Settlement
from node.job_file.request import JobRequest
from node.light_plan import light_plan, usual_purse
from tests.fakes.samples import NOW, SETTLEMENT, SPEC, a_signer, offered_by

ELSEWHERE = Settlement(chain_id=9, escrow=b"x" * 20, payee=b"p" * 20)


def wanted(max_rtt_us: int = 0, **needs: Any) -> JobRequest:
    spec: JobSpec = replace(SPEC, requirements=Requirements(**needs))
    return JobRequest(name="job", spec=spec, max_price=10**9, max_total=10**12, max_rtt_us=max_rtt_us)


def plan(request: JobRequest, *offers: Any, rtts: dict[bytes, int] | None = None) -> Any:
    return light_plan(request, facts_of_spec(request.spec), offers, rtts or {}, now=NOW)


def test_the_cheapest_that_fits_is_first() -> None:
    offers = [offered_by(a_signer(name), price=price) for name, price in [("a", 30), ("b", 10), ("c", 20)]]
    view = plan(wanted(), *offers)
    assert (view["offers"], view["matches"], view["chosen"]) == (3, 3, 1)
    assert view["candidates"][0]["provider"] == a_signer("b").key.hex()
    assert view["funds"] is None


def test_why_nothing_fits_is_told() -> None:
    view = plan(wanted(gpus=("H100",)), offered_by(a_signer("a")))
    assert (view["matches"], view["chosen"], view["candidates"]) == (0, None, [])
    assert [rule["rule"] for rule in view["rejected"]] == ["gpu"]
    assert plan(wanted())["offers"] == 0


def test_round_trips_that_were_measured_count() -> None:
    offers = [offered_by(a_signer(name)) for name in "ab"]
    view = plan(wanted(max_rtt_us=50_000), *offers, rtts={a_signer("b").key: 40_000})
    assert [one["provider"] for one in view["candidates"]] == [a_signer("b").key.hex()]


def test_the_escrow_is_that_of_most_providers() -> None:
    here = [offered_by(a_signer(name)) for name in "ab"]
    crowd = [offered_by(a_signer("c"), machine=f"m{number}", settlement=ELSEWHERE) for number in range(5)]
    assert usual_purse([*crowd, *here]).escrow == SETTLEMENT.escrow
    assert plan(wanted(), *crowd, *here)["matches"] == 2
    tie = [offered_by(a_signer("a")), offered_by(a_signer("c"), settlement=ELSEWHERE)]
    assert usual_purse(tie) == usual_purse(tie[::-1])
    assert usual_purse([]).chain_id == 1
