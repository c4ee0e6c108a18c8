"""What earlier runs of a job say about the next one: how much work it is, and how quick a machine turned out to be.

Work is counted in milliseconds on a machine of speed 1000, so that runs on different cards compare. The median of a few
recent runs is used: one odd run must not move a price.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from market.ask import JobFacts
from market.records import JobSpec
from market.signing import digest

KEPT = 9
MIN_RUNS_TO_JUDGE = 3
"""Runs elsewhere before a machine's own speed is told from them."""
_SPEED_RANGE = (10, 100_000)


class Run(Struct, frozen=True, kw_only=True):
    """One run that ended well: where, for how long, at what assumed speed, and the bytes it made."""

    provider: bytes
    run_ms: int
    speed: int
    output_mib: int = 0

    @property
    def work_ms(self) -> int:
        """Its work: milliseconds on a machine of speed 1000."""
        return self.run_ms * self.speed // 1000


class JobHistory(Struct, frozen=True, kw_only=True):
    """The last runs of one kind of job, oldest first."""

    runs: tuple[Run, ...] = ()


def kind_of(name: str, spec: JobSpec) -> bytes:
    """What makes two jobs the same for this purpose: name, image and command. Inputs and environment may differ."""
    words = [name, spec.image, *spec.command]
    return digest(b"computefabric/job-kind/1\0", *(len(word).to_bytes(4, "big") + word.encode() for word in words))


def after_run(history: JobHistory, run: Run) -> JobHistory:
    """Remember one more run."""
    return replace(history, runs=(*history.runs, run)[-KEPT:])


def learned_facts(plain: JobFacts, history: JobHistory) -> JobFacts:
    """The facts of a job with what its history adds. What its owner said is never overruled."""
    if not history.runs:
        return plain
    outputs = _median([run.output_mib for run in history.runs])
    better = replace(plain, moved_mib=plain.moved_mib + outputs)
    if plain.work_ms:
        return better
    return replace(better, work_ms=max(1, _median([run.work_ms for run in history.runs])), work_speed=1000)


def speed_seen(history: JobHistory, run: Run) -> int | None:
    """The speed a machine showed in a run, measured by runs of the same job elsewhere; None while those are too few."""
    elsewhere = [one.work_ms for one in history.runs if one.provider != run.provider]
    if len(elsewhere) < MIN_RUNS_TO_JUDGE or run.run_ms <= 0:
        return None
    least, most = _SPEED_RANGE
    return max(least, min(most, _median(elsewhere) * 1000 // run.run_ms))


def _median(values: list[int]) -> int:
    return sorted(values)[(len(values) - 1) // 2]
