"""Every rule on both sides of its border, alone: the offer differs in nothing else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.feasibility import RULES, Candidate, Limits, failures, is_feasible, same_model
from market.records import PaymentTerms, Requirements
from tests.fakes.samples import BUYER, SELLER, a_candidate, some_limits

Case = tuple[str, Candidate, Requirements, Limits]
PLAIN, NEEDS, LIMITS = a_candidate(), Requirements(), some_limits()


def _need(**changes: object) -> Requirements:
    return Requirements(**changes)  # type: ignore[arg-type]


def _taken_back(notice_ms: int) -> Candidate:
    return a_candidate(interruptible=True, notice_ms=notice_ms)


HOLDS: list[Case] = [
    ("settlement", PLAIN, NEEDS, LIMITS),
    ("terms", a_candidate(terms=PaymentTerms(tick_ms=300_000, grace_ms=300_000)), NEEDS, LIMITS),
    ("terms", a_candidate(terms=PaymentTerms(final_within_ms=3_600_000)), NEEDS, LIMITS),
    ("simulated", a_candidate(simulated=True), _need(allow_simulated=True), LIMITS),
    ("simulated", PLAIN, _need(allow_simulated=True), LIMITS),
    ("gpu", PLAIN, _need(gpus=("rtx4090",)), LIMITS),
    ("gpu", PLAIN, _need(gpus=("A100", "RTX 4090")), LIMITS),
    ("gpu", a_candidate(gpu="none"), _need(gpus=("none",)), LIMITS),
    ("vram", PLAIN, _need(vram_mib=24_000), LIMITS),
    ("vram", PLAIN, _need(vram_max_mib=24_000), LIMITS),
    ("vram", a_candidate(vram_mib=1_000_000), _need(vram_max_mib=0), LIMITS),
    ("slots", PLAIN, _need(slots=2), LIMITS),
    ("cpu", PLAIN, _need(cpu_milli=4_000), LIMITS),
    ("memory", PLAIN, _need(memory_mib=16_000), LIMITS),
    ("disk", PLAIN, _need(disk_mib=50_000), LIMITS),
    ("price", PLAIN, NEEDS, some_limits(max_price=100_000)),
    ("region", PLAIN, _need(regions=("eu-west",)), LIMITS),
    ("region", PLAIN, _need(regions=("us", "eu")), LIMITS),
    ("region", a_candidate(region=""), NEEDS, LIMITS),
    ("jurisdiction", a_candidate(jurisdiction="de"), _need(jurisdictions=("us", "eu")), LIMITS),
    ("jurisdiction", a_candidate(jurisdiction="ch"), _need(jurisdictions=("ch",)), LIMITS),
    ("jurisdiction", a_candidate(jurisdiction="no"), _need(jurisdictions=("eea",)), LIMITS),
    ("runtime", PLAIN, _need(runtime="runc"), LIMITS),
    ("runtime", a_candidate(runtimes=("runc", "runsc")), _need(runtime="runsc"), LIMITS),
    ("cuda", PLAIN, _need(cuda_milli=12_400), LIMITS),
    ("driver", a_candidate(driver="535.104.05"), _need(driver="535.104.5"), LIMITS),
    ("driver", a_candidate(driver="550.1"), _need(driver="535.104.05"), LIMITS),
    ("interruption", PLAIN, _need(min_notice_ms=86_400_000), LIMITS),
    ("interruption", _taken_back(60_000), _need(interruptible=True, min_notice_ms=60_000), LIMITS),
    ("reputation", a_candidate(reputation=500), _need(min_reputation=500), LIMITS),
    ("rtt", a_candidate(rtt_us=5_000), NEEDS, some_limits(max_rtt_us=5_000)),
    ("allow", PLAIN, NEEDS, some_limits(allow=(BUYER.key, SELLER.key))),
    ("deny", PLAIN, NEEDS, some_limits(deny=(BUYER.key,))),
]
FAILS: list[Case] = [
    ("settlement", PLAIN, NEEDS, some_limits(chain_id=1)),
    ("settlement", PLAIN, NEEDS, some_limits(escrow=b"x" * 20)),
    ("terms", a_candidate(terms=PaymentTerms(tick_ms=300_000, grace_ms=300_001)), NEEDS, LIMITS),
    ("terms", a_candidate(terms=PaymentTerms(start_within_ms=3_600_001)), NEEDS, LIMITS),
    ("terms", a_candidate(terms=PaymentTerms(final_within_ms=3_600_001)), NEEDS, LIMITS),
    ("simulated", a_candidate(simulated=True), NEEDS, LIMITS),
    ("gpu", PLAIN, _need(gpus=("rtx4080",)), LIMITS),
    ("gpu", PLAIN, _need(gpus=("rtx",)), LIMITS),
    ("gpu", PLAIN, _need(gpus=("rtx 4090 ti",)), LIMITS),
    ("gpu", PLAIN, _need(gpus=("none",)), LIMITS),
    ("vram", PLAIN, _need(vram_mib=24_001), LIMITS),
    ("vram", PLAIN, _need(vram_max_mib=23_999), LIMITS),
    ("slots", PLAIN, _need(slots=3), LIMITS),
    ("slots", a_candidate(free_slots=0), NEEDS, LIMITS),
    ("cpu", PLAIN, _need(cpu_milli=4_001), LIMITS),
    ("memory", PLAIN, _need(memory_mib=16_001), LIMITS),
    ("disk", PLAIN, _need(disk_mib=50_001), LIMITS),
    ("price", PLAIN, NEEDS, some_limits(max_price=99_999)),
    ("region", PLAIN, _need(regions=("eu-west-1",)), LIMITS),
    ("region", PLAIN, _need(regions=("e", "eu-w", "us")), LIMITS),
    ("region", a_candidate(region=""), _need(regions=("eu",)), LIMITS),
    ("jurisdiction", PLAIN, _need(jurisdictions=("eu",)), LIMITS),
    ("jurisdiction", a_candidate(jurisdiction="ch"), _need(jurisdictions=("eu", "eea")), LIMITS),
    ("runtime", PLAIN, _need(runtime="runsc"), LIMITS),
    ("cuda", PLAIN, _need(cuda_milli=12_401), LIMITS),
    ("driver", PLAIN, _need(driver="1"), LIMITS),
    ("driver", a_candidate(driver="535.104.04"), _need(driver="535.104.05"), LIMITS),
    ("driver", a_candidate(driver="999.x"), _need(driver="1.0"), LIMITS),
    ("interruption", _taken_back(86_400_000), NEEDS, LIMITS),
    ("interruption", _taken_back(59_999), _need(interruptible=True, min_notice_ms=60_000), LIMITS),
    ("reputation", a_candidate(reputation=499), _need(min_reputation=500), LIMITS),
    ("rtt", a_candidate(rtt_us=5_001), NEEDS, some_limits(max_rtt_us=5_000)),
    ("rtt", a_candidate(rtt_us=0), NEEDS, some_limits(max_rtt_us=5_000)),
    ("allow", PLAIN, NEEDS, some_limits(allow=(BUYER.key,))),
    ("deny", PLAIN, NEEDS, some_limits(deny=(SELLER.key,))),
]


@pytest.mark.parametrize(("rule", "candidate", "requirements", "limits"), HOLDS)
def test_the_rule_holds_up_to_its_border(rule: str, candidate: Candidate, requirements: Requirements, limits: Limits):
    assert failures(candidate, requirements, limits) == []
    assert is_feasible(candidate, requirements, limits)


@pytest.mark.parametrize(("rule", "candidate", "requirements", "limits"), FAILS)
def test_the_rule_fails_beyond_its_border_and_alone(
    rule: str, candidate: Candidate, requirements: Requirements, limits: Limits
):
    assert failures(candidate, requirements, limits) == [rule]
    assert not is_feasible(candidate, requirements, limits)


def test_every_rule_is_tried_on_both_sides():
    names = {name for name, _ in RULES}
    assert {case[0] for case in HOLDS} == names
    assert {case[0] for case in FAILS} == names


def test_failures_come_in_the_order_of_the_rules():
    broken = failures(
        a_candidate(free_slots=0, simulated=True), _need(cpu_milli=9_999), some_limits(max_price=0, escrow=b"x" * 20)
    )
    assert broken == ["settlement", "simulated", "slots", "cpu", "price"]


def test_free_slots_are_what_we_know_and_not_what_the_offer_says():
    assert failures(a_candidate(free_slots=0), NEEDS, LIMITS) == ["slots"]


def by_trying_every_beginning(offered: str, wanted: str) -> bool:
    words, asked = split_model(offered), "".join(split_model(wanted))
    return "".join(words) == asked or any(
        "".join(words[:count]) == asked and all(MEANS_NOTHING.fullmatch(word) for word in words[count:])
        for count in range(1, len(words))
    )


def split_model(model: str) -> list[str]:
    words = [word for word in re.split(r"[^a-z0-9]+", model.lower()) if word]
    words = [word for word in words if word not in {"nvidia", "geforce", "tesla", "quadro"}]
    return words[1:] if words[:1] == ["rtx"] and re.fullmatch(r"a\d{4}", "".join(words[1:2])) else words


MEANS_NOTHING = re.compile(r"\d+gb|hbm\d*e?|sxm\d*|pcie|nvl|gpu|ada|generation")
PARTS = st.sampled_from(
    ["NVIDIA", "RTX", "A6000", "H100", "80GB", "4090", "rtx4090", "Ti", "sxm4", "PCIe", "ada", "-", ""]
)
MODELS = st.lists(PARTS, max_size=5).map(" ".join)


@given(MODELS, MODELS)
def test_a_model_is_the_one_asked_for_when_only_words_that_mean_nothing_follow(offered: str, wanted: str):
    assert same_model(offered, wanted) is by_trying_every_beginning(offered, wanted)
