"""``cfab receipts verify``: what receipts say, recomputed from their originals and compared with the chain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from market.errors import FabricError, InvalidRequest
from node.cli.client import NodeClient
from node.cli.receipt_source import job_or_lease, kept_by_node, read_bytes
from node.cli.terminal import mark, safe, short, table

if TYPE_CHECKING:
    from node.receipt_audit import Finding
    from node.receipt_lines import LeaseReceipts

_RESULTS = {True: "pass", False: "fail", None: "skipped"}
_MARKS = {"pass": "ok", "fail": "fail", "skipped": "note"}

Row = dict[str, str]


def verify_receipts(client: NodeClient, reference: str) -> dict[str, Any]:
    """Check the receipts of a job or lease that the node kept, or those in a file.

    Raises:
        FabricError: there is nothing to check: no such job, no such file, or not a file of receipts.
    """
    path = Path(reference)
    if path.is_file():
        leases, rows = _of_file(read_bytes(path))
    elif len(path.parts) > 1 or path.suffix:
        raise InvalidRequest(
            "there is no such file", code="not_found", where=reference, fix="name a file, or a job of 'cfab receipts'"
        )
    else:
        leases, rows = kept_by_node(client, job_or_lease(client, reference)), []
    rows += [row for kept in leases for row in _of_lease(client, kept)]
    receipts = [answered for kept in leases for answered in kept.paid]
    return {
        "valid": bool(leases) and all(row["result"] != "fail" for row in rows),
        "leases": len(leases),
        "receipts": len(receipts),
        "chain": "offline" if any(_is_offline(row) for row in rows) else "checked",
        "checks": rows,
    }


def show_checks(verified: dict[str, Any]) -> None:
    """The table for people."""
    rows = [
        (mark(_MARKS[row["result"]]), short(row["lease"]), row["check"], row["result"], row["detail"])
        for row in verified["checks"]
    ]
    print(table(("", "LEASE", "CHECK", "RESULT", "WHAT"), rows))
    failed = [row for row in verified["checks"] if row["result"] == "fail"]
    if failed:
        print(f"refused: {safe(failed[0]['check'])}: {safe(failed[0]['detail'])}")
    else:
        offline = "; not compared with the chain" if verified["chain"] == "offline" else ""
        print(f"valid: {_count(verified['receipts'], 'receipt')} of {_count(verified['leases'], 'lease')}{offline}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _of_file(raw: bytes) -> tuple[list[LeaseReceipts], list[Row]]:
    from node.receipt_audit import Finding
    from node.receipt_file import read_file

    found = read_file(raw)
    totals = found.totals
    said = found.altered or f"{totals['receipts']} lines, {totals['amount']} tokens, as the receipts make them"
    return list(found.leases), [_row("", Finding(check="file", holds=not found.altered, detail=said))]


def _of_lease(client: NodeClient, kept: LeaseReceipts) -> list[Row]:
    from node.receipt_audit import audit, read_deal

    findings = audit(kept)
    broken = any(finding.holds is False for finding in findings)
    lease = "" if findings[0].holds is False else read_deal(kept).lease.record.lease_id.hex()
    if not broken:
        findings += _on_chain(client, kept)
    return [_row(lease, finding) for finding in findings]


def _on_chain(client: NodeClient, kept: LeaseReceipts) -> list[Finding]:
    import msgspec

    from node.receipt_audit import ChainView, Finding, check_against_chain, read_deal, transactions_of

    lane = read_deal(kept).lane
    asked = {name: getattr(lane, name).hex() for name in ("payer", "payee", "signer")}
    try:
        named = list(transactions_of(kept))
    except (KeyError, TypeError, ValueError, AttributeError):
        return [Finding(check="chain", holds=False, detail="the transactions it names cannot be read")]
    try:
        said = client.post("receipts", "chain", body={**asked, "transactions": named})
        seen = msgspec.convert(said, ChainView)
    except FabricError as error:
        return [Finding(check="chain", holds=None, detail=f"not compared with the chain: {error.message}")]
    except msgspec.ValidationError:
        return [Finding(check="chain", holds=None, detail="not compared with the chain: the node's answer is unknown")]
    return check_against_chain(kept, seen)


def _row(lease: str, finding: Finding) -> Row:
    return {"lease": lease, "check": finding.check, "result": _RESULTS[finding.holds], "detail": finding.detail}


def _is_offline(row: Row) -> bool:
    return row["check"] == "chain" and row["result"] == "skipped"
