"""Finding anvil: what is named wins, then the PATH, then what npm put into the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger import anvil
from ledger.anvil import find_anvil, run_anvil
from market.errors import Unavailable


def program(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "anvil"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(anvil, "_NPM_FOLDER", tmp_path / "node_modules")
    return tmp_path / "node_modules" / "@foundry-rs" / "anvil-linux-amd64" / "bin"


def test_a_program_named_in_the_environment_wins(tmp_path: Path, npm: Path) -> None:
    program(npm)
    on_path = program(tmp_path / "bin")
    assert find_anvil({"CFAB_ANVIL": "/opt/anvil", "PATH": str(on_path.parent)}) == "/opt/anvil"


def test_the_path_comes_before_npm(tmp_path: Path, npm: Path) -> None:
    program(npm)
    on_path = program(tmp_path / "bin")
    assert find_anvil({"PATH": str(on_path.parent)}) == str(on_path)


def test_npm_s_program_is_found_without_npm(npm: Path) -> None:
    assert find_anvil({"PATH": "/nonexistent"}) is None
    installed = program(npm)
    assert find_anvil({"PATH": "/nonexistent"}) == str(installed)


async def test_a_machine_without_anvil_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anvil, "find_anvil", lambda: None)
    with pytest.raises(Unavailable) as missing:
        async with run_anvil():
            pass
    assert missing.value.code == "anvil_missing"
    assert "npm ci" in missing.value.fix
