"""The sweep after a devnet, against the real engine: it finds and removes what is labelled, and nothing else."""

from __future__ import annotations

import json
import secrets

import pytest

from market.errors import Unavailable
from node.devnet.engine_leftovers import EngineLeftovers

pytestmark = pytest.mark.docker


@pytest.fixture
def leftovers():
    sweep = EngineLeftovers()
    made: list[str] = []
    yield sweep, made
    sweep.remove(sweep.find(made))


def make(sweep: EngineLeftovers, node_id: str) -> None:
    name, labels = f"cfab-test-{secrets.token_hex(8)}", {"cfab.node": node_id}
    for path, body in (("/networks/create", {"Name": name, "Labels": labels}), ("/volumes/create", {"Labels": labels})):
        connection = sweep._connection()
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 201, answer.read()
        connection.close()


def test_it_removes_what_a_node_left_and_only_that(leftovers: tuple[EngineLeftovers, list[str]]):
    sweep, made = leftovers
    mine, other = secrets.token_hex(16), secrets.token_hex(16)
    made += [mine, other]
    make(sweep, mine)
    make(sweep, other)
    found = sweep.find([mine])
    assert [kind for kind, _ in found] == ["network", "volume"]
    sweep.remove(found)
    assert sweep.find([mine]) == []
    assert len(sweep.find([other])) == 2
    sweep.remove(found)  # gone already: no fault


def test_a_silent_engine_is_one_clear_error():
    with pytest.raises(Unavailable, match="Docker Engine does not answer") as raised:
        EngineLeftovers("unix:///nowhere/docker.sock").find(["x"])
    assert raised.value.code == "engine_unreachable"
