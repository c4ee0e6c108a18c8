"""From a request to the ask behind its auction: what is capped, and what stays at home."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from market import money
from market.ask import Ask
from market.errors import InvalidRequest
from market.records import InputFile, JobSpec, Requirements
from market.strategies import STRATEGIES
from node.auction import Purse
from node.gang import members_of
from node.job_file.facts import job_facts
from node.job_file.request import JobRequest
from node.job_terms import ask_of_request, limits_of, name_binding_cap, total_limit_price
from tests.fakes.samples import BUYER, CHAIN_ID, ESCROW, PAYER, SELLER, SESSION, SPEC

PURSE = Purse(payer=PAYER, signer=SESSION, chain_id=CHAIN_ID, escrow=ESCROW)
PLAIN = JobRequest(name="job", spec=SPEC, max_price=10**9, max_total=10**12)


def a_request(**changes: Any) -> JobRequest:
    return replace(PLAIN, **changes)


def an_ask(request: JobRequest, spec: JobSpec = SPEC) -> Ask:
    return ask_of_request(request, job_facts(request, spec), PURSE)


def test_the_cap_on_the_whole_job_limits_the_price():
    assert limits_of(a_request(max_total=60_000), PURSE).max_price == 100_000
    assert limits_of(a_request(max_price=5), PURSE).max_price == 5


@pytest.mark.parametrize("total", [1, 59_999, 60_000, 60_001])
def test_no_price_within_the_limit_costs_more_than_the_total(total: int):
    price = total_limit_price(a_request(max_total=total))
    assert money.amount_due(price, SPEC.max_duration_ms) <= total
    assert money.amount_due(price + 1, SPEC.max_duration_ms) > total


def test_friends_foes_and_distance_stay_at_home():
    limits = limits_of(a_request(allow=(SELLER.key.hex(),), deny=(BUYER.key.hex(),), max_rtt_us=40_000), PURSE)
    assert (limits.allow, limits.deny, limits.max_rtt_us) == ((SELLER.key,), (BUYER.key,), 40_000)
    assert (limits.chain_id, limits.escrow) == (CHAIN_ID, ESCROW)


def test_the_ask_knows_what_makes_one_machine_cheaper_than_another():
    packed = replace(SPEC, inputs=(InputFile(target="/work/in", size=5 << 20, sha256=bytes(32)),))
    ask = an_ask(a_request(work_ms=60_000, image_mib=3_000, waiting=7), packed)
    assert (ask.job.max_ms, ask.job.work_ms, ask.job.image_mib) == (SPEC.max_duration_ms, 60_000, 3_000)
    assert (ask.job.image, ask.job.moved_mib, ask.job.waiting) == (SPEC.image, 5, 7)
    assert ask.requirements == Requirements()


def test_strategies_are_weights():
    assert an_ask(a_request(strategy="balanced")).weights == STRATEGIES["balanced"]
    own = a_request(strategy="custom", weights=(1, 2, 3, 4))
    assert an_ask(own).weights == (1, 2, 3, 4)
    with pytest.raises(InvalidRequest):
        an_ask(a_request(strategy="custom"))


def price_change(price: int, *others: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"rule": "price", "field": "max_price", "value": price}, *others]


def test_a_change_names_the_cap_that_stands_in_the_way():
    seen = {"offers": 1, "closest": price_change(100_000), "suggestions": [{"matches": 1, "changes": price_change(7)}]}
    total = name_binding_cap(seen, a_request(max_total=1))
    assert total["closest"] == [{"rule": "price", "field": "max_total", "value": 60_000}]
    assert total["suggestions"][0]["changes"][0]["field"] == "max_total"
    assert total["suggestions"][0]["matches"] == 1
    price = name_binding_cap(seen, a_request(max_price=99_999))
    assert price["closest"] == seen["closest"]
    assert limits_of(a_request(max_total=60_000), PURSE).max_price >= 100_000, "what is named is enough"


def test_a_total_is_named_for_as_many_cards_as_are_proposed():
    fewer = {"rule": "slots", "field": "slots", "value": 1}
    request = a_request(spec=replace(SPEC, requirements=Requirements(slots=4)), max_total=1)
    seen = {"closest": [], "suggestions": [{"changes": price_change(100_000, fewer)}]}
    assert name_binding_cap(seen, request)["suggestions"][0]["changes"][0]["value"] == 60_000


@pytest.mark.parametrize("total", [0, 1, 2, 299_999, 300_000, 300_001])
def test_the_machines_of_a_gang_together_stay_within_the_total(total: int):
    request = a_request(max_total=total, machines=3)
    price = total_limit_price(request)
    assert 3 * money.amount_due(price, request.spec.max_duration_ms * request.spec.requirements.slots) <= total
    assert [total_limit_price(member) for member in members_of(request)] == [price] * 3


def test_a_total_that_is_named_is_enough_for_a_gang():
    request = a_request(max_total=1, machines=3)
    seen = {"closest": [{"rule": "price", "field": "max_price", "value": 100_000}]}
    (change,) = name_binding_cap(seen, request)["closest"]
    assert total_limit_price(replace(request, max_total=change["value"])) >= 100_000
