"""Private keys in the forms people keep them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from bootstrap.wallet import create_wallet, load_wallet
from bootstrap.wallet_import import key_from_hex, key_from_phrase
from market.errors import InvalidRequest

PHRASE = "test test test test test test test test test test test junk"
KEYS = (
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
)
"""The first two of the phrase that every development chain knows."""


@pytest.mark.parametrize("text", [KEYS[0], "0x" + KEYS[0], f"  {KEYS[0]}\n", KEYS[0].upper()])
def test_a_key_in_hex(text: str) -> None:
    assert key_from_hex(text).hex() == KEYS[0]


@pytest.mark.parametrize("text", ["", "0x", "zz" * 32, KEYS[0][:-2], KEYS[0] + "00", "00" * 32, "ff" * 32, "é"])
def test_what_is_no_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        key_from_hex(text)
    assert refused.value.code == "bad_key"
    assert len(text) < 3 or text not in str(vars(refused.value))


def test_accounts_of_a_phrase_are_those_that_other_wallets_show() -> None:
    assert [key_from_phrase(PHRASE, index=index).hex() for index in range(2)] == list(KEYS)
    assert key_from_phrase(f"\n {PHRASE.upper()}  ".replace(" ", " \t ")).hex() == KEYS[0]


def test_a_passphrase_makes_other_accounts() -> None:
    # The first vector of BIP-39: its seed with "TREZOR" is published.
    words = "abandon " * 11 + "about"
    assert key_from_phrase(words, passphrase="TREZOR") != key_from_phrase(words)


@pytest.mark.parametrize(
    "text",
    ["", "test", PHRASE + " test", PHRASE.replace("junk", "test"), PHRASE.replace("junk", "qqqq"), "\0 " * 12],
)
def test_a_phrase_that_does_not_hold_together_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        key_from_phrase(text)
    assert refused.value.code == "bad_phrase"
    assert not text.split() or text.split()[0] not in str(vars(refused.value))


@pytest.mark.parametrize("index", [-1, 2**31])
def test_an_account_number_that_no_wallet_has_is_refused(index: int) -> None:
    with pytest.raises(InvalidRequest):
        key_from_phrase(PHRASE, index=index)


@pytest.mark.parametrize("kdf", ["scrypt", "pbkdf2"])
def test_keystores_of_other_programs_open(tmp_path: Path, kdf: Any) -> None:
    path = tmp_path / "foreign.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(Account.encrypt(bytes.fromhex(KEYS[0]), "their password", kdf=kdf, iterations=16)))
    assert load_wallet(path, "their password").hex() == KEYS[0]
    with pytest.raises(InvalidRequest) as refused:
        load_wallet(path, "another")
    assert refused.value.code == "wrong_password"


@pytest.mark.parametrize(
    "cost", [{"n": 2**30}, {"r": 10**6}, {"p": 10**6}, {"n": 0}, {"n": "many"}, {"dklen": 2**30}, {"c": 2**40}]
)
def test_a_keystore_that_would_eat_the_machine_is_no_wallet(tmp_path: Path, cost: dict[str, Any]) -> None:
    path = tmp_path / "wallet.json"
    create_wallet(path, "x", scrypt_n=16)
    keystore = json.loads(path.read_text())
    keystore["crypto"]["kdfparams"] |= cost
    path.write_text(json.dumps(keystore))
    with pytest.raises(InvalidRequest) as refused:
        load_wallet(path, "x")
    assert refused.value.code == "bad_wallet"
