"""JSON-RPC to a chain through one or several endpoints: fail-over, and never a word of another chain.

A question goes to the best endpoint and, when that fails, to the next. A send goes to all of them, as any one may
swallow it; the same bytes cannot happen twice. A question that money hangs on may be put to several (:meth:`ask_each`).
A question may be abandoned when its task is cancelled; a send never is, as nobody would know whether it happened.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

import trio
from msgspec import Struct
from web3 import Web3
from web3.exceptions import ContractLogicError

from ledger.beside import running_beside
from ledger.endpoint_health import (
    EndpointHealth,
    EndpointState,
    HealthRules,
    after_answer,
    after_check,
    after_fault,
    after_head,
    may_probe,
    order_to_ask,
    state_of,
)
from ledger.evm_endpoint import EvmEndpoint, check_url
from market.errors import FabricError, InvalidRequest, Unavailable

log = logging.getLogger(__name__)
T = TypeVar("T")
MAX_ENDPOINTS = 8
WATCH_S = 10.0
"""Seconds between two looks at every endpoint, when there are several."""


class EndpointView(Struct, frozen=True, kw_only=True):
    """One endpoint for the status page: its address without secrets, state, newest block (0 for never) and a note."""

    name: str
    state: EndpointState
    head: int
    note: str


class Answer(Struct, Generic[T], frozen=True):
    """What one endpoint said."""

    endpoint: int
    value: T


class EvmRpc:
    """The chain as told by its endpoints. Make one with :func:`open_evm_rpc`.

    Attributes:
        endpoint: the names of all endpoints, for messages.
        disputes: how often endpoints contradicted each other on money; ``last_dispute`` says in what.
    """

    def __init__(self, endpoints: Sequence[EvmEndpoint], *, chain_id: int | None, rules: HealthRules) -> None:
        self.endpoint = " or ".join(endpoint.name for endpoint in endpoints)
        self.disputes = 0
        self.last_dispute = ""
        self._endpoints = tuple(endpoints)
        self._health = [EndpointHealth() for _ in endpoints]
        self._chain_id = chain_id
        self.rules = rules

    @property
    def several(self) -> bool:
        """Whether there is more than one endpoint to compare."""
        return len(self._endpoints) > 1

    async def ask(self, question: Callable[[Web3], T]) -> T:
        """Run a reading function on one endpoint. Abandoned at once when the task is cancelled.

        Raises:
            Unavailable: ``chain_unreachable`` (no answer from any), ``chain_refused`` (an error as the answer), or
                ``wrong_chain`` (all serve another chain).
            ContractLogicError: the contract that was called reverted.
        """
        failures: list[tuple[int, Unavailable]] = []
        for index in self._order():
            try:
                answer = await self._run(index, question, abandon=True)
            except Unavailable as error:
                failures.append((index, error))
                continue
            # What one endpoint refuses and another answers is the first one's fault: a limit on our rate, a gap.
            for other, failure in failures:
                if failure.code == "chain_refused":
                    self._fault(other, failure)
            return answer
        raise self._failed([error for _, error in failures], worst="chain_refused")

    async def ask_each(
        self, question: Callable[[Web3], T], *, most: int = 2, beside: Sequence[int] = ()
    ) -> list[Answer[T]]:
        """Put a question to up to ``most`` endpoints at once, others than ``beside``. One that fails is replaced while
        there are more. At least one answer, except with ``beside``. Raises as :meth:`ask`."""
        waiting = [index for index in self._order() if index not in beside]
        answers: list[Answer[T]] = []
        failures: list[FabricError | ContractLogicError] = []
        while waiting and len(answers) < most:
            now, waiting = waiting[: most - len(answers)], waiting[most - len(answers) :]
            outcomes = await self._run_each(now, question, abandon=True)
            answers += [outcome for outcome in outcomes if isinstance(outcome, Answer)]
            failures += [outcome for outcome in outcomes if not isinstance(outcome, Answer)]
        if not answers and not beside:
            for failure in failures:
                if isinstance(failure, ContractLogicError):
                    raise failure
            raise self._failed([error for error in failures if isinstance(error, Unavailable)], worst="chain_refused")
        return answers

    async def tell(self, send: Callable[[Web3], T]) -> T:
        """Run a sending function on every endpoint, to its end, even when the task is cancelled meanwhile.

        Returns the first endpoint's answer that there is. Raises as :meth:`ask`; ``chain_unreachable`` as soon as one
        answer is missing and none is good, for then it may have happened.
        """
        order = self._order()
        if len(order) == 1:
            return await self._run(order[0], send, abandon=False)
        outcomes = await self._run_each(order, send, abandon=False)
        for outcome in outcomes:
            if isinstance(outcome, Answer):
                return outcome.value
        errors = [outcome for outcome in outcomes if isinstance(outcome, Unavailable)]
        raise self._failed(errors, worst="chain_unreachable")

    async def check(self) -> None:
        """Look at every endpoint that may be looked at: which chain it is on, and how far.

        Raises:
            InvalidRequest: ``wrong_chain``: all that answer are on another chain.
        """
        if self._chain_id is None:
            return
        async with trio.open_nursery() as nursery:
            for index, health in enumerate(self._health):
                if may_probe(health, trio.current_time()):
                    nursery.start_soon(self._probe, index)
        if any(health.refused for health in self._health) and not any(health.checked for health in self._health):
            raise InvalidRequest(
                f"no endpoint is on the right chain: {self._refused()}",
                code="wrong_chain",
                where="rpc and chain_id under [chain]",
                fix="give the address of the right chain, or its id",
            )

    async def watch(self) -> None:
        """Keep looking at every endpoint. Never returns."""
        while True:
            await trio.sleep(WATCH_S)
            try:
                await self.check()
            except InvalidRequest as error:
                log.warning("%s", error.message)

    def views(self) -> tuple[EndpointView, ...]:
        """How each endpoint does, in the configured order."""
        now = trio.current_time()
        return tuple(
            EndpointView(
                name=endpoint.name,
                state=state_of(self._health, index, now, self.rules),
                head=health.head,
                note=health.refused or (f"{health.faults} faults" if health.faults else ""),
            )
            for index, (endpoint, health) in enumerate(zip(self._endpoints, self._health, strict=True))
        )

    def dispute(self, what: str, answers: Sequence[Answer[T]]) -> None:
        """Note that endpoints contradict each other."""
        self.disputes += 1
        said = ", ".join(f"{self._endpoints[answer.endpoint].name}: {answer.value}" for answer in answers)
        self.last_dispute = f"{what} ({said})"
        log.warning("the chain's endpoints contradict each other: %s", self.last_dispute)

    def _order(self) -> list[int]:
        order = order_to_ask(self._health, trio.current_time(), self.rules)
        if not order:
            raise Unavailable(f"no endpoint is on the right chain: {self._refused()}", code="wrong_chain")
        return order

    async def _run_each(
        self, indices: Sequence[int], work: Callable[[Web3], T], *, abandon: bool
    ) -> list[Answer[T] | Unavailable | ContractLogicError]:
        outcomes: dict[int, Answer[T] | Unavailable | ContractLogicError] = {}

        async def one(index: int) -> None:
            try:
                outcomes[index] = Answer(index, await self._run(index, work, abandon=abandon))
            except (Unavailable, ContractLogicError) as error:
                outcomes[index] = error

        async with trio.open_nursery() as nursery:
            for index in indices:
                nursery.start_soon(one, index)
        return [outcomes[index] for index in indices]

    async def _run(self, index: int, work: Callable[[Web3], T], *, abandon: bool) -> T:
        endpoint = self._endpoints[index]
        try:
            if self._chain_id is not None and not self._health[index].checked:
                await self._check_chain(index, self._chain_id)
            answer = await endpoint.run(work, abandon=abandon)
        except ContractLogicError:
            self._health[index] = after_answer(self._health[index])
            raise
        except Unavailable as error:
            if error.code == "chain_unreachable":
                self._fault(index, error)
            raise
        self._health[index] = after_answer(self._health[index])
        return answer

    async def _check_chain(self, index: int, wanted: int) -> None:
        name = self._endpoints[index].name
        found = await self._endpoints[index].run(lambda web3: int(web3.eth.chain_id), abandon=True)
        known = self._health[index].refused
        self._health[index] = after_check(
            self._health[index], wanted=wanted, found=found, now=trio.current_time(), rules=self.rules
        )
        if why := self._health[index].refused:
            if why != known:
                log.warning("the endpoint %s is not used: it is %s", name, why)
            raise Unavailable(f"the endpoint {name} is {why}", code="wrong_chain", fix="mend rpc under [chain]")

    async def _probe(self, index: int) -> None:
        self._health[index] = after_head(self._health[index], self._health[index].head, checked=False)
        try:
            head = await self._run(index, lambda web3: int(web3.eth.block_number), abandon=True)
        except Unavailable:
            return  # Its health says so.
        self._health[index] = after_head(self._health[index], head, checked=True)

    def _refused(self) -> str:
        pairs = zip(self._endpoints, self._health, strict=True)
        return ", ".join(f"{endpoint.name} is {health.refused}" for endpoint, health in pairs if health.refused)

    def _fault(self, index: int, error: Unavailable) -> None:
        before = self._health[index]
        after = after_fault(before, trio.current_time(), self.rules)
        self._health[index] = after
        if after.openings > before.openings and len(self._endpoints) > 1:
            log.warning("%s; it rests after %d faults", error.message, after.faults)

    def _failed(self, errors: Sequence[Unavailable], *, worst: str) -> Unavailable:
        if len(errors) == 1:
            return errors[0]
        chosen = next((error for error in errors if error.code == worst), errors[-1])
        told = "; ".join(error.message for error in errors)
        return Unavailable(f"no endpoint of the chain helps: {told}", code=chosen.code, fix=chosen.fix)


@asynccontextmanager
async def open_evm_rpc(
    urls: str | Sequence[str],
    *,
    chain_id: int | None = None,
    timeout_s: float = 5.0,
    rules: HealthRules | None = None,
) -> AsyncIterator[EvmRpc]:
    """Connections to a chain's endpoints, closed at the end. Each request has ``timeout_s``.

    Args:
        urls: one address or several, best first.
        chain_id: what every endpoint must answer with before it is used; None takes whatever chain it is.

    Raises:
        InvalidRequest: ``chain_url``: not http or https addresses, or too many; ``wrong_chain``: every endpoint that
            answers is on another chain.
    """
    addresses = (urls,) if isinstance(urls, str) else tuple(urls)
    if not 1 <= len(addresses) <= MAX_ENDPOINTS:
        raise InvalidRequest(f"a chain has 1 to {MAX_ENDPOINTS} endpoints", code="chain_url")
    for address in addresses:
        check_url(address)
    endpoints = [EvmEndpoint(address, timeout_s=timeout_s) for address in addresses]
    rpc = EvmRpc(endpoints, chain_id=chain_id, rules=rules or HealthRules())
    try:
        await rpc.check()
        if len(endpoints) == 1:
            yield rpc
            return
        async with running_beside(rpc.watch):
            yield rpc
    finally:
        for endpoint in endpoints:
            endpoint.close()
