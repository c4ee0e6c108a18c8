"""Random histories of two parties: what may happen, how they cheat, and one history from one seed."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import trio

from ledger.voucher import Voucher, encode_voucher, sign_voucher
from tests.fakes.two_parties import LANE, PAYEE, PAYER, SESSION, TwoParties

_TRADE = (
    ["new_job"] * 5 + ["ask"] * 7 + ["deliver"] * 10 + ["wait"] * 5 + ["top_up", "end", "release", "release", "redeem"]
)
_CHAIN = ["close", "leave", "fork", "lose_answer", "offline"]
_DEATH = ["kill_requester", "kill_provider"] * 2 + ["back_up", "restore"]
_WEATHER = [*_TRADE, *_CHAIN, *_DEATH]
_GUARD_S = 300
SHORTEST, LONGEST = 10, 50


async def history(seed: int, **kinds: Any) -> TwoParties:
    """Live one history through to its end.

    Args:
        kinds: what the test replaces of :class:`TwoParties`; who is honest is drawn when it is not said.

    Raises:
        Found: somebody lost more than was printed.
    """
    random = Random(seed)
    honest = random.choice(((True, True), (True, True), (True, False), (False, True)))
    drawn = {"requester_honest": honest[0], "provider_honest": honest[1], **kinds}
    world = TwoParties(random, **drawn)
    cheats = list(_WEATHER)
    if not world.requester_honest:
        cheats += ["pay_badly"] * 4 + ["leave"] * 3 + ["close"] * 3 + ["silence"] + ["double_spend"] * 2
    if not world.provider_honest:
        cheats += ["redeem_anything"] * 3
    # Who means to cheat is a good customer first: there must be something to take.
    trust = random.randrange(SHORTEST)
    for step in range(random.randrange(SHORTEST, LONGEST)):
        await _step(world, random.choice(_TRADE if step < trust else cheats))
        world.work()
        if trio.current_time() - world.last_guard > _GUARD_S:
            await world.guard()
    await world.finish()
    world.judge()
    return world


async def _step(world: TwoParties, step: str) -> None:
    random = world.random
    side = random.choice((world.requester, world.provider))
    match step:
        case "wait":
            await trio.sleep(random.choice((0.25, 1, 1, 2, 5, 60)))
        case "kill_requester":
            world.requester.fate.left = random.randrange(6)
        case "kill_provider":
            world.provider.fate.left = random.randrange(6)
        case "offline":
            side.view.offline = random.random() < 0.3
        case "lose_answer":
            side.view.answers_to_lose = 1
        case "fork":
            world.chain.fork(random.randrange(1, 3))
        case "back_up":
            world.back_up(side)
        case "restore":
            await world.restore(side)
        case "silence":
            world.leaving = random.random() < 0.5
        case "double_spend":
            await world.new_job()
            world.chain.fork(random.randrange(1, 3), without=PAYER.address)
        case "pay_badly":
            _pay_badly(world)
        case "redeem_anything":
            await _redeem_anything(world)
        case _:
            await getattr(world, step)()


def _pay_badly(world: TwoParties) -> None:
    """A requester's vouchers that are worth less than they say: too small, signed by others, torn, old, uncovered."""
    running = [job for job in world.jobs if job.started is not None]
    if not running:
        return
    random, job = world.random, world.random.choice(running)
    amount = job.worked + random.randrange(3)
    cumulative = random.choice((0, 1, amount, world.signed, world.signed + amount, 10**6))
    signer = random.choice((SESSION, SESSION, PAYER))
    voucher = sign_voucher(SESSION, world.payee.domain, LANE, cumulative)
    if signer is not SESSION:
        voucher = Voucher(LANE, cumulative, signer.sign(b"\1" * 32))
    else:
        world.signed = max(world.signed, cumulative)
    row = bytearray(encode_voucher(voucher))
    if random.random() < 0.2:
        row[random.randrange(len(row))] ^= 1
    world.mail.append(("voucher", job, amount, bytes(row)))


async def _redeem_anything(world: TwoParties) -> None:
    """A provider puts every row it ever saw on the chain, several times and torn, past its own books."""
    rows = [letter[3][40:] for letter in world.mail if letter[0] == "voucher"] * 2
    rows += [bytes(96)]
    world.random.shuffle(rows)
    await world.attempt(world.provider, lambda: world.provider.view.redeem_many(PAYEE.address, rows))


def tally(world: TwoParties) -> Counter[str]:
    """What a history got to, so that a run that does nothing cannot pass."""
    events = world.chain.state_at(world.chain.head_number()).events
    seen = Counter(event.kind for event in events)
    seen.update({"refused": len(world.told), "jobs": len(world.jobs), "worked": sum(job.worked for job in world.jobs)})
    seen.update({f"refused {code}": count for code, count in Counter(world.told).items()})
    seen["restored"] = world.requester.restored + world.provider.restored
    seen["restarts"] = world.restarts
    return seen
