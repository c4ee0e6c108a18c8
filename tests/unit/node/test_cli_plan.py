"""``cfab plan`` and ``cfab explain``: columns that add up, commands that can be typed, and nothing left unsaid."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.ask import JobFacts
from market.explain import why_not
from market.knowledge import Known
from market.matching import shortlist
from market.offer_book import OfferBook
from market.speeds import speed_of
from node.cli.auction_lines import closest_lines, cost_lines, counts_line, rule_lines, weights_lines
from node.cli.explain import explain_lines
from node.cli.plan import plan_lines
from node.control import money, rfc3339
from node.match_view import describe_match
from node.plan_view import explain_view
from tests.fakes.cli_runner import cfab
from tests.fakes.samples import NOW, a_signer, an_ask, offered_by, some_limits
from tests.fakes.scripted_control import ScriptedControl, served
from tests.unit.node.test_plan_view import REQUEST

HOUR = 3_600_000
SELLERS = [a_signer(f"s{number}") for number in range(3)]
JOB = "image: image:1\ncommand: x\nmax_price: 0.1/h\nmax_duration: 1h\n"


def seen(known: Known | None = None, *, max_price: int = 10**9, job: JobFacts | None = None) -> Any:
    """An auction among three offers."""
    book = OfferBook(max_skew_ms=60_000)
    for number, seller in enumerate(SELLERS):
        book.take(offered_by(seller, price=100_000 + number), NOW)
        book.know(seller.key, known or Known())
    ask = an_ask(limits=some_limits(max_price=max_price), job=job or JobFacts(max_ms=HOUR))
    reasons = why_not(book, ask, NOW)
    return describe_match(shortlist(book, ask, now=NOW), reasons, ask)


def a_plan(**changes: Any) -> Any:
    plain = {
        "name": "job",
        "image": "image:1",
        "slots": 1,
        "max_duration_ms": HOUR,
        "max_price": {"hourly": "0.5000/h", "nano_per_gpu_second": 138_888},
        "max_total": money(500_000),
        "funds": money(10**7),
        "expected_ms": None,
        "earlier_runs": 0,
        "chosen": 1,
        **seen(),
    }
    return {**plain, **changes}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def control(home: Path) -> Iterator[ScriptedControl]:
    node = ScriptedControl()
    node.plan_answer = a_plan()
    with served(node, home / "api.sock"):
        yield node


@given(
    known=st.builds(
        Known, failure=st.integers(0, 1000), link_mbps=st.integers(0, 10**5), opening=st.integers(0, 10**9)
    ),
    job=st.builds(
        JobFacts,
        max_ms=st.integers(1, 31 * 24 * HOUR),
        image=st.just("image"),
        image_mib=st.integers(0, 10**5),
        moved_mib=st.integers(0, 10**5),
    ),
)
def test_the_column_of_terms_adds_up_as_it_is_printed(known: Known, job: JobFacts):
    *terms, line, total = cost_lines(seen(known, job=job)["candidates"][0])
    amounts = [Decimal(text.split()[1]) for text in terms]
    assert set(line) == {"-"}
    assert total.startswith("total")
    assert sum(amounts) == Decimal(total.split()[1])
    assert len({text.split()[1].count(".") for text in terms}) == 1


def test_a_term_of_a_newer_node_is_part_of_the_sum():
    one = seen()["candidates"][0]
    one["cost"]["carbon"] = money(7)
    assert any(line.startswith("carbon") for line in cost_lines(one))


def test_a_plan_shows_who_what_and_why():
    text = "\n".join(plan_lines(a_plan(chosen=2)))
    for piece in ("image:1, 1 slot", "at most 1 h 0 m", "0.500000 tokens in all", "can set aside 10.000000"):
        assert piece in text
    assert "lowest_cost: cost 100, speed 0" in text
    assert "3 offers · 3 match" in text
    assert re.search(r"#2 \w{8}/m0 would be asked first", text)
    assert "are set aside" in text


def test_a_plan_says_where_its_expected_time_comes_from():
    assert "reckoned with all of it" in "\n".join(plan_lines(a_plan()))
    learned = "\n".join(plan_lines(a_plan(expected_ms=600_000, earlier_runs=1)))
    assert "expected to take 10 m 0 s on an A100, as in 1 earlier run\n" in learned


def test_a_poor_wallet_is_told(control: ScriptedControl, home: Path, tmp_path: Path):
    control.plan_answer = a_plan(chosen=None, funds=money(1))
    ended = cfab(home, "plan", "-t", "1h", "--max-price", "1/h", "image:1")
    assert ended.code == 6
    assert "the wallet holds too little for any of them" in ended.out.decode()
    assert "next:" not in ended.err


def test_a_plan_of_a_file_asks_for_that_job_and_ends_in_the_command_that_buys_it(
    control: ScriptedControl, home: Path, tmp_path: Path
):
    job = tmp_path / "job.yaml"
    job.write_text(JOB)
    ended = cfab(home, "plan", str(job), "--cpu", "2")
    assert ended.code == 0
    assert f"next: cfab submit {job} --cpu 2" in ended.err
    (asked,) = control.planned
    assert (asked.spec.image, asked.spec.requirements.cpu_milli) == ("image:1", 2_000)
    assert control.submitted == []


def test_a_plan_of_flags_is_that_of_a_run(control: ScriptedControl, home: Path, tmp_path: Path):
    ended = cfab(home, "plan", "-t", "1h", "--max-price", "1/h", "image:1", "--", "train", "--fast")
    assert "next: cfab run --max-duration 1h --max-price 1/h image:1 -- train --fast" in ended.err
    assert control.planned[0].spec.command == ("train", "--fast")
    job = tmp_path / "job.yaml"
    job.write_text(JOB)
    cfab(home, "plan", "-f", str(job), "other:1")
    assert control.planned[1].spec.image == "other:1"


def test_a_plan_can_be_read_from_stdin(control: ScriptedControl, home: Path):
    assert cfab(home, "plan", "-", stdin=JOB.encode()).code == 0
    assert control.planned[0].spec.image == "image:1"


def test_where_nothing_fits_the_plan_ends_with_what_would(control: ScriptedControl, home: Path, tmp_path: Path):
    job = tmp_path / "job.yaml"
    job.write_text(JOB)
    control.plan_answer = a_plan(chosen=None, **seen(max_price=5))
    ended = cfab(home, "plan", str(job))
    assert ended.code == 5
    lines = ended.out.decode().splitlines()
    assert lines[-1] == f"  cfab submit {job} --max-price 0.3600/h"
    assert "closest: --max-price 0.3600/h  (1 would match)" in lines
    assert any(line.startswith("price") for line in lines)


def test_json_is_what_the_node_said(control: ScriptedControl, home: Path):
    assert cfab(home, "plan", "-t", "1h", "--max-price", "1/h", "image:1", "--json").json == control.plan_answer
    control.explanation = {"job": "9c" * 16, "auctions": []}
    assert cfab(home, "explain", "9c" * 16, "--json").json == control.explanation


def test_suggestions_of_several_changes_are_told_with_how_many_would_match():
    ways = [
        {"matches": 3, "changes": [{"field": "regions", "value": ["eu", "us"]}, {"field": "cpu_milli", "value": 500}]},
        {"matches": 1, "changes": [{"field": "interruptible", "value": True}]},
    ]
    assert closest_lines({"suggestions": ways, "closest": [{"field": "max_price", "value": 5}]}) == [
        "closest: regions eu, us, --cpu 0.5 for each GPU  (3 would match)",
        "closest: --interruptible  (1 would match)",
    ]


def history(*events: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"seq": n, "time": rfc3339(NOW + 1000 * n), **event} for n, event in enumerate(events, 1)]


def explained(*events: dict[str, Any], now: Any = None) -> str:
    return "\n".join(
        explain_lines(dict(explain_view("9c" * 16, REQUEST, history({"type": "queued"}, *events), now=now)))
    )


def test_an_explanation_tells_the_choice_the_refusals_and_what_came():
    auction = seen()
    second = auction["candidates"][1]
    text = explained(
        {"type": "matching", **auction},
        {"type": "refused", "provider": "ab" * 32, "reason": "no_capacity", "detail": "sold"},
        {"type": "leased", "provider": second["provider"], "machine": "m0", "cap": second["cap"]},
        {"type": "running", "started_at": ""},
        {"type": "paid", "sequence": 1, "gpu_ms": 8_000, "amount": money(77), "final": True},
        {"type": "succeeded", "exit_code": 0},
    )
    for piece in (
        "(job): succeeded",
        "abababab refused: no_capacity (sold)",
        "#2 granted the lease",
        "expected cost of #2:",
        "lowest_cost: cost 100",
    ):
        assert piece in text
    assert re.search(r"paid \(tokens\)\s+0\.360004\s+0\.000077", text)
    assert re.search(r"run\s+1 h 0 m\s+8\.0 s", text)
    assert re.search(r"from lease to start\s+-\s+1\.0 s", text)


def test_a_job_that_nobody_took_is_explained_by_the_rules():
    text = explained({"type": "matching", **seen(max_price=5)}, {"type": "failed", "code": "no_match"})
    assert re.search(r"price\s+3\s+3", text)
    assert "closest: --max-price 0.3600/h" in text
    assert "expected cost of" not in text


def test_a_job_that_waits_is_explained_as_things_are_now():
    waiting = {"type": "waiting_for_offers", "until": "2027-01-01T00:00:00.000Z"}
    text = explained(waiting, now=seen(max_price=5))
    assert "queued, waits for an offer until 2027-01-01T00:00:00.000Z" in text
    assert "now: 3 offers · 3 too dear · 0 match" in text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
        lambda inner: st.dictionaries(st.sampled_from(["cost", "weights", "matches", "provider"]), inner, max_size=3),
        max_leaves=5,
    )
)
def test_strange_candidates_never_break_a_line(value: Any):
    one = {
        "rank": 1,
        "provider": "\x1b[31m",
        "cost": value,
        "expected_ms": value,
        "price": value,
        "failure_permille": 1,
    }
    lines = cost_lines(one) + weights_lines({"strategy": "\x1b", "weights": value})
    lines += [counts_line({"offers": value}), *rule_lines({"rejected": [{"rule": value}], "offers": 1})]
    assert all("\x1b" not in line and "\n" not in line for line in lines)


def test_a_machine_that_is_too_slow_for_the_job_is_said_to_be():
    """Expected to need 40 minutes where 10 are the most: it would be cut off, and paid for."""
    view = seen(job=JobFacts(max_ms=600_000, work_ms=2_400_000 * speed_of("NVIDIA GeForce RTX 4090") // 1000))
    (line,) = [one for one in cost_lines(view["candidates"][0]) if one.startswith("compute")]
    assert "10 m 0 s at" in line
    assert line.endswith("cut off there: it needs 40 m 0 s")
    enough = seen(job=JobFacts(max_ms=HOUR, work_ms=600_000))
    assert "cut off" not in "\n".join(cost_lines(enough["candidates"][0]))


def test_a_command_after_a_job_file_is_not_taken_for_an_image(home: Path, tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(JOB)
    ended = cfab(home, "plan", str(job), "--", "python3", "a b.py")
    assert ended.code == 2
    assert "is a job file" in ended.err
    assert f"cfab plan -f {job} IMAGE -- python3 'a b.py'" in ended.err
