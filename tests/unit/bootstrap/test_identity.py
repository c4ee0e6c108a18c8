"""Keys on disk and peer ids."""

from __future__ import annotations

from pathlib import Path

import pytest
from libp2p.crypto.ed25519 import Ed25519PrivateKey
from libp2p.peer.id import ID

from bootstrap.identity import (
    is_scalar,
    key_of_multihash,
    key_of_peer_id,
    key_of_seed,
    load_node_seed,
    load_session_key,
    multihash_of,
    peer_id_of,
)
from market.errors import InvalidRequest

SEEDS = [bytes([number]) * 32 for number in range(20)]


@pytest.mark.parametrize("seed", SEEDS)
def test_peer_ids_are_those_of_libp2p(seed: bytes) -> None:
    theirs = ID.from_pubkey(Ed25519PrivateKey.new(seed).get_public_key())
    key = key_of_seed(seed)
    assert peer_id_of(key) == theirs.pretty()
    assert multihash_of(key) == theirs.to_bytes()
    assert key_of_peer_id(theirs.pretty()) == key
    assert key_of_multihash(theirs.to_bytes()) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "12D3KooW",
        peer_id_of(key_of_seed(SEEDS[0]))[:-1],
        peer_id_of(key_of_seed(SEEDS[0])) + "1",
        peer_id_of(key_of_seed(SEEDS[0]))[:-1] + "0",
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "é" * 52,
        "z" * 100_000,
    ],
)
def test_other_texts_are_not_peer_ids(text: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        key_of_peer_id(text)
    assert refusal.value.code == "bad_peer_id"


@pytest.mark.parametrize("multihash", [b"", b"\x00\x24\x08\x01\x12\x20", b"\x12\x20" + bytes(32), bytes(38)])
def test_other_multihashes_have_no_key(multihash: bytes) -> None:
    assert key_of_multihash(multihash) is None


def test_a_seed_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "home" / "node.key"
    seed = load_node_seed(path)
    assert len(seed) == 32
    assert load_node_seed(path) == seed
    assert load_node_seed(tmp_path / "other.key") != seed
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_session_key_is_a_valid_scalar(tmp_path: Path) -> None:
    key = load_session_key(tmp_path / "session.key")
    assert is_scalar(key)
    assert load_session_key(tmp_path / "session.key") == key


@pytest.mark.parametrize("content", [b"", bytes(31), bytes(33), bytes(32), b"\xff" * 32])
def test_a_file_that_holds_no_session_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "session.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(InvalidRequest) as refusal:
        load_session_key(path)
    assert refusal.value.code == "bad_key_file"
    assert path.read_bytes() == content


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_key_that_others_may_open_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "node.key"
    load_node_seed(path)
    path.chmod(mode)
    with pytest.raises(InvalidRequest) as refusal:
        load_node_seed(path)
    assert refusal.value.code == "key_file_open"
    assert "chmod 600" in refusal.value.fix
    assert path.stat().st_mode & 0o777 == mode


def test_scalars_end_at_the_group_order() -> None:
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    assert is_scalar((order - 1).to_bytes(32, "big"))
    assert not is_scalar(order.to_bytes(32, "big"))
    assert is_scalar((1).to_bytes(32, "big"))
    assert not is_scalar(bytes(32))
