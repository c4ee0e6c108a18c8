"""Choosing a local chain: what is asked for, else anvil, else the embedded one; and saying which."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger import local_chain
from ledger.evm_rpc import open_evm_rpc
from ledger.local_chain import start_local_chain
from market.errors import InvalidRequest


async def chain_id_at(url: str) -> int:
    async with open_evm_rpc(url) as rpc:
        return await rpc.ask(lambda web3: int(web3.eth.chain_id))


async def test_without_anvil_the_embedded_chain_runs_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_chain, "find_anvil", lambda: None)
    said: list[str] = []
    async with start_local_chain(chain_id=4242, say=said.append) as chain:
        assert chain.kind == "embedded"
        assert await chain_id_at(chain.url) == 4242
    assert said == [f"local chain: embedded, id 4242, at {chain.url}"]


async def test_the_embedded_chain_does_not_promise_to_remember(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as refused:
        async with start_local_chain(kind="embedded", state_file=tmp_path / "state"):
            pass
    assert refused.value.code == "state_needs_anvil"


async def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InvalidRequest) as refused:
        async with start_local_chain(kind="ganache"):
            pass
    assert refused.value.code == "chain_kind"
