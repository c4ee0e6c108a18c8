"""Looks at the market for a job without buying: what would happen, and why something did."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from ledger.ports import Journal
from market.records import JobSpec
from node.active_job import Job
from node.job_file.request import JobRequest
from node.job_journal import Submitted, history
from node.job_packing import measure_inputs
from node.job_terms import name_binding_cap
from node.match_view import describe_match
from node.plan_shapes import ExplainView, PlanView
from node.plan_view import explain_view, plan_view
from node.provider_search import ProviderSearch

Runs = Callable[[str, JobSpec], int]
"""``runs(name, spec)``: from how many earlier runs the length of such a job was learned."""


class Planner:
    """Answers ``cfab plan`` and ``cfab explain``.

    Args:
        search: how this node finds providers.
        journal: where the jobs are.
        runs: how much is known of such jobs.
    """

    def __init__(self, search: ProviderSearch, journal: Journal, *, runs: Runs = lambda name, spec: 0) -> None:
        self._search = search
        self._journal = journal
        self._runs = runs

    async def plan(self, request: JobRequest) -> PlanView:
        """What would happen to a job now.

        Raises:
            InvalidRequest: an input is not there.
        """
        spec = replace(request.spec, inputs=await measure_inputs(request))
        funds = await self._search.funds()
        ask, found, reasons = self._search.look(request, spec)
        runs = 0 if request.work_ms else self._runs(request.name, spec)
        return plan_view(request, ask, found, reasons, funds=funds, earlier_runs=runs)

    async def explain(self, job_id: str, submitted: Submitted, active: Job | None) -> ExplainView:
        """What became of a job and why.

        Args:
            job_id: its id.
            submitted: what was asked.
            active: the job in memory, None once it is over.
        """
        now = None
        if active is not None and active.board is None:
            ask, found, reasons = self._search.look(submitted.request, submitted.spec)
            now = name_binding_cap(describe_match(found, reasons, ask), submitted.request)
        return explain_view(job_id, submitted.request, await history(self._journal, job_id), now=now)
