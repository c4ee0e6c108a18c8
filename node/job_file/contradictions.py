"""Keys of a job that make sense each by itself and not together. Each pair is reported with both places. Pure."""

from __future__ import annotations

from market.feasibility import GROUPS, in_jurisdictions
from market.money import affordable_ms
from market.strategies import CUSTOM
from node.countries import COUNTRIES
from node.job_file.gpu import GpuAsk
from node.job_file.pace import shortest_ms
from node.job_file.ranking import SHORT_FORM
from node.job_file.report import Report
from node.quantities import format_duration

EUROPE = GROUPS["eea"] | frozenset(
    {"ad", "al", "am", "ax", "az", "ba", "by", "ch", "fo", "gb", "ge", "gg", "gi", "gl", "im", "je", "kz", "mc", "md"}
    | {"me", "mk", "rs", "ru", "sj", "sm", "tr", "ua", "va"}
)
"""Where a region called ``eu`` may stand: clouds mean the continent by it, not the union."""
_CONTINENTS = frozenset({"af", "as", "me", "na", "sa"})
"""Regions that look like a country's code (Saudi Arabia) and mostly mean a part of the world (South America)."""


def find_contradictions(report: Report) -> None:
    """Add every contradiction between keys that were right each by itself."""
    _check_without_gpu(report)
    _check_memory(report)
    _check_places(report)
    _check_keys(report)
    _check_notice(report)
    _check_gang(report)
    _check_weights(report)
    _check_duration(report)
    _check_budget(report)


def _clash(report: Report, path: str, other: str, message: str, fix: str) -> None:
    """Both places are named: what is wrong at ``path``, and the key it does not go with, where that is written."""
    report.add("contradiction", path, report.marks[path], message, fix, also=report.marks.get(other))


def _check_without_gpu(report: Report) -> None:
    values = report.values
    gpu: GpuAsk | None = values.get("resources.gpu")
    if gpu is None or gpu.models != ("none",):
        return
    if values.get("resources.simulated"):
        message = "no GPU and a simulated GPU are asked for at once"
        _clash(report, "resources.simulated", "resources.gpu", message, "remove one of the two")
    for key, what in (("cuda", "CUDA"), ("driver", "a driver")):
        if f"resources.{key}" in values:
            message = f"no GPU is asked for, and {what} of a GPU"
            _clash(report, f"resources.{key}", "resources.gpu", message, "remove one of the two")
    if (pace := values.get("expected_duration")) and pace.model:
        message = f"the duration is expected of an {pace.model}, and no GPU is asked for"
        _clash(report, "expected_duration", "resources.gpu", message, f"leave out '@{pace.model}', or ask for a GPU")


def _check_memory(report: Report) -> None:
    shm, memory = report.values.get("resources.shm"), report.values.get("resources.memory")
    if shm and memory and shm > memory:
        message = f"shm ({shm} MiB) is more than all of memory ({memory} MiB)"
        _clash(report, "resources.shm", "resources.memory", message, "shared memory is part of memory: raise memory")


def _check_places(report: Report) -> None:
    """A region and a jurisdiction that can plainly never go together; regions are free words, so few are plain."""
    regions, wanted = (report.values.get(f"providers.{key}", ()) for key in ("region", "jurisdiction"))
    if not regions or not wanted or any(problem.path.startswith("providers.juris") for problem in report.problems):
        return
    for region in regions:
        countries = _countries_of(region)
        if countries is None or any(in_jurisdictions(country, wanted) for country in countries):
            return
    region, law = regions[0], wanted[0]
    message = f"no machine in region {region} is under the law of {law}"
    report.add(
        "contradiction",
        "providers.jurisdiction",
        report.marks[f"providers.jurisdiction={law}"],
        message,
        "name a region that lies there, or leave one of the two out",
        also=report.marks[f"providers.region={region}"],
    )


def _countries_of(region: str) -> frozenset[str] | None:
    """The countries a region lies in, None when its name does not plainly say so."""
    root = region.lower().partition("-")[0]
    if root == "eu":
        return EUROPE
    root = {"uk": "gb"}.get(root, root)
    return frozenset({root}) if root in COUNTRIES and root not in _CONTINENTS else None


def _check_keys(report: Report) -> None:
    values = report.values
    for key in sorted(set(values.get("providers.allow", ())) & set(values.get("providers.deny", ()))):
        report.add(
            "contradiction",
            "providers.deny",
            report.marks[f"providers.deny={key}"],
            f"{key[:12]}… is both allowed and denied",
            "keep it in one of the two lists",
            also=report.marks[f"providers.allow={key}"],
        )


def _check_notice(report: Report) -> None:
    if "providers.min_notice" in report.values and not report.values.get("providers.interruptible"):
        message = "a notice is asked for, and machines that may be taken back are not accepted"
        fix = "accept interruptible machines too, or leave min_notice out"
        _clash(report, "providers.min_notice", "providers.interruptible", message, fix)


def _check_gang(report: Report) -> None:
    values = report.values
    if values.get("quotes") and values.get("machines", 1) > 1:
        message = "quotes are asked for, and several machines: a quote is for one"
        _clash(report, "quotes", "machines", message, "leave quotes out, or submit the machines one by one")


def _check_weights(report: Report) -> None:
    values = report.values
    strategy = values.get("strategy")
    if "weights" in values and SHORT_FORM in values:
        _clash(report, "weights", "strategy", "weights are given twice", "keep one of the two")
    elif "weights" in values and strategy != CUSTOM and ("strategy" not in report.marks or strategy):
        message = f"weights are given, and the strategy is {strategy or 'lowest_cost'}"
        _clash(report, "weights", "strategy", message, "make the strategy custom, or leave the weights out")
    elif strategy == CUSTOM and "weights" not in report.marks and SHORT_FORM not in values:
        message = "the strategy 'custom' needs weights"
        report.add("missing_key", "weights", report.marks["strategy"], message, "add 'weights: {cost: 60, speed: 40}'")


def _check_duration(report: Report) -> None:
    pace, longest = report.values.get("expected_duration"), report.values.get("max_duration")
    gpu: GpuAsk = report.values.get("resources.gpu", GpuAsk())
    if not pace or not longest or (pace.model and gpu.models == ("none",)):
        return
    at_best = shortest_ms(pace, gpu) if pace.model else pace.ms
    if at_best > longest:
        where = " even on the quickest card that will do" if pace.model else ""
        message = (
            f"the job is expected to run {format_duration(at_best)}{where}, and may run {format_duration(longest)}"
        )
        _clash(report, "expected_duration", "max_duration", message, "raise max_duration")


def _check_budget(report: Report) -> None:
    values = report.values
    gpu = values.get("resources.gpu")
    if {"max_price", "max_total"} <= values.keys() and values["max_price"] > 0:
        # Less than a second's worth of work is a slip of a decimal, not a budget.
        slots, each = gpu.count if gpu else 1, values["max_total"] // values.get("machines", 1)
        if affordable_ms(values["max_price"], each) < 1000 * slots:
            message = "max_total does not pay for one second at max_price"
            _clash(report, "max_total", "max_price", message, "raise max_total, or lower max_price")
