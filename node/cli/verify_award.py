"""``cfab verify-award``: hold the auction behind an award again, from nothing but its file. No node, no keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from market.errors import InvalidRequest
from node.cli.options import Command, current_session
from node.cli.terminal import safe, short

if TYPE_CHECKING:
    from market.transcript import Replayed

_MOST = 64 * 1024 * 1024


@click.command(cls=Command)
@click.argument("file")
def verify_award(file: str) -> int:
    """Check that the award in FILE follows from the signed offers it was chosen from.

    Every signature is checked and the auction is held again by the rules this program trades by. Exit code 0 when it
    picks the awarded offer, 1 when it does not or when a single byte was changed. 'cfab explain JOB --award FILE'
    writes such a file.
    """
    session = current_session()
    data = _read(file)
    from market.transcript import check_award, read_file

    try:
        award = read_file(data)
        found = check_award(award)
    except InvalidRequest as error:
        if session.as_json:
            session.emit({"valid": False, "code": error.code, "message": error.message})
        else:
            print(f"refused: {safe(error.message)} ({error.code})")
        return 1
    if session.as_json:
        session.emit({"valid": True, **_view(found)})
    else:
        _show(found, [one.word for one in award.tries if not one.refusal])
    return 0


def _read(file: str) -> bytes:
    path = Path(file)
    try:
        with path.open("rb") as source:
            data = source.read(_MOST + 1)
    except OSError as error:
        raise InvalidRequest(
            f"'{file}' cannot be read: {error.strerror}", code="unreadable", fix="name a file that is there"
        ) from None
    if len(data) > _MOST:
        raise InvalidRequest(f"'{file}' is larger than any award file", code="not_an_award")
    return data


def _view(found: Replayed) -> dict[str, object]:
    return {
        "provider": found.provider.hex(),
        "machine": found.machine,
        "price_nano_per_gpu_second": found.price,
        "expected_cost_units": found.expected_cost,
        "offers": found.offers,
        "fitting": found.fitting,
        "rivals": found.rivals,
        "complete": found.complete,
        "place": found.place,
        "refused": found.refused,
        "by_word": found.by_word,
    }


def _show(found: Replayed, words: list[str]) -> None:
    from market.money import format_hourly, format_tokens

    print(
        f"valid: {short(found.provider.hex())} {safe(found.machine)} at {format_hourly(found.price)}, "
        f"expected to cost {format_tokens(found.expected_cost)} tokens"
    )
    say = current_session().say
    say(f"  chosen from {found.offers} signed offers, {found.rivals} rival bids counted with; place {found.place}")
    if found.refused:
        say(f"  {found.refused} better offers were refused by their providers, who signed that")
    if found.by_word:
        said = ", ".join(sorted({safe(word) for word in words}))
        say(f"  {found.by_word} better offers did not get it: for this there is only the requester's word ({said})")
    if not found.complete:
        say("  the market was too large to write down whole: only the offers that fitted best are in the file")
