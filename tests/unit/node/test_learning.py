"""What a finished lease and an answered award teach, and what teaches nothing."""

from __future__ import annotations

from typing import Any

import pytest

from market.ask import facts_of_spec
from market.lease import Stage
from market.offer_book import OfferBook
from market.records import ExitReason, RefusalReason
from node.awarding import Answer
from node.experience import Experience
from node.learning import learn_from_answer, learn_from_lease, learned_job_facts
from tests.fakes.desks import SetClock
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.samples import NOW, SELLER, SPEC, a_lease, a_refusal, an_award, an_offer
from tests.simulation.marketplace import request


class Files:
    def fetched_bytes(self, board: Any) -> int:
        return 3 << 20


class Board:
    """A lease that ended as said."""

    def __init__(self, reason: ExitReason | None, *, code: int = 0, funded: bool = True, stage: Stage = Stage.SETTLED):
        self.provider, self.spec, self.funded_at = SELLER.key, SPEC, NOW if funded else 0
        self.award = type("A", (), {"record": an_award()})
        self.state = type(
            "S", (), {"exit_reason": reason, "exit_code": code, "stage": stage, "gpu_ms": 60_000, "slots": 2}
        )


class Job:
    def __init__(self, cancelled: bool = False) -> None:
        self.request = request()
        self.cancelled = type("E", (), {"is_set": lambda _self: cancelled})()


@pytest.fixture
def seen() -> Experience:
    book = OfferBook(max_skew_ms=60_000)
    book.take(SELLER.sign(an_offer(gpu="A100")), NOW)
    return Experience(book, MemoryJournal(), SetClock())


async def learn(seen: Experience, board: Any, *, cancelled: bool = False) -> None:
    await learn_from_lease(seen, seen._book, Files(), Job(cancelled), board)  # type: ignore[arg-type]


async def test_a_run_that_went_well_says_how_much_work_the_job_is(seen: Experience):
    await learn(seen, Board(ExitReason.OK))
    facts = learned_job_facts(seen, request(), SPEC)
    assert (facts.work_ms, facts.moved_mib) == (30_000, 3), "one of two slots for half the GPU time, on an A100"
    assert seen.conduct(SELLER.key).kept == 1


@pytest.mark.parametrize("board", [Board(ExitReason.OK, code=1), Board(ExitReason.ERROR), Board(ExitReason.TIME_LIMIT)])
async def test_a_run_that_failed_by_itself_says_nothing_of_its_length(seen: Experience, board: Any):
    await learn(seen, board)
    assert seen.facts("job", SPEC, facts_of_spec(SPEC)).work_ms == 0
    assert seen.conduct(SELLER.key).broken == 0


async def test_a_provider_that_was_lost_broke_its_word(seen: Experience):
    await learn(seen, Board(ExitReason.LOST))
    assert seen.conduct(SELLER.key).broken == 1


async def test_what_its_owner_cancelled_is_nobodys_fault(seen: Experience):
    await learn(seen, Board(ExitReason.CANCELLED), cancelled=True)
    assert (seen.conduct(SELLER.key).kept, seen.conduct(SELLER.key).broken) == (1, 0)


@pytest.mark.parametrize("board", [Board(None, funded=False), Board(None, stage=Stage.LAPSED)])
async def test_a_lease_that_never_began_teaches_nothing(seen: Experience, board: Any):
    await learn(seen, board)
    assert seen.conduct(SELLER.key).kept + seen.conduct(SELLER.key).broken == 0


async def test_answers_to_awards_count_and_silence_does_not(seen: Experience):
    award = an_award()
    await learn_from_answer(seen, award, Answer(lease=SELLER.sign(a_lease())))
    await learn_from_answer(seen, award, Answer(word="unreachable"))
    bait = a_refusal(reason=RefusalReason.DRAINING, version=award.offer_version)
    await learn_from_answer(seen, award, Answer(refusal=SELLER.sign(bait)))
    conduct = seen.conduct(SELLER.key)
    assert (conduct.honoured, conduct.refused) == (1, 1)
