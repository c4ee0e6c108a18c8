"""Earlier runs: what they say of the next one, and when they are too few to say anything."""

from __future__ import annotations

from msgspec.structs import replace

from market.ask import JobFacts
from market.job_history import KEPT, JobHistory, Run, after_run, kind_of, learned_facts, speed_seen
from tests.fakes.samples import SPEC

PLAIN = JobFacts(max_ms=3_600_000, moved_mib=5)


def history(*runs: tuple[str, int, int]) -> JobHistory:
    found = JobHistory()
    for provider, run_ms, speed in runs:
        found = after_run(found, Run(provider=provider.encode(), run_ms=run_ms, speed=speed, output_mib=2))
    return found


def test_nothing_is_learned_from_nothing():
    assert learned_facts(PLAIN, JobHistory()) == PLAIN


def test_runs_on_different_cards_are_the_same_work():
    """Ten minutes on an A100 and five on a card twice as quick."""
    facts = learned_facts(PLAIN, history(("a", 600_000, 1000), ("b", 300_000, 2000), ("c", 1_200_000, 500)))
    assert (facts.work_ms, facts.work_speed, facts.moved_mib) == (600_000, 1000, 7)


def test_one_odd_run_does_not_move_the_median():
    runs = [("a", 600_000, 1000)] * 4 + [("b", 3_000_000, 1000)]
    assert learned_facts(PLAIN, history(*runs)).work_ms == 600_000


def test_what_the_owner_said_is_not_overruled():
    said = replace(PLAIN, work_ms=60_000, work_speed=2000)
    facts = learned_facts(said, history(("a", 600_000, 1000)))
    assert (facts.work_ms, facts.work_speed) == (60_000, 2000)


def test_only_the_last_runs_count():
    long_ago = [("a", 1_000, 1000)] * KEPT
    lately = [("a", 600_000, 1000)] * KEPT
    assert learned_facts(PLAIN, history(*long_ago, *lately)).work_ms == 600_000
    assert len(history(*long_ago, *lately).runs) == KEPT


def test_a_machine_is_judged_by_runs_elsewhere_and_not_by_its_own():
    elsewhere = history(("a", 600_000, 1000), ("b", 600_000, 1000), ("c", 600_000, 1000))
    slow = Run(provider=b"d", run_ms=1_200_000, speed=1000)
    assert speed_seen(elsewhere, slow) == 500
    own = history(("d", 1_200_000, 1000), ("d", 1_200_000, 1000), ("d", 1_200_000, 1000), ("a", 600_000, 1000))
    assert speed_seen(own, slow) is None


def test_absurd_figures_stay_in_bounds():
    elsewhere = history(("a", 10**9, 1000), ("b", 10**9, 1000), ("c", 10**9, 1000))
    assert speed_seen(elsewhere, Run(provider=b"d", run_ms=1, speed=1000)) == 100_000
    assert speed_seen(elsewhere, Run(provider=b"d", run_ms=0, speed=1000)) is None
    assert speed_seen(elsewhere, Run(provider=b"d", run_ms=10**15, speed=1000)) == 10


def test_the_kind_of_a_job_is_its_name_image_and_command():
    base = kind_of("train", SPEC)
    assert kind_of("train", replace(SPEC, env={"EPOCHS": "9"}, max_duration_ms=5_000)) == base
    assert kind_of("train", replace(SPEC, image="other")) != base
    assert kind_of("train", replace(SPEC, command=("ru", "n"))) != base
    assert kind_of("trai", replace(SPEC, image="n" + SPEC.image)) != base
