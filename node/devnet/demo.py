"""``cfab demo``: raise a market, sell one real job on it, and check the end from the chain. Nothing stays behind.

The story is told as it happens; whatever goes wrong ends in one clear state, a non-zero exit code, and a clean machine.
"""

from __future__ import annotations

import signal
import tempfile
import time
from pathlib import Path

import trio
from msgspec import Struct

from market.errors import FabricError, InvalidRequest
from node.cli.failures import FAILED, INTERRUPTED, exit_code, report
from node.cli.options import Session
from node.devnet.checks import Finding
from node.devnet.kept import Kept, recall, remember
from node.devnet.local_market import LocalMarket
from node.devnet.narrator import Narrator
from node.devnet.newcomer import welcome
from node.devnet.play import EXAMPLE, check_after_death, check_end, raise_market, sell_job
from node.devnet.topology import REQUESTER


class Ending(Struct, kw_only=True):
    """What the demo came to. ``ok`` needs the job to have succeeded and every check to hold."""

    ok: bool = False
    interrupted: bool = False
    error: FabricError | None = None
    text: str = ""


def run_demo(*, keep: bool, json_output: bool, quiet: bool = False) -> int:
    """Play the demo and return its exit code: 0 only when the job succeeded, all checks held and nothing was left.

    Args:
        keep: leave the market up, and say how to use it from a second terminal.
        json_output: one JSON object per line on stdout, the last of type ``verdict``.
        quiet: say nothing on stderr; the receipt and the checks are on stdout.

    Raises:
        InvalidRequest: ``keep`` while a kept one is up, or the example is not at hand.
    """
    if keep and (running := recall()):
        raise InvalidRequest(
            "a devnet is already up", code="already_running", fix="cfab demo --stop", where=running.folder
        )
    if not (EXAMPLE / "job.yaml").exists():
        raise InvalidRequest("the demo's job is in the source checkout only", code="not_found", where=str(EXAMPLE))
    began = time.monotonic()
    session = Session(as_json=json_output)
    session.quiet = quiet
    narrator = Narrator(session)
    market = LocalMarket(Path(tempfile.mkdtemp(prefix="cfab-demo-")), outlive=keep)
    ending = Ending()
    try:
        trio.run(_play, market, narrator, ending)
    finally:
        stays = keep and ending.ok
        if not stays:
            _clean_up(market, narrator, ending)
    if stays:
        _hand_over(market, narrator)
    return _verdict(narrator, ending, seconds=time.monotonic() - began)


async def _play(market: LocalMarket, narrator: Narrator, ending: Ending) -> None:
    """All acts, ended early by SIGINT or SIGTERM. Expected failures go into ``ending``."""
    async with trio.open_nursery() as nursery:

        async def interrupt() -> None:
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                async for _ in signals:
                    ending.interrupted = True
                    nursery.cancel_scope.cancel()

        nursery.start_soon(interrupt)
        try:
            await _act(market, narrator, ending)
        except FabricError as error:
            ending.error = error
        nursery.cancel_scope.cancel()


async def _act(market: LocalMarket, narrator: Narrator, ending: Ending) -> None:
    await raise_market(market, narrator)
    sold = await sell_job(market, narrator)
    followed = sold.followed
    succeeded = followed.final is not None and followed.final["type"] == "succeeded"
    if followed.deaths:
        narrator.findings(await check_after_death(market, sold))
        state = f"the job {followed.final['type']}" if followed.final else "the job had no end to wait for"
        ending.text = f"{', '.join(str(gone) for gone in followed.deaths)}; {state}"
        return
    if followed.error is not None:
        raise followed.error
    findings = await check_end(market, sold, narrator)
    narrator.findings(findings)
    ending.ok = succeeded and all(finding.holds for finding in findings)
    ending.text = "" if succeeded else "the job did not succeed"


def _clean_up(market: LocalMarket, narrator: Narrator, ending: Ending) -> None:
    """Leave the machine as it was found. What had to be removed by force counts against the demo."""
    if not market.processes.tickets():
        market.remove_folder()  # nothing was started, so there is nothing to boast of having removed
        return
    findings = _findings_of_leaving(market)
    narrator.findings(findings)
    ending.ok = ending.ok and all(finding.holds for finding in findings)
    if ending.ok or ending.interrupted:
        market.remove_folder()
        narrator.step("folder", f"{market.folder} is removed, outputs too; 'cfab demo --keep' leaves them", kind="note")
    elif market.seats:
        narrator.step("logs", f"each process's log is in {market.folder}", kind="note", folder=str(market.folder))


def _findings_of_leaving(market: LocalMarket) -> list[Finding]:
    try:
        left = market.take_down()
    except FabricError as error:
        return [Finding(False, f"clean: {error.message}")]
    asked = Finding(not left.killed, f"clean: every process ended when asked{_except(left.killed)}")
    if not left.engine:
        return [asked, Finding(True, "clean: no container, network or volume was left")]
    removed = ", ".join(f"{kind} {name[:12]}" for kind, name in left.engine)
    return [asked, Finding(False, f"clean: had to remove what an unfinished job left: {removed}")]


def _hand_over(market: LocalMarket, narrator: Narrator) -> None:
    assert market.chain is not None
    remember(
        Kept(
            folder=str(market.folder),
            tickets=market.processes.tickets(),
            homes={node_id: str(home) for node_id, home in market.homes().items()},
            rpc=market.chain.rpc,
            token=f"0x{market.chain.token.hex()}",
        )
    )
    home, folder = market.seats[REQUESTER].home, market.folder
    lines = welcome(market)
    narrator.step("kept", f"the market stays up in {folder}", home=str(home), folder=str(folder))
    narrator.plain(lines)


def _verdict(narrator: Narrator, ending: Ending, *, seconds: float) -> int:
    took = f" in {seconds:.1f} s"
    if ending.interrupted:
        narrator.verdict(ok=False, text="interrupted; everything was stopped and removed", seconds=seconds)
        return INTERRUPTED
    if ending.error is not None:
        if not narrator.session.as_json:
            return report(ending.error, narrator.session)
        error = ending.error
        narrator.verdict(ok=False, text=error.message, code=error.code, fix=error.fix, where=error.where)
        return exit_code(error.code)
    text = "from offer to settled receipt, checked on the chain" if ending.ok else ending.text or "a check failed"
    narrator.verdict(ok=ending.ok, text=text + took, seconds=round(seconds, 2))
    return 0 if ending.ok else FAILED


def _except(things: tuple[object, ...]) -> str:
    return f", except {', '.join(map(str, things))}" if things else ""
