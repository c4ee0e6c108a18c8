"""The command line and a node of another version: who is older is said, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from market.errors import InvalidRequest
from node.api_errors import API_VERSION
from node.cli.client import ApiError, NodeClient
from tests.fakes.scripted_control import ScriptedControl, served


@pytest.fixture
def control(tmp_path: Path) -> Iterator[ScriptedControl]:
    node = ScriptedControl()
    with served(node, tmp_path / "api.sock"):
        yield node


@pytest.fixture
def client(tmp_path: Path) -> NodeClient:
    return NodeClient(tmp_path / "api.sock")


def refusal(client: NodeClient) -> ApiError:
    with pytest.raises(ApiError) as refused:
        client.get("offers")
    return refused.value


@pytest.mark.parametrize("code", ["invalid_request", "no_such_path", "wrong_method"])
def test_what_an_older_node_does_not_know_is_mended_by_a_restart(
    control: ScriptedControl, client: NodeClient, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setattr("node.api.API_VERSION", API_VERSION - 1)
    control.fail["offers"] = InvalidRequest("unknown field `machines`", code=code)
    error = refusal(client)
    assert error.message == "the running node is older than this command, and refused: unknown field `machines`"
    assert "cfab down && cfab up" in error.fix
    assert error.code == code


def test_a_node_that_says_no_version_is_an_old_one(
    control: ScriptedControl, client: NodeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.api.API_HEADER", "X-Something")
    control.fail["offers"] = InvalidRequest("what?", code="invalid_request")
    assert "older" in refusal(client).message


def test_a_newer_node_wants_its_own_command(
    control: ScriptedControl, client: NodeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.api.API_VERSION", API_VERSION + 1)
    control.fail["offers"] = InvalidRequest("what?", code="invalid_request")
    error = refusal(client)
    assert "the running node is newer" in error.message
    assert error.fix == "use the newer cfab"


def test_of_the_same_version_a_refusal_is_what_it_says(control: ScriptedControl, client: NodeClient) -> None:
    control.fail["offers"] = InvalidRequest("what?", code="invalid_request", fix="ask better")
    error = refusal(client)
    assert (error.message, error.fix) == ("what?", "ask better")


def test_an_older_node_may_refuse_for_reasons_of_its_own(
    control: ScriptedControl, client: NodeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.api.API_VERSION", API_VERSION - 1)
    control.fail["offers"] = InvalidRequest("no such job", code="not_found")
    assert refusal(client).message == "no such job"
