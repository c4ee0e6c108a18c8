"""From the owner's configuration and what the machine really has, the machines that are offered.

One machine class per GPU model, one slot per card; without a card (``gpu = "none"``) as many slots as the owner says.
Nothing is offered that the machine does not have: CPU, memory and isolation are checked here, before the first offer.
"""

from __future__ import annotations

import os
from itertools import groupby

from msgspec.structs import replace

from market.errors import InvalidRequest
from market.records import PaymentTerms, Settlement
from node.config import ProviderConfig
from node.config_checks import cap_of
from node.machine import MachineClass
from runtime.ports import EngineInfo, Gpu


def machine_classes(
    config: ProviderConfig, gpus: list[Gpu], engine: EngineInfo, settlement: Settlement
) -> list[MachineClass]:
    """What this node sells.

    Raises:
        InvalidRequest: the configuration asks for more than the machine has.
    """
    if config.gpu.kind == "none":
        return [_machine(config, config.machine, [], engine, settlement)]
    if not gpus:
        raise InvalidRequest(
            "no GPU was found on this machine",
            code="no_gpu",
            fix='install the NVIDIA driver, or sell CPU only with gpu = "none" under [provider]',
        )
    if not gpus[0].simulated and not engine.nvidia:
        raise InvalidRequest(
            "the container engine cannot hand GPUs to containers",
            code="no_container_toolkit",
            fix="install the NVIDIA container toolkit (1.17.8 or newer) and restart the engine",
        )
    ordered = sorted(gpus, key=lambda gpu: (gpu.model, gpu.vram_mib, gpu.index))
    groups = [list(group) for _, group in groupby(ordered, key=lambda gpu: (gpu.model, gpu.vram_mib))]
    if len(groups) > 1:
        # The owner's measurement is of one card: with two models it would be a wrong claim for one of them.
        config = replace(config, speed=0)
    return [
        _machine(config, config.machine if index == 0 else f"{config.machine}-{index}", group, engine, settlement)
        for index, group in enumerate(groups)
    ]


def _machine(
    config: ProviderConfig, name: str, gpus: list[Gpu], engine: EngineInfo, settlement: Settlement
) -> MachineClass:
    slots = len(gpus) or config.slots
    _check_cpus(config, slots)
    first = gpus[0] if gpus else None
    return MachineClass(
        name=name,
        gpu=first.model if first else "none",
        simulated=bool(first and first.simulated),
        slots=slots,
        # A simulated card has no device to hand to a container.
        gpu_uuids=tuple(gpu.uuid for gpu in gpus if not gpu.simulated),
        vram_mib=first.vram_mib if first else 0,
        cpu_milli=config.cpu_milli,
        memory_mib=config.memory_mib,
        disk_mib=config.disk_mib,
        price=config.price,
        region=config.region,
        jurisdiction=config.jurisdiction,
        interruptible=config.interruptible,
        notice_ms=config.notice_ms,
        speed=config.speed,
        net_mbps=config.net_mbps,
        surge=config.surge,
        floor=config.floor,
        price_cap=cap_of(config),
        quote_discount=config.quote_discount,
        driver=first.driver if first else "",
        cuda_milli=first.cuda_milli if first else 0,
        runtimes=engine.runtimes[:8],
        isolation="container",
        terms=PaymentTerms(tick_ms=config.tick_ms, grace_ms=config.grace_ms, final_within_ms=config.final_within_ms),
        settlement=settlement,
    )


def _check_cpus(config: ProviderConfig, slots: int) -> None:
    have = (os.cpu_count() or 1) * 1000
    if config.cpu_milli * slots > have:
        raise InvalidRequest(
            f"{slots} slots of {config.cpu_milli / 1000:g} CPUs are more than the {have // 1000} this machine has",
            code="too_many_cpus",
            fix="lower slots or cpu under [provider]",
        )
