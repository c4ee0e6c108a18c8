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
from node.job_file.facts import job_facts
from node.job_file.request import JobRequest
from node.job_terms import ask_of_request, limits_of, total_limit_price
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
