"""Where a password comes from: a file, stdin, or a prompt. Never a flag's value: those are in the process list."""

from __future__ import annotations

import os
import stat
import sys

from market.errors import InvalidRequest
from node.cli.failures import Usage

_MAX_BYTES = 4096
MIN_NEW = 8
"""Characters of a new password. Whoever copies the file can guess for as long as it likes."""
VARIABLE = "CFAB_PASSWORD_FILE"


def read_password(option: str | None, *, new: bool = False) -> str:
    """The wallet's password.

    Args:
        option: ``--password-file`` as given; ``-`` reads stdin. Falls back to ``$CFAB_PASSWORD_FILE``, then a prompt.
        new: of a wallet that is made now: not too short, and asked for twice at the prompt.

    Raises:
        Usage: there is nobody to ask and no file, or the two answers differ.
        InvalidRequest: the file cannot be read, is open to others, or the password is empty or, if new, too short.
    """
    source = option or os.environ.get(VARIABLE, "")
    return _checked(_from_source(source) if source else _ask(new=new), source, new=new)


def read_other_password(option: str | None, *, prompt: str, flag: str) -> str:
    """The password of something else than the wallet, from a file, stdin (``-``) or a prompt.

    Raises:
        Usage, InvalidRequest: as for :func:`read_password`.
    """
    return _checked(_from_source(option) if option else read_hidden(prompt, flag), option or "")


def _from_source(source: str) -> str:
    return _decoded(sys.stdin.buffer.read(_MAX_BYTES + 1) if source == "-" else _read_file(source))


def _checked(password: str, source: str, *, new: bool = False) -> str:
    if not password:
        raise InvalidRequest(
            "the password is empty",
            code="wrong_password",
            fix="put it on the first line of the file" if source else "type at least one character",
            where="" if source == "-" else source,
        )
    if new:
        _refuse_short(password, "" if source == "-" else source)
    return password


def _refuse_short(password: str, where: str = "") -> None:
    if len(password) < MIN_NEW:
        raise InvalidRequest(
            f"the password is too short: whoever gets a copy of the wallet could guess its {len(password)} characters",
            code="weak_password",
            fix=f"take at least {MIN_NEW} characters; a few words are good",
            where=where,
        )


def read_hidden(prompt: str, what: str) -> str:
    """Ask for something secret on the terminal.

    Raises:
        Usage: there is no terminal to ask on.
    """
    if not sys.stdin.isatty():
        raise Usage(f"{what} is needed and nobody can be asked", fix=f"give it in a file, as '{what}' in --help says")
    import getpass

    return getpass.getpass(prompt)


def _ask(*, new: bool) -> str:
    if not sys.stdin.isatty():
        raise Usage(
            "the wallet's password is needed and nobody can be asked",
            fix=f"give it with --password-file FILE, {VARIABLE}=FILE, or --password-file - for stdin",
        )
    import getpass

    password = getpass.getpass("Wallet password: ")
    if new and password:
        _refuse_short(password)  # before it is typed once more
    if new and getpass.getpass("Once more: ") != password:
        raise Usage("the two passwords differ", fix="try again")
    return password


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            # A pipe (<(command)) is nobody else's to read; a file that others may open is no secret.
            if stat.S_ISREG(mode) and mode & 0o077:
                raise InvalidRequest(
                    "others may open the password file", code="key_file_open", fix=f"chmod 600 {path}", where=path
                )
            return file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InvalidRequest(
            f"the password file cannot be read: {error.strerror}",
            code="unreadable_file",
            fix=f"name a file that holds it with --password-file or {VARIABLE}, or leave both out to be asked",
            where=path,
        ) from None


def _decoded(raw: bytes) -> str:
    if len(raw) > _MAX_BYTES:
        raise InvalidRequest("the password file is too large to hold a password", code="unreadable_file")
    try:
        return raw.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise InvalidRequest("the password file is not text", code="unreadable_file") from None
