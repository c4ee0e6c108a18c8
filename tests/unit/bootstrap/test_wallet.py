"""The wallet file."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from bootstrap.wallet import create_wallet, load_wallet, wallet_account
from market.errors import InvalidRequest

LIGHT = 2**10
KEY = bytes(range(1, 33))


@pytest.fixture
def wallet(tmp_path: Path) -> Path:
    path = tmp_path / "wallet.json"
    create_wallet(path, "correct horse", private_key=KEY, scrypt_n=LIGHT)
    return path


def test_the_password_opens_it(wallet: Path) -> None:
    assert load_wallet(wallet, "correct horse") == KEY


def test_the_account_is_that_of_the_key(wallet: Path) -> None:
    assert wallet_account(wallet) == bytes.fromhex(Account.from_key(KEY).address[2:])


def test_it_does_not_hold_the_key_in_the_clear(wallet: Path) -> None:
    assert KEY.hex() not in wallet.read_text()
    assert wallet.stat().st_mode & 0o777 == 0o600


def test_a_new_wallet_has_a_key_of_its_own(tmp_path: Path) -> None:
    first = create_wallet(tmp_path / "1", "x", scrypt_n=LIGHT)
    second = create_wallet(tmp_path / "2", "x", scrypt_n=LIGHT)
    assert len(first) == 20
    assert first != second


def test_another_password_does_not_open_it(wallet: Path) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        load_wallet(wallet, "wrong")
    assert refusal.value.code == "wrong_password"
    assert refusal.value.fix


def test_a_wallet_is_never_overwritten(wallet: Path) -> None:
    before = wallet.read_bytes()
    with pytest.raises(InvalidRequest) as refusal:
        create_wallet(wallet, "other", scrypt_n=LIGHT)
    assert refusal.value.code == "wallet_exists"
    assert wallet.read_bytes() == before


def test_no_wallet(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        wallet_account(tmp_path / "none")
    assert refusal.value.code == "no_wallet"


@pytest.mark.parametrize("key", [b"", bytes(32), b"\xff" * 32, bytes(31)])
def test_an_imported_key_must_be_one(tmp_path: Path, key: bytes) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        create_wallet(tmp_path / "wallet", "x", private_key=key, scrypt_n=LIGHT)
    assert refusal.value.code == "bad_key"
    assert not (tmp_path / "wallet").exists()


@pytest.mark.parametrize("name", ["N", "R", "P"])
def test_a_cost_under_another_spelling_is_not_paid(wallet: Path, name: str) -> None:
    keystore = json.loads(wallet.read_text())
    keystore["crypto"]["kdfparams"][name] = 2**40
    wallet.write_text(json.dumps(keystore))
    assert load_wallet(wallet, "correct horse") == KEY
    del keystore["crypto"]["kdfparams"][name.lower()]
    wallet.write_text(json.dumps(keystore))
    with pytest.raises(InvalidRequest) as refusal:
        load_wallet(wallet, "correct horse")
    assert refusal.value.code == "bad_wallet"


def test_a_cost_without_end_is_refused(wallet: Path) -> None:
    keystore = json.loads(wallet.read_text())
    keystore["crypto"]["kdfparams"]["n"] = float("inf")
    wallet.write_text(json.dumps(keystore))
    with pytest.raises(InvalidRequest) as refusal:
        load_wallet(wallet, "correct horse")
    assert refusal.value.code == "bad_wallet"


@pytest.mark.parametrize(
    "spoilt",
    [
        {"version": 1},
        {"crypto": {}},
        {"crypto": None},
        {"address": "12"},
        {"address": "not hex"},
        {"crypto": {"kdf": "scrypt", "kdfparams": {"n": 2**30}, "cipher": "", "ciphertext": "", "mac": ""}},
        {"crypto": {"kdf": "magic", "kdfparams": {}, "cipher": "aes-128-ctr", "ciphertext": "", "mac": ""}},
    ],
)
def test_files_that_are_no_wallet(wallet: Path, spoilt: dict[str, Any]) -> None:
    wallet.write_text(json.dumps(json.loads(wallet.read_text()) | spoilt))
    read = wallet_account if "address" in spoilt else partial(load_wallet, password="correct horse")
    with pytest.raises(InvalidRequest) as refusal:
        read(wallet)
    assert refusal.value.code == "bad_wallet"


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '"x"', '{"version": 3}'])
def test_other_text_is_no_wallet(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wallet"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(InvalidRequest) as refusal:
        load_wallet(path, "x")
    assert refusal.value.code == "bad_wallet"
