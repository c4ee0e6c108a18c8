"""``cfab job``: write and check job files without a node."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from market.errors import InvalidRequest
from node.cli.options import Command, Group, current_session
from node.cli.terminal import safe

if TYPE_CHECKING:
    from node.job_file import JobRequest

_TEMPLATE = """\
# A job for ComputeFabric. Check it with: cfab job validate {name}     Run it with: cfab submit {name}
version: 1
name: {job}
image: cfab-job-base:local                 # on a market of your own; elsewhere name@sha256:… (tags are never pulled)
command: python3 -c "print('hello from', __import__('platform').node())"
# env: {{EPOCHS: "10"}}                       # the provider can read these: no secrets
resources:
  gpu: {gpu}                               # A100:2 · RTX4090 · A100,H100:2 · 24GB+ · 24GB..48GB:2 · any · none
  cpu: 1
  memory: 1GB
  # cuda: "12.4"                           # oldest CUDA; also driver: "535.104" and runtime: gvisor
# inputs: [{{from: ./data, to: /work/data}}]  # files of this machine → below /work in the job
# outputs: [{{from: /work/out, to: ./out}}]   # the other way round, when the job has ended
max_price: 0.50/h                          # per GPU and hour; never matched above
max_duration: 10m                          # price times this is set aside; what is not used comes back
strategy: lowest_cost                      # best_performance · balanced · high_availability · custom with weights
# weights: {{cost: 60, speed: 20, reliability: 15, latency: 5}}
# expected_duration: 5m@A100               # quicker machines then cost less time; also image_size and waiting_cost
# machines: 3                              # on so many machines of different owners at once, all or none
# quotes: true                             # ask the best for a lower price first
# wait: 10m                                # queue when nothing fits
# providers:
#   region: [eu]                           # where it stands
#   jurisdiction: [eu, ch]                 # whose law it is under
#   max_rtt: 40ms                          # how near it is, measured from here
#   min_reputation: 0.9
#   interruptible: true                    # accept machines that may be taken back
#   min_notice: 2m                         # of that
"""


@click.group(cls=Group)
def job() -> None:
    """Write and check job files."""


@job.command(cls=Command)
@click.argument("file")
def validate(file: str) -> None:
    """Check FILE (- for stdin) and report every mistake with its line, cause and fix. Exit code 3 if there are any."""
    session = current_session()
    from node.job_file.load import load_job, load_job_file

    if file == "-":
        request = load_job(sys.stdin.buffer.read(), file="stdin", folder=Path.cwd())
    else:
        request = load_job_file(Path(file))
    weights, meaning = _ranking(request)
    if session.as_json:
        session.emit(
            {
                "file": file,
                "valid": True,
                "request": request.to_json(),
                "weights": weights,
                "meaning": meaning,
                "notes": _notes(request.spec.image),
            }
        )
        return
    from market.money import format_hourly, format_tokens

    duration, slots = request.spec.max_duration_ms // 1000, request.spec.requirements.slots
    print(f"{safe(file)}: ok")
    session.say(
        f"  costs at most {format_tokens(request.max_total)} tokens: {format_hourly(request.max_price)}"
        f" for {slots} slot{'s' if slots != 1 else ''} and {duration} s"
    )
    session.say(f"  ranked by {request.strategy}: {', '.join(f'{term} {weight}' for term, weight in weights.items())}")
    session.say(f"  {meaning}")
    for note in _notes(request.spec.image):
        session.say(f"  note: {safe(note)}")


@job.command(cls=Command)
@click.argument("file", default="job.yaml")
@click.option("--gpu", default="any", show_default=True, metavar="GPU", help="What to ask for in it.")
def init(file: str, gpu: str) -> None:
    """Write a job file to start from; never overwrites one."""
    session = current_session()
    from node.job_file.gpu import parse_gpu

    parse_gpu(gpu)
    path = Path(file)
    text = _TEMPLATE.format(name=path.name, job=_job_name(path), gpu=gpu if ":" not in gpu else f'"{gpu}"')
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w", encoding="utf-8") as target:
            target.write(text)
    except FileExistsError:
        raise InvalidRequest(
            f"'{file}' is already there and is not overwritten", code="file_exists", fix="name another file"
        ) from None
    if session.as_json:
        session.emit({"file": str(path)})
        return
    print(safe(path))
    session.say(f"  next: cfab submit {safe(path)}")


def _ranking(request: JobRequest) -> tuple[dict[str, int], str]:
    """The weights that a job's offers are ranked by, and what they mean."""
    from market.strategies import TERMS, weights_of
    from node.job_file.ranking import describe_weights

    weights = weights_of(request.strategy, request.weights)
    return dict(zip(TERMS, weights, strict=True)), describe_weights(weights)


def _notes(image: str) -> list[str]:
    """What is no mistake, and yet a surprise on the first run."""
    if "sha256:" in image:
        return []
    return [f"providers never pull a tag: '{image}' runs only where it already is; name@sha256:… is pulled"]


def _job_name(path: Path) -> str:
    word = "".join(ch if ch.isascii() and ch.isalnum() else "-" for ch in path.stem.lower()).strip("-")
    return word[:63].strip("-") or "job"
