"""Readings that money hangs on are taken from two endpoints, at the same block. Where they differ a third decides;
where there is none, or it says something else again, the caller's rule says what counts. A single endpoint is believed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from web3 import Web3

from ledger.evm_rpc import Answer, EvmRpc
from ledger.ports import LaneOnChain
from market.errors import Unavailable

T = TypeVar("T")


async def read_agreed(
    rpc: EvmRpc,
    question: Callable[[Web3, int], T],
    *,
    what: str,
    confirmations: int,
    doubtful: Callable[[Sequence[T]], T],
) -> T:
    """Ask as of ``head - confirmations``.

    Args:
        question: run on an endpoint with the block's number.
        what: names the reading when endpoints contradict each other.
        doubtful: what counts then; it may raise.

    Raises:
        Unavailable: as ``EvmRpc.ask``.
    """
    if not rpc.several:
        return await rpc.ask(lambda web3: question(web3, max(0, int(web3.eth.block_number) - confirmations)))
    heads = await rpc.ask_each(lambda web3: int(web3.eth.block_number))
    newest = max(head.value for head in heads)
    # A block that both have. One that is far behind, or says so, must not make us look at the distant past.
    common = min(head.value for head in heads if head.value >= newest - rpc.rules.max_lag)
    at_block = partial(_at, question=question, block=max(0, common - confirmations))
    answers = await rpc.ask_each(at_block)
    if _same(answers):
        return answers[0].value
    answers += await rpc.ask_each(at_block, most=1, beside=[answer.endpoint for answer in answers])
    rpc.dispute(what, answers)
    for answer in answers:
        if sum(answer.value == other.value for other in answers) * 2 > len(answers):
            return answer.value
    return doubtful([answer.value for answer in answers])


def cautious_lane(views: Sequence[LaneOnChain]) -> LaneOnChain:
    """What may be relied on when endpoints tell different things of a lane: the least money in it, the least taken out
    of it, the earliest end of an exit that anyone sees, and the shortest window."""
    exits = [view.exit_at for view in views if view.exit_at]
    return LaneOnChain(
        balance=min(view.balance for view in views),
        claimed=min(view.claimed for view in views),
        exit_at=min(exits, default=0),
        epoch=min(view.epoch for view in views),
        delay_s=min(view.delay_s for view in views),
    )


def no_lane(views: Sequence[LaneOnChain]) -> LaneOnChain:
    """Nothing may be relied on: where a balance that is told too low would be filled up.

    Raises:
        Unavailable: ``chain_disputed``.
    """
    raise Unavailable(
        f"the chain's endpoints contradict each other: the lane holds {' or '.join(str(v.balance) for v in views)}",
        code="chain_disputed",
        fix="see which endpoint under [chain] is wrong and take it out",
    )


def _at(web3: Web3, *, question: Callable[[Web3, int], T], block: int) -> T:
    return question(web3, block)


def _same(answers: Sequence[Answer[T]]) -> bool:
    return all(answer.value == answers[0].value for answer in answers)
