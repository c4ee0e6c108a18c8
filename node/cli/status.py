"""``cfab status``: the running node at a glance."""

from __future__ import annotations

from typing import Any

import click

from node.cli.amounts import amount, not_drawn, price, units
from node.cli.node_access import connect
from node.cli.options import Command, current_session
from node.cli.terminal import mark, safe, short


@click.command(cls=Command)
def status() -> None:
    """What the running node is and sees."""
    session = current_session()
    view: dict[str, Any] = connect(session).get("status")
    if session.as_json:
        session.emit(view)
        return
    jobs, peers = view.get("jobs") or {}, view.get("peers") or []
    print(f"node      {safe(view.get('name'))} · {short(view.get('key'))} · version {safe(view.get('version'))}")
    print(f"roles     {', '.join(safe(role) for role in view.get('roles') or ()) or 'none'}")
    for address in view.get("addresses") or ():
        print(f"address   {safe(address)}")
    print(f"market    {safe(view.get('offers'))} offers · {len(peers)} peers")
    print(f"jobs      {safe(jobs.get('active'))} active of {safe(jobs.get('total'))}")
    chain = view.get("chain")
    if chain:
        state = f"block {safe(chain.get('head'))}" if chain.get("reachable") else "not reachable"
        print(f"chain     {safe(chain.get('chain_id'))} · {state} · account {safe(chain.get('account'))}")
        if way := chain_way_line(chain):
            print("rpc       " + way)
    if view.get("provider"):
        print("selling   " + provider_line(view["provider"]))
        for line in risk_lines(view["provider"]):
            print(f"          {line}")
    if view.get("watch"):
        print("watching  " + watch_line(view["watch"]))


def risk_lines(view: dict[str, Any]) -> list[str]:
    """What is held in signatures only, and who else holds it."""
    lines = []
    if units(view.get("unredeemed")):
        lines.append(f"{amount(view['unredeemed'])} tokens not redeemed yet")
    for tower in view.get("towers") or ():
        state = f"{safe(tower.get('lanes'))} lanes"
        if units(tower.get("behind")):
            state += f", {amount(tower['behind'])} tokens behind"
        trouble = safe(tower.get("trouble"))
        lines.append(f"watchtower {short(tower.get('peer_id'))}: {state}" + (f" · {trouble}" if trouble else ""))
    if view.get("trouble"):
        lines.append(f"{mark('warn')} {safe(view['trouble'])}")
    return lines


def watch_line(view: dict[str, Any]) -> str:
    """What the node watches for others, in one line."""
    lanes, providers = safe(view.get("lanes")), safe(view.get("providers"))
    line = f"{lanes} lanes of {providers} providers · {amount(view.get('saved'))} tokens saved"
    if view.get("leaving"):
        line += f" · {safe(view['leaving'])} payers leaving"
    trouble = safe(view.get("trouble"))
    return line + (f" · {mark('warn')} {trouble}" if trouble else "")


def chain_way_line(view: dict[str, Any]) -> str:
    """How the way to the chain does, in one line; nothing when there is one endpoint and no trouble."""
    endpoints, said = view.get("endpoints") or [], []
    if len(endpoints) > 1:
        well = sum(one.get("state") == "well" for one in endpoints)
        said.append(f"{well} of {len(endpoints)} endpoints well")
    for one in endpoints:
        if one.get("state") not in ("well", None) and (len(endpoints) > 1 or one.get("state") == "refused"):
            note = f" ({safe(one['note'])})" if one.get("note") else ""
            said.append(f"{safe(one.get('name'))} {safe(one.get('state'))}{note}")
    if view.get("disputes"):
        said.append(f"they contradicted each other {safe(view['disputes'])} times")
    if view.get("waiting"):
        said.append(f"{safe(view.get('unmined'))} unmined: {safe(view['waiting'])}")
    return " · ".join(said)


def provider_line(view: dict[str, Any]) -> str:
    """What the node sells, in one line."""
    busy = int(view.get("total_slots") or 0) - int(view.get("free_slots") or 0)
    state = "paused by you" if view.get("paused") else "offering"
    told = not_drawn(view.get("settled"))
    return (
        f"{state} · {safe(view.get('gpu'))} at {price(view.get('price'))} · {busy} of {safe(view.get('total_slots'))}"
        f" slot{'s' if view.get('total_slots') != 1 else ''} busy · earned {amount(view.get('earned'))} tokens"
        f"{f' (of this {told})' if told else ''}"
    )
