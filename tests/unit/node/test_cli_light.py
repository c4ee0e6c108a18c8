"""``--light`` on the command line: whom it asks, what it touches, how it says what peers did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from node.cli import light
from node.cli.look import Seen
from node.cli.options import Session
from node.light_session import Look
from tests.fakes.cli_runner import cfab
from tests.fakes.scripted_control import OFFER

PEER = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq"
NOWHERE = {"CFAB_NODE_INTRODUCERS": PEER}


def a_report(name: str = "12D3KooWhonest", **changes: Any) -> dict[str, Any]:
    plain = {
        "peer": "ab" * 32, "peer_id": name, "addresses": [f"/ip4/203.0.113.7/tcp/4001/p2p/{name}"], "answered": True,
        "complete": True, "offers": 1, "hides": [], "stale": [], "forges": {},
    }  # fmt: skip
    return plain | changes


HIDES = [{"provider": f"{number:02x}" * 32, "machine": "m0", "version": 5, "shown": None} for number in range(5)]


def seen(monkeypatch: pytest.MonkeyPatch, *peers: dict[str, Any]) -> None:
    """Let every look show one offer and these peers."""

    def look_at_market(introducers: tuple[str, ...], what: str, query: dict[str, Any]) -> Look:
        return Look(data=[{**OFFER, "seen_by": 2}], peers=list(peers))  # type: ignore[arg-type]

    monkeypatch.setattr("node.light_session.look_at_market", look_at_market)


@pytest.mark.parametrize("words", [("offers",), ("depth",), ("history",), ("bids",), ("whatif", "-g", "A100")])
def test_nobody_to_ask_is_told_with_a_way_out(tmp_path: Path, words: tuple[str, ...]) -> None:
    for line in (("--light", *words), (*words, "--light")):
        ended = cfab(tmp_path, *line)
        assert ended.code == 2
        assert "--join /ip4/" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_the_peers_named_on_the_line_come_before_the_environment_and_the_config(tmp_path: Path) -> None:
    session = Session()
    session.home_option = str(tmp_path)
    (tmp_path / "config.toml").write_text(f'[node]\nintroducers = ["{PEER}"]\n')
    assert light.introducers_of(session) == (PEER,)
    (tmp_path / "config.toml").write_text("not toml")
    session.join = ("a", "b")
    assert light.introducers_of(session) == ("a", "b")


def test_join_may_stand_before_and_after_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[str, ...]] = []

    def ask(session: Session, what: str, query: dict[str, Any]) -> Seen:
        asked.append(light.introducers_of(session))
        return Seen(what, [], [])

    monkeypatch.setattr(light, "ask_peers", ask)
    cfab(tmp_path, "--light", "--join", "a", "offers", "--join", "b", "--join", "c")
    assert asked == [("a", "b", "c")]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("offers", "--join", "nowhere"), 2, "is not an address of a peer"),
        (("offers", "--join", "/ip4/127.0.0.1/tcp/1"), 2, "does not name its peer"),
        (("offers", "vrma>1GB", "--join", PEER), 2, "did you mean 'vram'?"),
        (("whatif", "-t", "1h", "--max-price", "1", "--join", PEER), 2, "/h"),
        (("bids", "--join", PEER), 1, f"none of 1 peers answered: {PEER}"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, words: tuple[str, ...], code: int, says: str) -> None:
    ended = cfab(tmp_path, "--light", *words)
    assert ended.code == code
    assert says in ended.err
    assert list(tmp_path.iterdir()) == []


def test_what_was_seen_is_printed_with_how_far_to_believe_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen(monkeypatch, a_report(), a_report("12D3KooWother"))
    ended = cfab(tmp_path, "--light", "offers", environ=NOWHERE)
    assert ended.code == 0
    header, row = ended.out.decode().splitlines()
    assert header.split()[-2:] == ["SEEN", "BY"]
    assert row.split()[-1] == "2"
    assert (
        "asked 2 peers, 2 answered; every signature was checked here, and their books against each other" in ended.err
    )
    assert "!" not in ended.err
    printed = cfab(tmp_path, "--light", "offers", "--json", environ=NOWHERE).json
    assert [offer["seen_by"] for offer in printed["offers"]] == [2]
    assert [peer["peer_id"] for peer in printed["peers"]] == ["12D3KooWhonest", "12D3KooWother"]


def test_liars_are_named_even_when_quiet_and_are_no_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stale = [{**HIDES[0], "shown": 4}]
    seen(
        monkeypatch,
        a_report(),
        a_report("12D3KooWhider", hides=HIDES, stale=stale),
        a_report("12D3KooWforger", forges={"bad_signature": 2, "wrong_author": 1}, complete=False),
    )
    ended = cfab(tmp_path, "--light", "-q", "offers", environ=NOWHERE)
    assert ended.code == 0
    lines = ended.err.splitlines()
    assert lines == [
        "! peer 12D3KooWhider (/ip4/203.0.113.7/tcp/4001) hides 5 offers that others show:"
        " 00000000/m0, 01010101/m0, 02020202/m0, …",
        "! peer 12D3KooWhider (/ip4/203.0.113.7/tcp/4001) shows 1 offer as it was, not as it is: 00000000/m0",
        "! peer 12D3KooWforger (/ip4/203.0.113.7/tcp/4001) forges: 3 of its records bear no valid signature"
        " (bad_signature, wrong_author)",
        "! peer 12D3KooWforger (/ip4/203.0.113.7/tcp/4001) did not show everything",
    ]


def test_a_lone_witness_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen(monkeypatch, a_report(), a_report("12D3KooWsilent", answered=False, complete=False))
    ended = cfab(tmp_path, "--light", "offers", environ=NOWHERE)
    assert "asked 2 peers, 1 answered" in ended.err
    assert "! only one peer answered" in ended.err
    assert "12D3KooWsilent" not in ended.err


@pytest.mark.parametrize(("peers", "is_said"), [(2, True), (3, False)])
def test_of_two_who_contradict_each_other_either_may_be_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, peers: int, is_said: bool
) -> None:
    seen(monkeypatch, *[a_report() for _ in range(peers - 1)], a_report("12D3KooWhider", hides=HIDES))
    assert ("only two peers answered" in cfab(tmp_path, "--light", "offers", environ=NOWHERE).err) is is_said


def test_a_clock_that_may_be_wrong_is_mentioned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def look_at_market(*_args: object) -> Look:
        return Look(data=[], peers=[a_report()], clock_is_doubtful=True)  # type: ignore[list-item]

    monkeypatch.setattr("node.light_session.look_at_market", look_at_market)
    assert "clock; is it right?" in cfab(tmp_path, "--light", "offers", environ=NOWHERE).err
