"""A job as its owner asks for it: the spec that may travel, and the limits and local paths that never do.

The JSON form is what ``submit`` sends over the local API; the node checks it again, because a program other than our
CLI may have written it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from market.errors import InvalidRequest
from market.gang import MAX_MACHINES
from market.money import MAX_PRICE
from market.records import Count, JobSpec
from market.speeds import REFERENCE
from market.strategies import CUSTOM, weights_of

MAX_WAIT_MS = 31 * 86_400_000
MAX_NAME = 63
GANG_RANK, GANG_SIZE = "CFAB_GANG_RANK", "CFAB_GANG_SIZE"
"""What a member of a gang finds in its environment: its place, from 0, and how many there are."""
_MAX_ENV = 256
HexKey = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
LocalPath = Annotated[str, Meta(min_length=2, max_length=4096, pattern="^/")]
ContainerPath = Annotated[str, Meta(min_length=2, max_length=512, pattern="^/")]


class LocalInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file or folder of this machine (``source``) and where the job finds it (``target``).

    A folder's content appears under ``target``; a file appears *as* ``target``.
    """

    source: LocalPath
    target: ContainerPath


class LocalOutput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A path inside the job (``source``) and the folder of this machine it is copied to (``destination``)."""

    source: ContainerPath
    destination: LocalPath


class JobRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One job to buy.

    Attributes:
        name: for people; lower-case letters, digits and dashes.
        spec: what shall run. Its ``inputs`` are empty here: the node packs and hashes them; its ``outputs`` are the
            ``source`` paths of ``outputs`` below.
        max_price: nanotokens per GPU-second that are never exceeded.
        max_total: token units this job may cost in all.
        strategy, weights: how to rank the offers that fit (:mod:`market.strategies`); ``weights`` of ``custom`` only.
        wait_ms: how long the job may wait for an offer that fits, from its submission; 0 means a few seconds only.
        allow, deny: node keys in hex; empty ``allow`` means everybody.
        max_rtt_us: the longest round trip that is accepted, in microseconds; 0 for any.
        work_ms, work_speed: how long the job is expected to run on a machine of that speed (1000 is an A100); 0 when
            nobody knows.
        image_mib: what a provider without the image must fetch; 0 when not known.
        waiting: what a second of waiting for bytes is worth, in nanotokens; None: the going price of a slot.
        quotes: ask the best for a price below their tag before one is chosen.
        machines: on how many machines of different owners it runs, all or none; the spec is of one, the total of all.
    """

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,62}$")]
    spec: JobSpec
    max_price: Annotated[int, Meta(ge=0, le=MAX_PRICE)]
    max_total: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    strategy: str = "lowest_cost"
    wait_ms: Annotated[int, Meta(ge=0, le=MAX_WAIT_MS)] = 0
    inputs: Annotated[tuple[LocalInput, ...], Meta(max_length=256)] = ()
    outputs: Annotated[tuple[LocalOutput, ...], Meta(max_length=64)] = ()
    allow: Annotated[tuple[HexKey, ...], Meta(max_length=256)] = ()
    deny: Annotated[tuple[HexKey, ...], Meta(max_length=256)] = ()
    weights: Annotated[tuple[Annotated[int, Meta(ge=0, le=1000)], ...], Meta(max_length=4)] = ()
    max_rtt_us: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    work_ms: Annotated[int, Meta(ge=0, le=31 * 86_400_000)] = 0
    work_speed: Annotated[int, Meta(ge=1, le=1_000_000)] = REFERENCE
    image_mib: Count = 0
    waiting: Annotated[int, Meta(ge=0, le=MAX_PRICE)] | None = None
    quotes: bool = False
    machines: Annotated[int, Meta(ge=1, le=MAX_MACHINES)] = 1

    def to_json(self) -> dict[str, Any]:
        """Plain data for the local API."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def to_post(self) -> dict[str, Any]:
        """The same without what is as usual, so that a node that runs since before a field was added takes the job."""
        return _unusual(self)

    @classmethod
    def from_json(cls, data: Any) -> JobRequest:
        """Read and check what :meth:`to_json` wrote, or what another program wrote in its place.

        Raises:
            InvalidRequest: a field is missing, unknown, mistyped or out of range, or two fields contradict.
        """
        try:
            request = msgspec.convert(data, cls, strict=True)
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"not a job request: {error}", code="invalid_request") from None
        request.check()
        return request

    def check(self) -> None:
        """Raise on what types cannot say.

        Raises:
            InvalidRequest: see the message.
        """
        weights_of(self.strategy, self.weights)
        if self.weights and self.strategy != CUSTOM:
            raise InvalidRequest("weights belong to the strategy 'custom'", code="invalid_request")
        if self.spec.inputs:
            raise InvalidRequest("inputs are named by local path; the node hashes them", code="invalid_request")
        if self.spec.outputs != tuple(item.source for item in self.outputs):
            raise InvalidRequest("spec.outputs and outputs name different paths", code="invalid_request")
        for path in [item.target for item in self.inputs] + [item.source for item in self.outputs]:
            if not is_plain_path(path):
                raise InvalidRequest(f"'{path}' is not a plain absolute path", code="invalid_request")
        if (twice := asked_twice(self.spec.outputs)) is not None:
            raise InvalidRequest(
                f"output '{twice}' is named twice, or lies inside another output",
                code="invalid_request",
                fix="name the outer folder alone",
            )
        if self.machines > 1:
            self._check_gang()

    def _check_gang(self) -> None:
        if self.quotes:
            raise InvalidRequest("a job on several machines cannot ask for quotes", code="invalid_request")
        ours = {GANG_RANK, GANG_SIZE}
        if taken := sorted(ours & self.spec.env.keys()):
            raise InvalidRequest(f"'{taken[0]}' is set for every member of a gang", code="reserved_variable")
        if len(self.spec.env) + len(ours) > _MAX_ENV:
            raise InvalidRequest(f"a gang has room for {_MAX_ENV - len(ours)} variables", code="invalid_request")


def _unusual(struct: Struct) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        if field.required or value != _usual(field):
            plain[field.name] = _unusual(value) if isinstance(value, Struct) else msgspec.to_builtins(value)
    return plain


def _usual(field: msgspec.structs.FieldInfo) -> Any:
    return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()


def is_plain_path(path: str) -> bool:
    """Whether ``path`` is absolute, below the root, and free of ``..``, ``.``, doubled slashes and control characters.

    A path inside a job travels to the provider: anything but the one plain spelling is refused on both sides.
    """
    return (
        path.startswith("/")
        and path != "/"
        and path == posixpath.normpath(path)
        and not path.startswith("//")
        and path.isprintable()
    )


def asked_twice(paths: Sequence[str]) -> str | None:
    """A path that is in the list twice, or lies inside another one of it; None when there is none.

    Each output is packed by itself: one named many times over would take many times the disk it was made on.
    """
    seen: set[str] = set()
    for path in sorted(paths, key=len):
        if any(str(outer) in seen for outer in (PurePosixPath(path), *PurePosixPath(path).parents)):
            return path
        seen.add(path)
    return None
