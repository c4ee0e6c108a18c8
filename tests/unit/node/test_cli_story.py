"""A job's events as lines: complete, honest about money, and never upset by an event it does not know."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.feasibility import RULES
from market.money import parse_hourly_price
from node.cli.amounts import amount
from node.cli.progress import render
from node.cli.story import Line, Story
from node.control import JOB_EVENTS, money, price_view, rfc3339
from tests.fakes.scripted_control import LEASED, MATCHING, SETTLED, T0, no_match, success


def told(events: list[dict[str, Any]]) -> tuple[Story, list[Line]]:
    story = Story()
    lines = []
    for number, event in enumerate(events):
        lines += story.tell({"seq": number, "time": rfc3339(T0 + 1500 * number), **event})
    return story, lines


def test_every_step_of_a_good_job_is_told_in_order() -> None:
    story, lines = told(success())
    stages = [line.stage for line in lines if line.stage]
    assert stages == [
        "offers", "matched", "funded", "preparing", "running", "paid", "exited", "outputs", "settled", "done",
    ]  # fmt: skip
    assert story.final is not None
    assert story.waiting_for == ""


def test_matching_names_how_many_fail_each_rule_and_who_is_chosen() -> None:
    _, lines = told([MATCHING])
    assert lines[0].text == "5 offers · 4 too dear · 1 match"
    assert "abababab" in lines[2].text
    assert "RTX4090 (simulated)" in lines[2].text


def test_a_quote_is_told_beside_the_tag() -> None:
    quoted = {"type": "quoted", "provider": "cd" * 32, "price": price_view(75_000), "tag": price_view(83_334)}
    _, lines = told([MATCHING, quoted])
    assert (lines[-1].stage, lines[-1].text) == ("quoted", "cdcdcdcd takes 0.2700/h instead of 0.3000/h")


@pytest.mark.parametrize("rule", [name for name, _ in RULES])
def test_every_rule_has_words_of_its_own(rule: str) -> None:
    _, lines = told([{**MATCHING, "rejected": [{"rule": rule, "fails": 4, "only": 4}]}])
    assert f"fail {rule}" not in lines[0].text
    assert lines[0].text.startswith("5 offers · 4 ")


def test_no_match_shows_a_change_that_really_matches_when_typed_in() -> None:
    _, lines = told(no_match())
    [closest] = [line.text for line in lines if line.text.startswith("closest")]
    flag, price = closest.removeprefix("closest: ").split()
    assert flag == "--max-price"
    assert parse_hourly_price(price) >= 100_000


@given(st.integers(min_value=1, max_value=10**12))
def test_closest_price_is_never_rounded_below_the_offer(price: int) -> None:
    event = {**MATCHING, "matches": 0, "candidates": [], "closest": [{"field": "max_price", "value": price}]}
    _, lines = told([event])
    shown = lines[-1].text.rpartition(" ")[2]
    assert parse_hourly_price(shown) >= price


def test_empty_market_is_not_called_a_mismatch() -> None:
    _, lines = told([{"type": "matching", "offers": 0, "matches": 0, "rejected": [], "candidates": [], "closest": []}])
    assert "no offer is known yet" in lines[-1].text


def test_steps_carry_the_time_they_took() -> None:
    _, lines = told(success())
    assert [line.seconds for line in lines if line.stage == "funded"] == [1.5]


def test_what_could_not_be_written_is_told_and_remembered() -> None:
    outputs = {"type": "outputs", "count": 0, "missing": ["/work/b"], "problems": ["/out/a is there already", "kept"]}
    story, lines = told([outputs])
    assert [(line.kind, line.text) for line in lines] == [
        ("warn", "nothing at /work/b"), ("warn", "/out/a is there already"), ("warn", "kept"),
    ]  # fmt: skip
    assert story.incomplete
    assert not told(success())[0].incomplete


def test_what_is_out_of_reach_is_told_in_one_line() -> None:
    story, lines = told([{"type": "queued"}, {"type": "waiting", "detail": "the chain does not\nanswer"}])
    assert [render(line) for line in lines] == ["· waiting   the chain does not\\x0aanswer"]
    assert story.waiting_for == "looking at offers"


def test_a_jobs_bill_is_its_own_and_not_the_lanes() -> None:
    _, lines = told([SETTLED])
    assert lines[0].text.startswith("paid 0.000084, returned 0.049916 of 0.050000 tokens set aside")


def test_money_taken_home_that_was_vouched_is_no_quiet_settlement() -> None:
    _, lines = told([{**SETTLED, "paid": money(80), "reclaimed": True, "vouched": money(84)}])
    assert lines[0].kind == "warn"
    assert lines[0].text.startswith("reclaimed: paid 0.000080 tokens; 0.000004 was vouched and not drawn")


@pytest.mark.parametrize(("exposure", "shown"), [(2_084, "0.002084"), (60_000, "0.050000")])
def test_risk_is_never_more_than_the_whole_cost(exposure: int, shown: str) -> None:
    _, lines = told([{**LEASED, "exposure": money(exposure)}])
    assert lines[0].text.endswith(f"at most 0.050000 tokens in all, at most {shown} at risk for either side")


def test_closest_is_told_before_a_fix_that_speaks_of_it() -> None:
    """Matches that all refused leave the closest change untold until the end."""
    closest = [{"rule": "price", "field": "max_price", "value": 100_000}]
    failed = {"type": "failed", "code": "no_match", "message": "nobody", "fix": "see 'closest'"}
    _, lines = told([{**MATCHING, "closest": closest}, failed])
    assert [line.text.partition(":")[0] for line in lines[-3:]] == ["nobody", "closest", "fix"]
    _, lines = told(no_match())
    assert sum(line.text.startswith("closest") for line in lines) == 1


def test_spending_is_counted_while_it_runs() -> None:
    story, _ = told(success()[:7])
    assert story.money_line == "spent 0.000084 of at most 0.050000 tokens"


def test_lost_money_and_missing_outputs_are_warnings() -> None:
    _, lines = told([
        {"type": "refused", "provider": "ab" * 32, "reason": "no_capacity", "detail": "sold"},
        {"type": "exited", "reason": "lost", "exit_code": -1},
        {"type": "outputs", "files": [], "count": 0, "bytes": 0, "to": [], "missing": ["/work/out"]},
        {"type": "cancelled"},
    ])  # fmt: skip
    assert [line.kind for line in lines] == ["warn"] * 4


@given(
    kind=st.sampled_from([*JOB_EVENTS, "deadline_passed", "from_the_future"]),
    fields=st.dictionaries(st.sampled_from(["reason", "detail", "message", "provider"]), st.text(), max_size=4),
)
def test_event_with_few_or_strange_fields_never_breaks_the_story(kind: str, fields: dict[str, str]) -> None:
    _, lines = told([{"type": kind, **fields}])
    assert all("\x1b" not in render(line) and "\n" not in render(line) for line in lines)


def test_unknown_event_is_silent_and_keeps_what_is_awaited() -> None:
    story, lines = told([{"type": "queued"}, {"type": "from_the_future"}])
    assert lines == []
    assert story.waiting_for == "looking at offers"


@pytest.mark.parametrize(("units", "shown"), [(0, "0.000000"), (1_500_000, "1.500000"), (-5, "-0.000005")])
def test_amounts_always_have_six_decimals(units: int, shown: str) -> None:
    assert amount(money(units)) == shown


def test_a_job_that_waits_for_money_says_how_much_and_how_to_mend_it() -> None:
    waits = {
        "type": "waiting_for_offers",
        "until": "then",
        "matches": 2,
        "message": "0.5 are missing",
        "fix": "send 0.5",
    }
    _, lines = told([waits])
    assert ("warn", "0.5 are missing") in [(line.kind, line.text) for line in lines]
    assert "fix: send 0.5" in [line.text for line in lines]
