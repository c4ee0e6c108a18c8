"""What 'cfab status' says of money that is held in signatures only."""

from __future__ import annotations

from node.cli.status import chain_way_line, provider_line, risk_lines, watch_line
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


def test_what_is_earned_is_told_apart_from_what_is_only_vouched() -> None:
    view = {"total_slots": 1, "free_slots": 1, "gpu": "A100", "earned": money(347)}
    parts = {"vouched": money(347), "drawn": money(234), "outstanding": money(0), "lost": money(113)}
    told = "earned 0.000347 tokens (of this 0.000113 lost: the payer took it back before it was drawn)"
    assert provider_line(view | {"settled": parts}).endswith(told)
    assert provider_line(view | {"settled": parts | {"lost": money(0)}}).endswith("earned 0.000347 tokens")


def an_endpoint(name: str, state: str = "well", note: str = "") -> dict[str, object]:
    return {"name": name, "state": state, "head": 9, "note": note}


def test_the_way_to_the_chain_is_told_when_there_is_something_to_tell() -> None:
    assert chain_way_line({}) == ""
    assert chain_way_line({"endpoints": [an_endpoint("http://a")], "unmined": 1, "waiting": ""}) == ""
    two = [an_endpoint("http://a"), an_endpoint("http://b\x1b", "resting", "3 faults")]
    assert chain_way_line({"endpoints": two}) == "1 of 2 endpoints well · http://b\\x1b resting (3 faults)"
    loud = chain_way_line({"endpoints": two[:1], "disputes": 2, "unmined": 1, "waiting": "gas costs 9"})
    assert loud == "they contradicted each other 2 times · 1 unmined: gas costs 9"
