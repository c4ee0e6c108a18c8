"""``cfab wallet create`` and ``import``: where the account's key comes from. Never a flag, a variable or a log."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from market.errors import InvalidRequest
from node.cli.failures import Usage
from node.cli.options import Command, current_session
from node.cli.passwords import read_hidden, read_other_password, read_password
from node.cli.terminal import short

_MAX_SECRET = 1024

_password_file = click.option("--password-file", metavar="FILE", help="Its password; - for stdin (CFAB_PASSWORD_FILE).")


@click.command(cls=Command)
@_password_file
def create(password_file: str | None) -> None:
    """Make a new account, encrypted with a password that cannot be recovered."""
    from bootstrap.wallet import create_wallet

    path = wallet_path(make_home=True)
    _refuse_existing(path)
    _created(path, create_wallet(path, read_password(password_file, new=True)))


@click.command("import", cls=Command)
@click.option("--key-file", metavar="FILE", help="A private key in hex; - for stdin. Without any file you are asked.")
@click.option("--mnemonic", "ask_words", is_flag=True, help="Ask for the words of a BIP-39 phrase instead of a key.")
@click.option("--mnemonic-file", metavar="FILE", help="The words of a BIP-39 phrase; - for stdin.")
@click.option(
    "--index", type=click.IntRange(0, 2**31 - 1), metavar="N", help="Which account of the phrase: m/44'/60'/0'/0/N (0)."
)
@click.option("--passphrase-file", metavar="FILE", help="The extra word of a phrase that has one.")
@click.option("--keystore", metavar="FILE", help="An encrypted keystore (Web3 Secret Storage, version 3).")
@click.option("--keystore-password-file", metavar="FILE", help="The keystore's password; without it you are asked.")
@_password_file
def import_(
    key_file: str | None,
    ask_words: bool,
    mnemonic_file: str | None,
    index: int | None,
    passphrase_file: str | None,
    *,
    keystore: str | None,
    keystore_password_file: str | None,
    password_file: str | None,
) -> None:
    """Bring an account: by its private key, a BIP-39 phrase or a keystore; asked for, or read from a file or stdin."""
    from bootstrap.wallet import create_wallet

    path = wallet_path(make_home=True)
    _refuse_existing(path)
    given = [one for one in (key_file, mnemonic_file, keystore, "-" if ask_words else None) if one]
    if len(given) > 1:
        raise Usage("an account comes from one place only", fix="give one of --key-file, --mnemonic-file, --keystore")
    if (index is not None or passphrase_file) and not (ask_words or mnemonic_file):
        raise Usage("--index and --passphrase-file are for a phrase", fix="add --mnemonic-file, or leave them out")
    if keystore_password_file and not keystore:
        raise Usage("--keystore-password-file is for a keystore", fix="add --keystore, or leave it out")
    if [key_file, mnemonic_file, passphrase_file, keystore_password_file, password_file].count("-") > 1:
        raise Usage("stdin can hold one secret only", fix="put the others in files")
    if keystore:
        key = _from_keystore(keystore, keystore_password_file)
    elif ask_words or mnemonic_file:
        key = _from_phrase(mnemonic_file, index or 0, passphrase_file)
    else:
        key = _from_hex(key_file)
    _created(path, create_wallet(path, read_password(password_file, new=True), private_key=key))


def wallet_path(*, make_home: bool = False) -> Path:
    """Where this home's wallet is, or will be."""
    from node.home import WALLET_FILE, ensure_home

    home = current_session().home
    if make_home:
        ensure_home(home)
    return home / WALLET_FILE


def _from_hex(file: str | None) -> bytes:
    from bootstrap.wallet_import import key_from_hex

    return key_from_hex(_read(file, "key") if file else read_hidden("Private key (hex, hidden): ", "--key-file"))


def _from_phrase(file: str | None, index: int, passphrase_file: str | None) -> bytes:
    from bootstrap.wallet_import import key_from_phrase

    words = _read(file, "phrase") if file else read_hidden("Phrase (hidden): ", "--mnemonic-file")
    extra = _read(passphrase_file, "passphrase").removesuffix("\n").removesuffix("\r") if passphrase_file else ""
    return key_from_phrase(words, index=index, passphrase=extra)


def _from_keystore(file: str, password_file: str | None) -> bytes:
    from bootstrap.wallet import load_wallet

    if not Path(file).exists():
        raise InvalidRequest("there is no such keystore", code="not_found", where=file)
    if not Path(file).is_file():
        fix = "name the file itself, such as UTC--… in it" if Path(file).is_dir() else "name an ordinary file"
        raise InvalidRequest("a keystore is a file, and this is none", code="unreadable_file", fix=fix, where=file)
    password = read_other_password(password_file, prompt="Password of the keystore: ", flag="--keystore-password-file")
    try:
        return load_wallet(Path(file), password)
    except OSError as error:
        raise _unreadable("keystore", error, file) from None


def _read(name: str, what: str) -> str:
    """A secret from a file that nobody else may open, or from stdin."""
    from bootstrap.secret_file import read_secret

    try:
        raw = sys.stdin.buffer.read(_MAX_SECRET + 1) if name == "-" else read_secret(Path(name), limit=_MAX_SECRET)
        return raw[:_MAX_SECRET].decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"that is no {what}: it is not text", code="bad_key") from None
    except FileNotFoundError:
        raise InvalidRequest(f"there is no such {what} file", code="not_found", where=name) from None
    except OSError as error:
        raise _unreadable(what, error, name) from None


def _unreadable(what: str, error: OSError, name: str) -> InvalidRequest:
    message, fix = f"the {what} file cannot be read: {error.strerror}", "name a file that you may read"
    return InvalidRequest(message, code="unreadable_file", fix=fix, where=name)


def _created(path: Path, account: bytes) -> None:
    session = current_session()
    if session.as_json:
        session.emit({"account": "0x" + account.hex(), "file": str(path)})
        return
    print("0x" + account.hex())
    session.say(f"wallet {short(account.hex())} is in {path}; keep a copy of the file and remember the password")


def _refuse_existing(path: Path) -> None:
    """Before anybody types a password for nothing; ``create_wallet`` is what really never overwrites."""
    if path.exists():
        raise InvalidRequest(
            "a wallet is already here and is never overwritten",
            code="wallet_exists",
            fix="use it, move it to a safe place first, or choose another home with --home",
            where=str(path),
        )
