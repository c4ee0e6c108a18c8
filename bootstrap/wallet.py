"""The wallet file: the account that holds the money, encrypted with a password (Web3 Secret Storage, version
3).

Only funding and settling need it; a running lease is paid with the session key. It never prints the key, and
never overwrites a wallet.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from eth_account import Account

from bootstrap.identity import is_scalar, random_scalar
from bootstrap.secret_file import create_secret, read_secret
from market.errors import InvalidRequest

SCRYPT_N = 2**18
"""Cost of one guess at the password: about a second and 256 MiB of memory. The default of go-ethereum."""
_MAX_KEYSTORE_BYTES = 16 * 1024
_MAX_MEMORY = 2**30
_MAX_ROUNDS = 10_000_000
_CRYPTO = ("cipher", "cipherparams", "ciphertext", "kdf", "kdfparams", "mac")
_KDF = ("n", "r", "p", "c", "prf", "dklen", "salt")


def create_wallet(path: Path, password: str, *, private_key: bytes | None = None, scrypt_n: int = SCRYPT_N) -> bytes:
    """Write a new wallet, mode 0600, and return the 20 bytes of its account.

    Args:
        path: where it goes; an existing file is never touched.
        password: protects it, and cannot be recovered.
        private_key: a 32-byte key to import; without it a new account is made.
        scrypt_n: cost of the key derivation, a power of two. Only tests have a reason to lower it.

    Raises:
        InvalidRequest: a file is already there, or the private key is not one.
    """
    key = random_scalar() if private_key is None else private_key
    if not is_scalar(key):
        raise InvalidRequest("that is not a private key", code="bad_key", fix="a private key has 64 hex digits")
    keystore = Account.encrypt(key, password, kdf="scrypt", iterations=scrypt_n)
    if not create_secret(path, json.dumps(keystore).encode()):
        raise InvalidRequest(
            "a wallet is already here and is never overwritten",
            code="wallet_exists",
            fix="move it to a safe place first, or name another file",
            where=str(path),
        )
    return _account_of(keystore, path)


def load_wallet(path: Path, password: str) -> bytes:
    """Decrypt the wallet: its 32-byte private key.

    Raises:
        InvalidRequest: ``code="wrong_password"``, no wallet, others may open the file, or it is not a wallet.
    """
    keystore = _read(path)
    try:
        return bytes(Account.decrypt(keystore, password))
    except ValueError:
        raise InvalidRequest(
            "the wallet does not open with this password",
            code="wrong_password",
            fix="try again; a lost password cannot be recovered, only the wallet remade from its private key",
            where=str(path),
        ) from None
    except (KeyError, TypeError, NotImplementedError, OverflowError, RecursionError):
        raise _not_a_wallet(path) from None


def wallet_account(path: Path) -> bytes:
    """The 20-byte account of the wallet, which needs no password.

    Raises:
        InvalidRequest: no wallet, others may open the file, or it is not a wallet.
    """
    return _account_of(_read(path), path)


def _read(path: Path) -> dict[str, Any]:
    try:
        keystore = json.loads(read_secret(path, limit=_MAX_KEYSTORE_BYTES))
        # Only these names, as they are written: the library takes "N" for "n", at a cost that was not judged.
        derivation = _only(_CRYPTO, keystore["crypto"])
        derivation["kdfparams"] = _only(_KDF, derivation["kdfparams"])
        affordable = _is_affordable(derivation["kdfparams"])
        shaped = keystore["version"] == 3 and {"cipher", "ciphertext", "kdf", "mac"} <= derivation.keys()
    except FileNotFoundError:
        raise InvalidRequest(
            "there is no wallet here", code="no_wallet", fix="create one first", where=str(path)
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise _not_a_wallet(path) from None
    if not shaped or not affordable:
        raise _not_a_wallet(path)
    return {"version": 3, "address": keystore.get("address"), "crypto": derivation}


def _only(names: tuple[str, ...], found: dict[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in names if name in found}


def _is_affordable(parameters: dict[str, Any]) -> bool:
    """Whether one try at the password is bearable: a made-up cost would eat all memory, or never end, before the
    password is even looked at."""
    n, r, p, c, length = (int(parameters.get(name, 1)) for name in ("n", "r", "p", "c", "dklen"))
    return min(n, r, p, c, length) > 0 and 128 * n * r <= _MAX_MEMORY and p <= 16 and c <= _MAX_ROUNDS and length <= 64


def _account_of(keystore: dict[str, Any], path: Path) -> bytes:
    try:
        account = bytes.fromhex(str(keystore["address"]).removeprefix("0x"))
    except (KeyError, ValueError):
        raise _not_a_wallet(path) from None
    if len(account) != 20:
        raise _not_a_wallet(path)
    return account


def _not_a_wallet(path: Path) -> InvalidRequest:
    return InvalidRequest(
        "the file is not an encrypted wallet",
        code="bad_wallet",
        fix="name a keystore file (Web3 Secret Storage, version 3). If this is the node's own, which is never "
        "overwritten: move it away first, then put a copy of it here, import its key or create a new wallet",
        where=str(path),
    )
