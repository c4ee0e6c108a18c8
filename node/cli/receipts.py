"""``cfab receipts``: what was used, paid and returned, with the signatures and transactions that prove it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from market.errors import FabricError, InvalidRequest
from node.cli.client import NodeClient
from node.cli.node_access import connect, resolve_job
from node.cli.options import Command, Group, current_session
from node.cli.receipt_lists import full, list_of, steps_of


class _Receipts(Group):
    """Takes a job where a verb may stand: ``cfab receipts JOB`` is ``cfab receipts list JOB``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            args = ["list", *args]
        return super().resolve_command(ctx, args)


@click.group(cls=_Receipts, invoke_without_command=True)
@click.pass_context
def receipts(ctx: click.Context) -> None:
    """What was used, paid and returned.

    \b
    cfab receipts                    all of them
    cfab receipts JOB                those of one job in full
    cfab receipts show RECEIPT       one in full, line by line; the id of its job works too
    cfab receipts verify JOB|FILE    recompute every number and signature, and compare with the chain
    cfab receipts export JOB         for billing: CSV, JSON with all originals, or CloudEvents
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_)


@receipts.command("list", cls=Command)
@click.argument("reference", required=False, metavar="[JOB|RECEIPT]")
def list_(reference: str | None = None) -> None:
    """All receipts, or those of one job in full."""
    session = current_session()
    client = connect(session)
    found = _of(client, reference) if reference else client.get("receipts")
    if session.as_json:
        session.emit(found)
    elif not found:
        session.say("there are no receipts yet")
    elif reference:
        print("\n\n".join(full(receipt) for receipt in found))
    else:
        print(list_of(found))


@receipts.command(cls=Command)
@click.argument("reference", metavar="RECEIPT")
def show(reference: str) -> None:
    """One receipt in full: what each of its steps added, at which price, and the voucher that paid it."""
    session = current_session()
    client = connect(session)
    one = _one(client, reference)
    lines, refusals = _steps(client, str(one.get("lease")))
    if session.as_json:
        session.emit({**one, "lines": lines, "refusals": refusals})
        return
    print(full(one))
    if lines or refusals:
        print("\n" + steps_of(lines, refusals))


@receipts.command(cls=Command)
@click.argument("reference", metavar="JOB|FILE")
def verify(reference: str) -> int:
    """Recompute every number and check every signature; compare with the chain.

    Of a job that this node bought or sold, or of a FILE that 'cfab receipts export --format json' wrote. A file needs
    no node: what only the chain can say is skipped then, and the answer says so. Exit code 0 when all holds, 1 when
    anything does not: a single changed byte is enough.
    """
    from node.cli.receipt_checks import show_checks, verify_receipts

    session = current_session()
    verified = verify_receipts(connect(session), reference)
    if session.as_json:
        session.emit(verified)
    else:
        show_checks(verified)
    return 0 if verified["valid"] else 1


@receipts.command(cls=Command)
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@click.option("--format", "form", type=click.Choice(("json", "csv", "cloudevents")), default="json")
@click.option("--since", default="", metavar="DATE", help="From this day or moment on (UTC), as in 2026-11-01.")
@click.option("--until", default="", metavar="DATE", help="Until before this day or moment.")
@click.option("-o", "--output", metavar="FILE", help="Write there instead of to stdout.")
def export(jobs: tuple[str, ...], form: str, since: str, until: str, output: str | None) -> None:
    """Write receipts for a billing system: what each added, in units that sum up exactly.

    'json' holds the signed originals too, and can be checked anywhere with 'cfab receipts verify'.
    """
    from node.cli.receipt_exports import exported, write_out

    session = current_session()
    if session.as_json and form == "csv" and output is None:
        raise click.UsageError("CSV is not JSON: name a file for it with --output", click.get_current_context())
    data, totals = exported(connect(session), jobs, form, since=since, until=until)
    if output is None:
        write_out(data)
        return
    Path(output).write_bytes(data)
    if session.as_json:
        session.emit({"file": output, "format": form, **totals})
    else:
        print(f"{output}: {totals['receipts']} receipts, {totals['amount']} tokens")


@receipts.command(cls=Command)
@click.argument("file_a", metavar="FILE_A")
@click.argument("file_b", metavar="FILE_B")
@click.option("-o", "--output", metavar="FILE", help="Write the proof there instead of to stdout.")
def prove(file_a: str, file_b: str, output: str | None) -> None:
    """Prove from two exported files that a provider signed two different things under one number.

    The proof holds the two signatures and nothing of the job; the escrow takes half of the provider's stake for it, a
    quarter of that for whoever shows it. Both files may be one: refused receipts are in it too.
    """
    from node.cli.receipt_exports import write_out
    from node.cli.receipt_source import read_bytes
    from node.equivocation_file import find_contradiction, write_proof
    from node.receipt_file import read_file

    session = current_session()
    leases = [kept for name in (file_a, file_b) for kept in read_file(read_bytes(Path(name))).leases]
    domain, proof = find_contradiction(leases)
    data = write_proof(domain, proof)
    if output is None:
        write_out(data)
        return
    Path(output).write_bytes(data)
    if session.as_json:
        session.emit({"file": output, "provider": "0x" + proof.provider.hex(), "seq": proof.sequence})
    else:
        kind = "receipts" if proof.kind == 0 else "grants"
        print(f"{output}: two {kind} of 0x{proof.provider.hex()} under number {proof.sequence}")


def _steps(client: NodeClient, lease: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    from node.cli.receipt_source import kept_by_node
    from node.receipt_lines import Period, lines_of, refusals_of

    leases = kept_by_node(client, lease)
    lines = [line for kept in leases for line in lines_of(kept, Period())]
    return lines, [refusal for kept in leases for refusal in refusals_of(kept)]


def _of(client: NodeClient, reference: str) -> list[dict[str, Any]]:
    """The receipts of a job, or the one receipt that is meant."""
    try:
        job = resolve_job(client, reference)
        found: list[dict[str, Any]] = client.get("receipts", job=job)
    except FabricError as error:
        if error.code not in ("not_found", "ambiguous"):
            raise
        return [_one(client, reference)]
    return found


def _one(client: NodeClient, reference: str) -> dict[str, Any]:
    known: list[dict[str, Any]] = client.get("receipts")
    for field in ("receipt", "job", "lease"):
        found = [one for one in known if str(one.get(field) or "").startswith(reference.lower())]
        if len(found) == 1:
            return found[0]
    if reference == "-" and known:
        return known[0]
    why = "there is no receipt yet" if reference == "-" else f"'{reference}' is not one receipt"
    raise InvalidRequest(why, code="not_found", fix="'cfab receipts' lists them")
