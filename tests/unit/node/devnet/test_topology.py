"""The written configurations are read back by the node's own reader: what is meant must be what it understands."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from bootstrap.identity import key_of_seed, peer_id_of
from market.feasibility import Candidate, Limits, failures
from market.records import Offer, Settlement
from node.config import NodeConfig, load_config
from node.devnet.topology import INTRODUCER, NODES, PROVIDERS, REQUESTER, ChainFacts, Seat, config_text, newcomer_config
from node.job_file.load import load_job_file
from runtime.job_image import DEFAULT_TAG

CHAIN = ChainFacts(rpc="http://127.0.0.1:8545", chain_id=31337, escrow=b"\xee" * 20, token=b"\xaa" * 20)
JOB = Path(__file__).parents[4] / "examples" / "digits" / "job.yaml"


def seat(name: str, home: Path) -> Seat:
    number = NODES.index(name)
    return Seat(name=name, home=home, port=5000 + number, peer_id=peer_id_of(key_of_seed(bytes([number]) * 32)))


def configured(name: str, home: Path) -> NodeConfig:
    (home / "config.toml").write_text(config_text(seat(name, home), seat(INTRODUCER, home), CHAIN))
    return load_config(home, environ={})


@pytest.mark.parametrize("name", NODES)
def test_every_configuration_is_understood(name: str, tmp_path: Path):
    config = configured(name, tmp_path)
    assert config.name == name
    assert config.introducer is (name == INTRODUCER)
    assert config.provide is (name in PROVIDERS)
    assert config.introducers == (() if name == INTRODUCER else (seat(INTRODUCER, tmp_path).address,))
    assert (config.chain is None) is (name == INTRODUCER)


def test_a_newcomer_can_buy_and_when_told_to_sell(tmp_path: Path):
    (tmp_path / "config.toml").write_text(newcomer_config(seat(INTRODUCER, tmp_path), CHAIN))
    config = load_config(tmp_path, environ={}, flags={"node.provide": True})
    assert config.introducers == (seat(INTRODUCER, tmp_path).address,)
    assert config.listen == ("/ip4/127.0.0.1/tcp/0",), "any number of them can join"
    assert config.chain is not None
    assert (config.chain.rpc, config.chain.escrow, config.chain.confirmations) == ((CHAIN.rpc,), CHAIN.escrow, 0)
    assert config.provider.gpu.kind == "none"


def test_the_example_asks_for_the_image_that_is_there():
    assert load_job_file(JOB).spec.image == DEFAULT_TAG


def test_the_requester_gets_its_rest_back_after_each_job(tmp_path: Path):
    config = configured(REQUESTER, tmp_path)
    assert config.requester.close_lanes
    assert config.chain is not None
    assert (config.chain.escrow, config.chain.token) == (CHAIN.escrow, CHAIN.token)


def test_the_job_finds_one_that_fits_one_too_dear_and_one_simulated(tmp_path: Path):
    job = load_job_file(JOB)
    settlement = Settlement(chain_id=CHAIN.chain_id, escrow=CHAIN.escrow, payee=b"p" * 20)
    limits = Limits(max_price=job.max_price, chain_id=CHAIN.chain_id, escrow=CHAIN.escrow)
    broken = {}
    for name in PROVIDERS:
        shelf = configured(name, tmp_path).provider
        offer = Offer(
            provider=name.encode().ljust(32),
            machine=shelf.machine,
            version=1,
            issued_at=0,
            expires_at=1,
            gpu=shelf.gpu.model or "none",
            simulated=shelf.gpu.kind == "simulated",
            free_slots=shelf.slots,
            total_slots=shelf.slots,
            cpu_milli=shelf.cpu_milli,
            memory_mib=shelf.memory_mib,
            disk_mib=shelf.disk_mib,
            price=shelf.price,
            settlement=settlement,
        )
        broken[name] = failures(Candidate(offer=offer, free_slots=1), job.spec.requirements, limits)
    assert broken == {"north": [], "west": ["price"], "south": ["simulated"]}


def test_strings_cannot_break_out_of_the_file(tmp_path: Path):
    odd = ChainFacts(rpc='http://127.0.0.1:1/"\n[node]', chain_id=1, escrow=b"\xee" * 20, token=b"\xaa" * 20)
    text = config_text(seat(REQUESTER, tmp_path), seat(INTRODUCER, tmp_path), odd)
    assert tomllib.loads(text)["chain"]["rpc"] == odd.rpc
