"""The configuration: every value typed and bounded, every mistake with its place and a way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from market.errors import InvalidRequest
from node.config import NodeConfig, load_config
from node.config_keys import KEYS
from node.config_values import ConfigError

CHAIN = """
[chain]
rpc = "http://127.0.0.1:8545"
chain_id = 31337
escrow = "0x00000000000000000000000000000000000000E5"
token = "0x00000000000000000000000000000000000000c0"
"""
PEER = "12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq"


def load(home: Path, text: str = "", **kwargs: Any) -> NodeConfig:
    if text:
        (home / "config.toml").write_text(text)
    return load_config(home, environ=kwargs.pop("environ", {}), **kwargs)


def refused(home: Path, text: str = "", **kwargs: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as error:
        load(home, text, **kwargs)
    return error.value


def test_nothing_given_is_a_private_requester(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert config.listen == ("/ip4/127.0.0.1/tcp/4001",)
    assert (config.provide, config.introducer, config.chain) == (False, False, None)
    assert config.api_socket == tmp_path / "api.sock"
    assert config.sources == {}


def test_every_key_is_read(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        f"""
[node]
name = "alice"
listen = ["/ip4/0.0.0.0/tcp/4001", "/ip6/::1/tcp/0"]
introducers = ["/dns4/boot.example.org/tcp/4001/p2p/{PEER}"]
introducer = true
provide = true
api_socket = "/run/a.sock"
{CHAIN}
confirmations = 12
[provider]
price = "0.30/h"
gpu = "simulated:RTX4090:24GB"
slots = 2
cpu = 0.5
memory = "4GiB"
disk = "10GB"
region = "eu-north"
jurisdiction = "SE"
interruptible = true
notice = "2m"
speed = 1060
net = "1Gbit"
floor = "0.12/h"
quote_discount = "12.5%"
surge = true
price_cap = "0.36/h"
machine = "m1"
tick = "1s"
grace = "1500ms"
engine = "unix:///x.sock"
[requester]
close_lanes = false
""",
    )
    assert config.chain is not None
    assert (config.chain.escrow[-1], config.chain.token[-1], config.chain.confirmations) == (0xE5, 0xC0, 12)
    provider = config.provider
    assert provider.price == 83_333
    assert (provider.gpu.kind, provider.gpu.model, provider.gpu.vram_mib) == ("simulated", "RTX4090", 24_576)
    assert (provider.slots, provider.cpu_milli, provider.memory_mib, provider.disk_mib) == (2, 500, 4096, 9537)
    assert (provider.tick_ms, provider.grace_ms) == (1000, 1500)
    assert (provider.region, provider.jurisdiction) == ("eu-north", "se")
    assert (provider.interruptible, provider.notice_ms) == (True, 120_000)
    assert (provider.speed, provider.net_mbps) == (1060, 1000)
    assert (provider.floor, provider.surge, provider.price_cap) == (33_333, True, 100_000)
    assert provider.quote_discount == 125
    assert not config.requester.close_lanes
    assert str(config.api_socket) == "/run/a.sock"


def test_money_at_risk_and_watchtowers_are_settings(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        f"""
{CHAIN}
coin_price = "2500.5"
[provider]
redeem_above = "25"
[watch]
serve = true
clients = ["{PEER}"]
places = 64
towers = ["/dns4/tower.example.org/tcp/4001/p2p/{PEER}"]
""",
    )
    assert config.chain is not None
    assert (config.chain.coin_price, config.provider.redeem_above) == (2_500_500_000, 25_000_000)
    assert (config.watch.serve, config.watch.clients, config.watch.places) == (True, (PEER,), 64)
    assert config.watch.towers == (f"/dns4/tower.example.org/tcp/4001/p2p/{PEER}",)


def test_what_the_readme_shows_of_watchtowers_and_stretches_is_a_config(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    block = readme[readme.index("[watch] ") :].split("```")[0].replace("12D3KooW…", PEER)
    config = load(tmp_path, CHAIN + block)
    assert config.watch.towers == (f"/ip4/203.0.113.7/tcp/4001/p2p/{PEER}",)
    assert (config.requester.fund_ahead_ms, config.requester.top_up) == (3_600_000, True)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[watch]\nserve = true\n", "needs a [chain]"),
        ("[watch]\nclients = ['12D3KooWwrong']\n", "peer ids"),
        ("[watch]\ntowers = ['/ip4/1.2.3.4/tcp/5']\n", "/p2p/"),
        (f"[watch]\ntowers = ['/ip4/1.2.3.4/tcp/5/p2p/{PEER[:-4]}']\n", "peer ids"),
        ("[watch]\nplaces = 0\n", "places"),
    ],
)
def test_a_watch_that_cannot_be_is_refused_with_its_line(tmp_path: Path, text: str, part: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, text)
    assert part in refused.value.message + refused.value.fix
    assert refused.value.where == f"{tmp_path / 'config.toml'}:2"


OWNER = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


def test_the_limit_of_a_day_and_payouts_are_settings(tmp_path: Path) -> None:
    plain = load(tmp_path, "")
    assert (plain.wallet.daily_limit, plain.payout.address, plain.payout.threshold) == (0, b"", 1_000_000)
    payout = f"[payout]\naddress = '{OWNER}'\nthreshold = '5'\nevery = 'week'\nkeep = '0.5'\n"
    config = load(tmp_path, f"[wallet]\ndaily_limit = '20'\n{payout}")
    assert config.wallet.daily_limit == 20_000_000
    assert config.payout.address.hex() == OWNER[2:].lower()
    assert (config.payout.threshold, config.payout.every, config.payout.keep) == (5_000_000, "week", 500_000)


@pytest.mark.parametrize(("every", "read"), [('"day"', "day"), ("15", "15"), ('"1"', "1"), ('"28"', "28"), ('""', "")])
def test_a_schedule_is_a_word_or_a_day(tmp_path: Path, every: str, read: str) -> None:
    assert load(tmp_path, f"[payout]\naddress = '{OWNER}'\nevery = {every}\n").payout.every == read


@pytest.mark.parametrize("line", ["threshold = '5'", "every = 'week'", "keep = '1'"])
def test_a_payout_to_nowhere_is_refused(tmp_path: Path, line: str) -> None:
    error = refused(tmp_path, f"[wallet]\n\n[payout]\n{line}\n")
    assert (error.code, error.where) == ("missing_key", f"{tmp_path}/config.toml:4")
    assert "address" in error.fix
    given = load(tmp_path, f"[payout]\n{line}\n", environ={"CFAB_PAYOUT_ADDRESS": OWNER})
    assert given.payout.address.hex() == OWNER[2:].lower()


@pytest.mark.parametrize(
    "text",
    [
        f"address = '{OWNER[:-1]}5'",  # a digit wrong: the checksum shows it
        f"address = '{OWNER.replace('F', 'f', 1)}'",
        f"address = '0x{'0' * 40}'",
        "address = 'me'",
        "every = 'month'",
        "every = 29",
        "every = 0",
        "every = true",
        "every = -1",
        "threshold = '-1'",
        "threshold = 5",
        "keep = 'all'",
    ],
)
def test_a_payout_that_would_lose_money_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        load(tmp_path, f"[payout]\n{text}\n" + ("" if "address" in text else f"address = '{OWNER}'\n"))


def test_an_address_without_a_checksum_is_taken_as_it_is(tmp_path: Path) -> None:
    for address in (OWNER.lower(), "0x" + OWNER[2:].upper()):
        assert load(tmp_path, f"[payout]\naddress = '{address}'\n").payout.address.hex() == OWNER[2:].lower()


def test_flag_beats_variable_beats_file(tmp_path: Path) -> None:
    text = '[provider]\nprice = "0.10/h"\nregion = "eu"\nmachine = "file"\n'
    environ = {"CFAB_PROVIDER_PRICE": "0.20/h", "CFAB_PROVIDER_REGION": "us", "CFAB_HOME": "/ignored", "OTHER": "1"}
    config = load(tmp_path, text, environ=environ, flags={"provider.price": "0.36/h"})
    assert (config.provider.price, config.provider.region, config.provider.machine) == (100_000, "us", "file")
    assert config.sources == {
        "provider.price": "flag",
        "provider.region": "CFAB_PROVIDER_REGION",
        "provider.machine": "file",
    }


def test_variable_may_hold_a_list_a_number_and_a_switch(tmp_path: Path) -> None:
    environ = {
        "CFAB_NODE_LISTEN": "/ip4/127.0.0.1/tcp/1,/ip4/127.0.0.1/tcp/2",
        "CFAB_NODE_INTRODUCER": "1",
        "CFAB_PROVIDER_SLOTS": "3",
    }
    config = load(tmp_path, environ=environ)
    assert (len(config.listen), config.introducer, config.provider.slots) == (2, True, 3)


@pytest.mark.parametrize(
    ("text", "line", "code", "fix"),
    [
        ("[node]\n\nlisten_on = []\n", 3, "unknown_key", "did you mean 'listen'?"),
        ("[nod]\nname = 'a'\n", 1, "unknown_key", "did you mean 'node'?"),
        ("[node]\n\n[chain2]\nrpc = 'a'\n", 3, "unknown_key", "did you mean 'chain'?"),
        ("[node]\n\n[[peers]]\nkey = 'a'\n", 3, "unknown_key", "known here: node"),
        ("\npeers = 2\n[node]\n", 2, "unknown_key", "known here: node"),
        ("[node]\n\n[peers.first]\nkey = 'a'\n", 3, "unknown_key", "known here: node"),
        ("[provider]\nzzz = 1\n", 2, "unknown_key", "known here: price"),
        ("[node]\nprovide = 'yes'\n", 2, "bad_config", ""),
        ("[node]\nlisten = '/ip4/1.2.3.4/udp/5'\n", 2, "bad_config", "/tcp/4001"),
        (f"[node]\nlisten = ['/ip4/1.2.3.4/tcp/5/p2p/{PEER}']\n", 2, "bad_config", ""),
        ("[node]\nintroducers = ['/ip4/1.2.3.4/tcp/5']\n", 2, "bad_config", "p2p"),
        ("[provider]\nprice = 0.3\n", 2, "bad_config", ""),
        ("[provider]\nprice = '0.3'\n", 2, "price_unit", "0.35/h"),
        ("[provider]\nslots = 0\n", 2, "bad_config", ""),
        ("[provider]\nslots = true\n", 2, "bad_config", ""),
        ("[provider]\nmemory = '4'\n", 2, "bad_size", "unit"),
        ("[provider]\ntick = '10'\n", 2, "bad_duration", "unit"),
        ("[provider]\ntick = '1ms'\n", 2, "bad_config", ""),
        ("[provider]\ngpu = 'RTX4090'\n", 2, "bad_config", "simulated:"),
        ("[provider]\ncpu = 0\n", 2, "bad_cpu", ""),
        ("[provider]\njurisdiction = 'uk'\n", 2, "unknown_country", "'gb'"),
        ("[provider]\njurisdiction = 'eu'\n", 2, "unknown_country", "group"),
        ("[provider]\njurisdicton = 'de'\n", 2, "unknown_key", "did you mean 'jurisdiction'?"),
        ("[provider]\ninteruptible = true\n", 2, "unknown_key", "did you mean 'interruptible'?"),
        ("[provider]\nnotice = '25h'\ninterruptible = true\n", 2, "bad_config", ""),
        ("[provider]\nspeed = 1.5\n", 2, "bad_config", ""),
        ("[provider]\nnet = '100MB/s'\n", 2, "bad_rate", "Mbit"),
        ("[provider]\nnet = '0.1Mbit'\n", 2, "bad_config", ""),
        ("[provider]\nsurge = 'slow'\n", 2, "bad_config", ""),
        ("[provider]\nfloor = '0.1'\n", 2, "price_unit", "0.35/h"),
        ("[provider]\nquote_discount = '91%'\n", 2, "bad_config", '"10%"'),
        ("[provider]\nquote_discount = '10'\n", 2, "bad_config", '"10%"'),
        ("[provider]\nquote_discount = 0.1\n", 2, "bad_config", ""),
        ("[provider]\n\nnotice = '2m'\n", 3, "contradiction", "interruptible = true"),
        ("[provider]\nsurge = true\n", 2, "contradiction", "floor"),
        (CHAIN.replace("http://", "ftp://"), 3, "bad_config", "8545"),
        (CHAIN.replace("http://127.0.0.1:8545", "http://host:99999"), 3, "bad_config", "8545"),
        (CHAIN.replace("E5", "E"), 5, "bad_config", "40 hex"),
        (CHAIN.replace("31337", "0"), 4, "bad_config", ""),
        (CHAIN.replace("chain_id = 31337", ""), 2, "missing_key", "chain_id"),
    ],
)
def test_mistake_names_its_line_and_a_way_out(tmp_path: Path, text: str, line: int, code: str, fix: str) -> None:
    error = refused(tmp_path, text)
    assert error.where == f"{tmp_path}/config.toml:{line}"
    assert error.code == code
    assert fix in error.fix


@pytest.mark.parametrize(
    ("text", "line", "other"),
    [
        ("[provider]\ninterruptible = false\nnotice = '2m'\n", 3, 2),
        ("[provider]\nprice = '0.10/h'\nfloor = '0.11/h'\n", 3, 2),
        ("[provider]\nprice_cap = '0.20/h'\nprice = '0.21/h'\n", 2, 3),
        ("[provider]\nprice = '0.41/h'\nsurge = true\nfloor = '0.10/h'\n", 3, 2),
    ],
)
def test_settings_that_contradict_each_other_are_both_named(tmp_path: Path, text: str, line: int, other: int) -> None:
    error = refused(tmp_path, text)
    assert error.where == f"{tmp_path}/config.toml:{line}"
    assert f"(see {tmp_path}/config.toml:{other})" in error.message
    assert error.code == "contradiction"
    assert error.fix


def test_a_contradiction_names_a_flag_or_variable_as_such(tmp_path: Path) -> None:
    error = refused(tmp_path, environ={"CFAB_PROVIDER_FLOOR": "0.20/h"}, flags={"provider.price": "0.10/h"})
    assert error.where == "$CFAB_PROVIDER_FLOOR"
    assert "(see --price)" in error.message


@pytest.mark.parametrize(
    "text",
    [
        "price = '0.11/h'\nfloor = '0.11/h'\nprice_cap = '0.11/h'\n",
        "interruptible = true\n",
        "interruptible = true\nnotice = '1s'\n",
        "price = '0.40/h'\nsurge = true\nfloor = '0.10/h'\n",
        "jurisdiction = ''\n",
    ],
)
def test_what_only_looks_like_a_contradiction_is_taken(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, "[provider]\n" + text)


def test_every_key_has_its_field_and_its_line_in_the_reference(tmp_path: Path) -> None:
    config = load(tmp_path, CHAIN)
    for section, keys in KEYS.items():
        struct = config if section == "node" else getattr(config, section)
        assert {rule.field for rule in keys.values()} <= set(struct.__struct_fields__)
        assert all(rule.about.endswith(".") and rule.example for rule in keys.values())


def test_every_example_can_be_used(tmp_path: Path) -> None:
    text = CHAIN.replace("31337", "1")
    for section, keys in KEYS.items():
        lines = [f"{key} = {rule.example}" for key, rule in keys.items() if "…" not in rule.example]
        text += "" if section == "chain" else f"[{section}]\n" + "\n".join(lines) + "\n"
    assert load(tmp_path, text, environ={"CFAB_PAYOUT_ADDRESS": OWNER}).provider.surge


def test_what_is_not_toml_is_one_sentence(tmp_path: Path) -> None:
    for content in (b"[node", b"name = unquoted", b"\xff\xfe"):
        (tmp_path / "config.toml").write_bytes(content)
        error = refused(tmp_path)
        assert error.code == "bad_config"
        assert error.where.endswith("config.toml")


def test_mistake_in_a_variable_or_flag_names_it(tmp_path: Path) -> None:
    assert refused(tmp_path, environ={"CFAB_PROVIDER_TICK": "x"}).where == "$CFAB_PROVIDER_TICK"
    assert refused(tmp_path, flags={"provider.price": "x"}).where == "--price"


def test_file_that_was_asked_for_must_exist(tmp_path: Path) -> None:
    assert refused(tmp_path, file=tmp_path / "other.toml").code == "not_found"


def test_provider_needs_a_chain(tmp_path: Path) -> None:
    assert "[chain]" in refused(tmp_path, "[node]\nprovide = true\n").fix
    assert load(tmp_path, "[node]\nprovide = true\n" + CHAIN).provide


def test_a_chain_has_one_endpoint_or_several(tmp_path: Path) -> None:
    one, two = "http://127.0.0.1:8545", "https://rpc.example.org/key"
    assert load(tmp_path, CHAIN).chain.rpc == (one,)  # type: ignore[union-attr]
    several = CHAIN.replace(f'"{one}"', f'["{two}", "{one}"]')
    assert load(tmp_path, several).chain.rpc == (two, one)  # type: ignore[union-attr]
    assert load(tmp_path, CHAIN, environ={"CFAB_CHAIN_RPC": f"{two},{one}"}).chain.rpc == (two, one)  # type: ignore[union-attr]
    for bad in (
        "[]",
        f'["{one}", "{one}"]',
        '["ftp://x"]',
        "3",
        str([f"http://h{i}" for i in range(9)]).replace("'", '"'),
    ):
        with pytest.raises(InvalidRequest):
            load(tmp_path, CHAIN.replace(f'"{one}"', bad))


def test_caps_on_gas_are_told_in_gwei_and_the_limit_in_tokens(tmp_path: Path) -> None:
    chain = load(tmp_path, CHAIN + 'fee_cap = 80\nurgent_fee_cap = 900\ndeposit_limit = "1.5"\n').chain
    assert chain is not None
    assert (chain.fee_cap, chain.urgent_fee_cap, chain.deposit_limit) == (80 * 10**9, 900 * 10**9, 1_500_000)


def test_the_chain_that_the_readme_shows_can_be_used(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    [shown] = [block for block in readme.split("```toml\n")[1:] if "urgent_fee_cap" in block]
    text = shown[: shown.index("```")] + CHAIN.split("\n", 3)[3]
    chain = load(tmp_path, text).chain
    assert chain is not None
    assert (len(chain.rpc), chain.fee_cap, chain.deposit_limit) == (2, 100 * 10**9, 200 * 10**6)
