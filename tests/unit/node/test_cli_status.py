"""What 'cfab status' says of money that is held in signatures only."""

from __future__ import annotations

from node.cli.status import risk_lines, watch_line
from node.control import money


def test_what_is_at_risk_and_who_holds_it_is_told() -> None:
    towers = [
        {"peer_id": "12D3KooWabc", "lanes": 3, "behind": money(0), "trouble": ""},
        {"peer_id": "12D3KooWdef", "lanes": 1, "behind": money(2_500_000), "trouble": "not reached: \x1b[2J"},
    ]
    view = {"unredeemed": money(7_000_000), "towers": towers, "trouble": "no gas"}
    assert risk_lines(view) == [
        "7.000000 tokens not redeemed yet",
        "watchtower 12D3KooW: 3 lanes",
        "watchtower 12D3KooW: 1 lanes, 2.500000 tokens behind · not reached: \\x1b[2J",
        "! no gas",
    ]
    assert risk_lines({"unredeemed": money(0), "towers": [], "trouble": ""}) == []
    assert risk_lines({}) == []


def test_a_tower_tells_whom_it_watches() -> None:
    view = {"providers": 2, "lanes": 5, "leaving": 0, "saved": money(0), "trouble": ""}
    assert watch_line(view) == "5 lanes of 2 providers · 0.000000 tokens saved"
    loud = watch_line(view | {"leaving": 1, "trouble": "no gas"})
    assert loud.endswith("· 1 payers leaving · ! no gas")
