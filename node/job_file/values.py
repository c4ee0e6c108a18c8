"""Read one value of a job file. Each reader takes text and returns what it means, or says what is wrong with it.

Pure: names of files are checked for shape here, and for existence in ``build``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from market.errors import InvalidRequest
from market.gang import MAX_MACHINES
from market.money import parse_hourly_price, parse_tokens
from node.job_file.gpu import parse_gpu
from node.job_file.pace import parse_pace
from node.job_file.request import is_plain_path
from node.quantities import parse_cpu_milli, parse_duration_ms, parse_duration_us, parse_size_mib

WORK = "/work"
"""The one folder a job can write and keep: the rest of its file system is read-only (runtime's hardened profile)."""
MIN_DURATION_MS = 1_000
MAX_DURATION_MS = 31 * 86_400_000
MAX_NOTICE_MS = 86_400_000
MAX_IMAGE_MIB = 1_000_000
MIN_RTT_US, MAX_RTT_US = 100, 10_000_000

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_IMAGE = re.compile(
    r"sha256:[0-9a-f]{64}|[a-z0-9]+(?:[._:/-]+[A-Za-z0-9]+)*(?:@sha256:[0-9a-f]{64})?",
)
_FRACTION = re.compile(r"0(\.[0-9]{1,3})?|1(\.0{1,3})?")
_CUDA = re.compile(r"[0-9]{1,2}(\.[0-9])?", re.ASCII)
_DRIVER = re.compile(r"[0-9]{1,4}(\.[0-9]{1,3}){0,2}", re.ASCII)
_RUNTIME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_CALLED = {"gvisor": "runsc", "kata": "kata-runtime"}
"""Runtimes by the name of their project → by the name engines know them by."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_KEY = re.compile(r"[0-9a-f]{64}")


def read_version(text: str) -> int:
    if text != "1":
        raise _wrong(f"version '{text}' is not known here", "version: 1 is the only one so far")
    return 1


def read_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise _wrong(f"'{text}' is not a name", "lower-case letters, digits and '-', at most 63")
    return text


def read_image(text: str) -> str:
    if len(text) > 512 or not _IMAGE.fullmatch(text):
        raise _wrong(f"'{text}' is not an image reference", "for example python:3.12-slim or name@sha256:…")
    return text


def read_size(text: str) -> int:
    """MiB. A trailing ``+`` ("at least") is what every amount means anyway."""
    return parse_size_mib(text.removesuffix("+"))


def read_cpu(text: str) -> int:
    return parse_cpu_milli(text.removesuffix("+"))


def read_duration(text: str) -> int:
    ms = parse_duration_ms(text)
    if not MIN_DURATION_MS <= ms <= MAX_DURATION_MS:
        raise _wrong(f"'{text}' is out of range", "from 1s to 31d")
    return ms


def read_machines(text: str) -> int:
    number = int(text) if re.fullmatch(r"[0-9]{1,3}", text, re.ASCII) else 0
    if not 1 <= number <= MAX_MACHINES:
        raise _wrong(f"'{text}' is not a number of machines", f"a whole number from 1 to {MAX_MACHINES}")
    return number


def read_price(text: str) -> int:
    return parse_hourly_price(text)


def read_money(text: str) -> int:
    amount = parse_tokens(text)
    if not 0 < amount < 2**63:
        raise _wrong(f"'{text}' is out of range", "an amount above zero, such as 4.00")
    return amount


def read_network(text: str) -> str:
    if text == "internet":
        raise InvalidRequest(
            "jobs with internet access are not supported yet",
            code="not_supported",
            fix="use 'none': bring data in as inputs, and what must be installed in the image",
        )
    if text != "none":
        raise _wrong(f"'{text}' is not a network", "'none' is the only one so far")
    return text


def read_bool(text: str) -> bool:
    if text not in ("true", "false"):
        raise _wrong(f"'{text}' is neither true nor false", "write true or false")
    return text == "true"


def read_fraction(text: str) -> int:
    """A share from 0 to 1 as thousandths."""
    if not _FRACTION.fullmatch(text):
        raise _wrong(f"'{text}' is not a share from 0 to 1", "for example 0.98")
    return int(Decimal(text) * 1000)


def read_cuda(text: str) -> int:
    """``12.4`` → 12_400."""
    if not _CUDA.fullmatch(text):
        raise _wrong(f"'{text}' is not a CUDA version", "major and minor, such as 12.4")
    return int(Decimal(text) * 1000)


def read_driver(text: str) -> str:
    if not _DRIVER.fullmatch(text):
        raise _wrong(f"'{text}' is not a driver version", "numbers joined by dots, such as 535.104")
    return text


def read_runtime(text: str) -> str:
    if not _RUNTIME.fullmatch(text):
        raise _wrong(f"'{text}' is not a container runtime", "for example runc, or runsc for gVisor")
    return _CALLED.get(text.lower(), text)


def read_rtt(text: str) -> int:
    """Microseconds."""
    found = parse_duration_us(text)
    if not MIN_RTT_US <= found <= MAX_RTT_US:
        raise _wrong(f"'{text}' is out of range", "from 0.1ms to 10s")
    return found


def read_notice(text: str) -> int:
    ms = parse_duration_ms(text)
    if not MIN_DURATION_MS <= ms <= MAX_NOTICE_MS:
        raise _wrong(f"'{text}' is out of range", "from 1s to 24h")
    return ms


def read_image_size(text: str) -> int:
    """MiB."""
    mib = parse_size_mib(text)
    if mib > MAX_IMAGE_MIB:
        raise _wrong(f"'{text}' is larger than any image", "the size that is pulled, such as 3GB")
    return mib


def read_word(text: str) -> str:
    if not _WORD.fullmatch(text):
        raise _wrong(f"'{text}' is not a region", "for example eu, or eu-north")
    return text


def read_key(text: str) -> str:
    if not _KEY.fullmatch(text.lower()):
        raise _wrong(f"'{text}' is not a node's key", "64 hex digits, as 'cfab offers --json' shows them")
    return text.lower()


def read_variable(name: str) -> str:
    """The name of an environment variable.

    Raises:
        InvalidRequest: not a name, or one that reaches into the GPU toolkit on the provider's host.
    """
    if not _VARIABLE.fullmatch(name) or len(name) > 256:
        raise _wrong(f"'{name}' is not the name of a variable", "letters, digits and '_'")
    if name.startswith(("LD_", "NVIDIA_")):
        raise InvalidRequest(
            f"'{name}' is not allowed: such variables reach into the provider's GPU toolkit",
            code="reserved_variable",
            fix="set it inside the command, as in: env NAME=value python train.py",
        )
    return name


def read_job_path(text: str) -> str:
    """A path inside the job; a relative one is below ``/work``.

    Raises:
        InvalidRequest: not a plain path, or outside ``/work``.
    """
    path = text if text.startswith("/") else f"{WORK}/{text.removeprefix('./')}"
    path = path.rstrip("/") if len(path) > 1 else path
    if len(path) > 512 or not is_plain_path(path):
        raise _wrong(f"'{text}' is not a plain path inside the job", "for example /work/data, without '..'")
    if path != WORK and not path.startswith(WORK + "/"):
        raise InvalidRequest(
            f"'{text}' is outside {WORK}",
            code="outside_work",
            fix=f"a job keeps its files below {WORK}; the rest is read-only",
        )
    return path


SCALAR_READERS: dict[str, Callable[[str], Any]] = {
    "version": read_version,
    "name": read_name,
    "image": read_image,
    "gpu": parse_gpu,
    "cpu": read_cpu,
    "size": read_size,
    "network": read_network,
    "bool": read_bool,
    "price": read_price,
    "machines": read_machines,
    "duration": read_duration,
    "money": read_money,
    "fraction": read_fraction,
    "cuda": read_cuda,
    "driver": read_driver,
    "runtime": read_runtime,
    "rtt": read_rtt,
    "notice": read_notice,
    "pace": parse_pace,
    "image_size": read_image_size,
}


def _wrong(message: str, fix: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_value", fix=fix)
