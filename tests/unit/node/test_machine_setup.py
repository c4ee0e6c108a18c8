"""From what the owner wants and the machine has to what is offered; nothing is offered that is not there."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from market.errors import InvalidRequest
from node import machine_setup
from node.config import GpuChoice, ProviderConfig
from node.machine import Machine
from node.machine_setup import machine_classes
from runtime.ports import EngineInfo, Gpu
from tests.fakes.samples import NOW, SELLER, SETTLEMENT

ENGINE = EngineInfo(
    version="28", runtimes=("runc", "runsc"), cgroup_version=2, rootless=False, storage_driver="overlay2", nvidia=True
)


def a_gpu(index: int, model: str = "NVIDIA H100", **changes: Any) -> Gpu:
    plain = Gpu(index=index, uuid=f"GPU-{index}", model=model, vram_mib=81_559, driver="560", cuda_milli=12_600)
    return replace(plain, **changes)


@pytest.fixture(autouse=True)
def a_large_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_setup.os, "cpu_count", lambda: 64)


def config(kind: str = "auto", **changes: Any) -> ProviderConfig:
    plain = ProviderConfig(gpu=GpuChoice(kind=kind), price=100_000, cpu_milli=2_000)
    return replace(plain, **changes)


def test_without_a_card_the_owner_says_how_many_slots():
    (machine,) = machine_classes(config("none", slots=3), [], ENGINE, SETTLEMENT)
    assert (machine.gpu, machine.slots, machine.gpu_uuids, machine.vram_mib) == ("none", 3, (), 0)
    assert machine.runtimes == ("runc", "runsc")


def test_cards_of_one_model_are_one_machine_with_a_slot_each():
    (machine,) = machine_classes(config(), [a_gpu(1), a_gpu(0)], ENGINE, SETTLEMENT)
    assert (machine.gpu, machine.slots, machine.gpu_uuids) == ("NVIDIA H100", 2, ("GPU-0", "GPU-1"))
    assert (machine.driver, machine.cuda_milli, machine.simulated) == ("560", 12_600, False)


def test_cards_of_two_models_are_two_machines():
    first, second = machine_classes(config(), [a_gpu(0), a_gpu(1, "NVIDIA A100"), a_gpu(2)], ENGINE, SETTLEMENT)
    assert (first.gpu, first.gpu_uuids) == ("NVIDIA A100", ("GPU-1",))
    assert (second.gpu, second.gpu_uuids) == ("NVIDIA H100", ("GPU-0", "GPU-2"))
    assert first.name != second.name


def test_cards_of_one_model_with_different_memory_are_two_machines():
    found = machine_classes(config(), [a_gpu(0), a_gpu(1, vram_mib=40_000)], ENGINE, SETTLEMENT)
    assert [machine.vram_mib for machine in found] == [40_000, 81_559]


def test_a_simulated_card_says_so_and_hands_out_no_device():
    engine = replace(ENGINE, nvidia=False)
    (machine,) = machine_classes(config(), [a_gpu(0, simulated=True)], engine, SETTLEMENT)
    assert (machine.simulated, machine.gpu_uuids) == (True, ())


def test_what_the_owner_says_of_the_machine_is_on_the_tag():
    owner = config(
        region="eu-north", jurisdiction="se", interruptible=True, notice_ms=120_000, speed=1_060, net_mbps=1_000
    )
    (machine,) = machine_classes(owner, [a_gpu(0)], ENGINE, SETTLEMENT)
    offer = Machine(machine, SELLER).post(NOW, ()).record
    assert (offer.region, offer.jurisdiction) == ("eu-north", "se")
    assert (offer.interruptible, offer.notice_ms) == (True, 120_000)
    assert (offer.speed, offer.net_mbps) == (1_060, 1_000)


def test_a_measured_speed_is_not_claimed_for_cards_of_two_models():
    found = machine_classes(config(speed=3_170), [a_gpu(0), a_gpu(1, "NVIDIA T4")], ENGINE, SETTLEMENT)
    assert [machine.speed for machine in found] == [0, 0]


@pytest.mark.parametrize(
    ("owner", "gpus", "engine", "code"),
    [
        (config(), [], ENGINE, "no_gpu"),
        (config(), [a_gpu(0)], replace(ENGINE, nvidia=False), "no_container_toolkit"),
        (config("none", slots=33), [], ENGINE, "too_many_cpus"),
    ],
)
def test_what_the_machine_does_not_have_is_not_offered(owner: Any, gpus: Any, engine: EngineInfo, code: str):
    with pytest.raises(InvalidRequest) as refused:
        machine_classes(owner, gpus, engine, SETTLEMENT)
    assert refused.value.code == code
    assert refused.value.fix


def test_an_engine_with_many_runtimes_still_makes_an_offer_others_accept():
    engine = replace(ENGINE, runtimes=tuple(f"r{number}" for number in range(20)))
    (machine,) = machine_classes(config("none"), [], engine, SETTLEMENT)
    assert len(machine.runtimes) == 8
