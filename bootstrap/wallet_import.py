"""Private keys in the forms people keep them: hex, a BIP-39 phrase, an encrypted keystore file.

What cannot be read is refused without repeating a word of it: an error's text ends up in logs and on screens.
"""

from __future__ import annotations

from eth_account.hdaccount import key_from_seed, seed_from_mnemonic
from eth_utils.exceptions import ValidationError

from bootstrap.identity import is_scalar
from market.errors import InvalidRequest

MAX_INDEX = 2**31 - 1
_PHRASE_LENGTHS = (12, 15, 18, 21, 24)


def key_from_hex(text: str) -> bytes:
    """The 32 bytes of a private key written in hex, with or without ``0x``.

    Raises:
        InvalidRequest: ``bad_key``.
    """
    try:
        key = bytes.fromhex(text.strip().removeprefix("0x"))
    except ValueError:
        key = b""
    if not is_scalar(key):
        raise InvalidRequest("that is not a private key", code="bad_key", fix="it has 64 hex digits")
    return key


def key_from_phrase(text: str, *, index: int = 0, passphrase: str = "") -> bytes:
    """The private key of one account of a BIP-39 phrase, by the path that Ethereum wallets use.

    Args:
        text: the words, between any white space.
        index: the last number of ``m/44'/60'/0'/0/index``.
        passphrase: the "25th word", for phrases that have one.

    Raises:
        InvalidRequest: ``bad_phrase``: the wrong number of words, an unknown word, or a checksum that does not hold.
    """
    words = text.lower().split()
    if len(words) not in _PHRASE_LENGTHS:
        raise InvalidRequest(
            f"a phrase has 12 to 24 words, and this one {len(words)}",
            code="bad_phrase",
            fix="give the words in their order, with spaces between them",
        )
    if not 0 <= index <= MAX_INDEX:
        raise InvalidRequest("there is no account of that number", code="bad_phrase", fix=f"take 0 to {MAX_INDEX}")
    try:
        seed = seed_from_mnemonic(" ".join(words), passphrase)
    except ValidationError:
        raise InvalidRequest(
            "the phrase does not hold together: a word is unknown, or they are in the wrong order",
            code="bad_phrase",
            fix="compare it with what you wrote down, word by word",
        ) from None
    return bytes(key_from_seed(seed, f"m/44'/60'/0'/0/{index}"))
