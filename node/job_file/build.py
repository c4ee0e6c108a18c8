"""From checked values to a :class:`JobRequest`: defaults, shares of each slot, local paths made absolute.

Asks the file system only whether an input is there and an output's folder can be written to: what is found out here
has cost nothing yet. The node reads and writes later.
"""

from __future__ import annotations

import math
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from market.errors import InvalidRequest
from market.money import amount_due
from market.records import JobSpec, Requirements
from market.speeds import REFERENCE
from node.job_file.contradictions import find_contradictions
from node.job_file.document import Scalar
from node.job_file.gpu import GpuAsk
from node.job_file.pace import Pace, work_speed
from node.job_file.ranking import SHORT_FORM
from node.job_file.report import Report
from node.job_file.request import JobRequest, LocalInput, LocalOutput
from node.job_file.values import WORK

DEFAULT_SHM_MIB = 64
_NANO_MS_PER_UNIT = 1_000_000


def build_request(report: Report, *, default_name: str, folder: Path) -> JobRequest | None:
    """Make the request, or add what stands in its way to the report and return None.

    Args:
        report: the outcome of the check.
        default_name: used when the job has no name; the image's name when empty.
        folder: what relative local paths are relative to.
    """
    inputs = _inputs(report, folder)
    outputs = _outputs(report, folder)
    find_contradictions(report)
    if report.problems:
        return None
    values = report.values
    gpu: GpuAsk = values.get("resources.gpu", GpuAsk())
    machines = values.get("machines", 1)
    price, total = _limits(values, gpu.count, machines)
    request = JobRequest(
        name=values.get("name") or _name(default_name or values["image"]),
        spec=_spec(values, gpu, tuple(item.source for item in outputs)),
        max_price=price,
        max_total=total,
        strategy=values.get("strategy", "lowest_cost"),
        weights=values.get(SHORT_FORM, values.get("weights", ())),
        wait_ms=values.get("wait", 0),
        machines=machines,
        inputs=inputs,
        outputs=outputs,
        allow=values.get("providers.allow", ()),
        deny=values.get("providers.deny", ()),
        **_private(values, gpu),
    )
    try:
        return JobRequest.from_json(request.to_json())
    except InvalidRequest as error:
        # A bound of the wire format that no single key is to blame for.
        report.add(error.code, "", report.marks["image"], error.message, error.fix)
        return None


def _private(values: dict[str, Any], gpu: GpuAsk) -> dict[str, Any]:
    """What is wanted or known of the job and never leaves this node."""
    pace: Pace | None = values.get("expected_duration")
    return {
        "max_rtt_us": values.get("providers.max_rtt", 0),
        "work_ms": pace.ms if pace else 0,
        "work_speed": work_speed(pace, gpu) if pace else REFERENCE,
        "image_mib": values.get("image_size", 0),
        "waiting": values.get("waiting_cost"),
        "quotes": values.get("quotes", False),
    }


def _spec(values: dict[str, Any], gpu: GpuAsk, outputs: tuple[str, ...]) -> JobSpec:
    """Amounts in the file are for the whole job; an offer sells slots, so each is shared out among them, rounded up."""
    slots = gpu.count
    requirements = Requirements(
        gpus=gpu.models,
        slots=slots,
        vram_mib=gpu.vram_mib,
        vram_max_mib=gpu.vram_max_mib,
        cpu_milli=math.ceil(values.get("resources.cpu", 0) / slots),
        memory_mib=math.ceil(values.get("resources.memory", 0) / slots),
        disk_mib=math.ceil(values.get("resources.disk", 0) / slots),
        regions=values.get("providers.region", ()),
        jurisdictions=values.get("providers.jurisdiction", ()),
        runtime=values.get("resources.runtime", ""),
        cuda_milli=values.get("resources.cuda", 0),
        driver=values.get("resources.driver", ""),
        interruptible=values.get("providers.interruptible", False),
        min_notice_ms=values.get("providers.min_notice", 0),
        min_reputation=values.get("providers.min_reputation", 0),
        allow_simulated=values.get("resources.simulated", False),
    )
    return JobSpec(
        image=values["image"],
        command=values.get("command", ()),
        env=values.get("env", {}),
        requirements=requirements,
        network=values.get("resources.network", "none"),
        outputs=outputs,
        shm_mib=values.get("resources.shm", DEFAULT_SHM_MIB),
        max_duration_ms=values["max_duration"],
    )


def _limits(values: dict[str, Any], slots: int, machines: int) -> tuple[int, int]:
    """The price cap and the cost cap; the one that is not given follows from the other and the longest duration."""
    gpu_ms = values["max_duration"] * slots
    price, total = values.get("max_price"), values.get("max_total")
    if price is None:
        assert total is not None
        price = total // machines * _NANO_MS_PER_UNIT // gpu_ms
    most = machines * amount_due(price, gpu_ms)
    return price, min(total, most) if total is not None else most


def _inputs(report: Report, folder: Path) -> tuple[LocalInput, ...]:
    found = []
    for written, target in report.values.get("inputs", ()):
        source = _local(written, folder)
        if not (os.path.isfile(source) or os.path.isdir(source)):
            there = "is not a file or folder" if os.path.exists(source) else "does not exist"
            report.add(
                "missing_input",
                "inputs",
                written.mark,
                f"input '{written.text}' {there}",
                "relative paths start at the folder of the job file, or the current one for flags",
            )
        elif not os.access(source, os.R_OK):
            report.add(
                "unreadable_input", "inputs", written.mark, f"input '{written.text}' cannot be read", "allow reading it"
            )
        else:
            single = os.path.isfile(source) and target == WORK
            found.append(LocalInput(source=source, target=f"{WORK}/{os.path.basename(source)}" if single else target))
    return tuple(found)


def _outputs(report: Report, folder: Path) -> tuple[LocalOutput, ...]:
    found = []
    for written, source in report.values.get("outputs", ()):
        destination = _local(written, folder)
        if os.path.exists(destination) and not os.path.isdir(destination):
            report.add(
                "bad_output",
                "outputs",
                written.mark,
                f"'{written.text}' is a file: outputs are written into a folder",
                "name a folder; it is made when needed",
            )
        elif why := _cannot_write(destination):
            report.add(
                "bad_output",
                "outputs",
                written.mark,
                f"'{written.text}' cannot be written to: {why}",
                "name a folder that you may make or write to",
            )
        else:
            found.append(LocalOutput(source=source, destination=destination))
    return tuple(found)


def _cannot_write(folder: str) -> str:
    """Why nothing could be put into a folder, which need not be there yet; empty when all is well.

    A folder that is made and removed again is the only honest answer: rights, mounts and quotas all have their say.
    """
    there = folder
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".cfab-", dir=there))
    except OSError as error:
        return f"{error.strerror} ({there})"
    return ""


def _local(written: Scalar, folder: Path) -> str:
    # A flag is typed in a shell: its paths start where the shell stands, not where the file lies.
    base = Path.cwd() if written.mark.flag else folder
    return os.path.normpath(base / os.path.expanduser(written.text))


def _name(text: str) -> str:
    """A job name out of a file's or an image's name."""
    last = text.partition("@")[0].rpartition("/")[2].partition(":")[0].lower()
    return re.sub(r"[^a-z0-9-]+", "-", last).strip("-")[:63] or "job"
