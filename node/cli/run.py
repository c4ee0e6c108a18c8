"""``cfab run`` and ``cfab submit``: from flags or a file to a job, and stay with it until it ends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from node.cli.follow import follow_job, job_exit_code
from node.cli.node_access import connect
from node.cli.options import Command, current_session
from node.cli.terminal import short

if TYPE_CHECKING:
    from collections.abc import Callable

    from node.job_file import JobRequest
    from node.job_file.document import Mapping

_SINGLE = {
    "name": ("", "--name"),
    "gpu": ("resources", "--gpu"),
    "cpu": ("resources", "--cpu"),
    "memory": ("resources", "--memory"),
    "disk": ("resources", "--disk"),
    "shm": ("resources", "--shm"),
    "max_price": ("", "--max-price"),
    "max_duration": ("", "--max-duration"),
    "max_total": ("", "--max-total"),
    "strategy": ("", "--strategy"),
    "wait": ("", "--wait"),
    "min_reputation": ("providers", "--min-reputation"),
}
_REPEATED = {
    "env": ("", "--env"),
    "inputs": ("", "--input"),
    "outputs": ("", "--output"),
    "region": ("providers", "--region"),
    "allow": ("providers", "--allow"),
    "deny": ("providers", "--deny"),
}


def _job_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(
        [
            click.option("-g", "--gpu", metavar="GPU", help="A100:2, RTX4090, A100,H100:2, 24GB+, any, none."),
            click.option("--cpu", metavar="N", help="CPU cores."),
            click.option("--memory", metavar="SIZE", help="Memory, such as 32GB."),
            click.option("--disk", metavar="SIZE", help="Disk space, such as 100GB."),
            click.option("--shm", metavar="SIZE", help="Shared memory, part of memory."),
            click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="Environment. Never secrets."),
            click.option("-i", "--input", "inputs", multiple=True, metavar="LOCAL:JOB", help="./data:/work/data"),
            click.option("-o", "--output", "outputs", multiple=True, metavar="JOB:LOCAL", help="/work/out:./out"),
            click.option("-t", "--max-duration", metavar="TIME", help="Longest run time, such as 30m."),
            click.option("--max-price", metavar="PRICE", help="Dearest price per GPU-hour, such as 0.40/h."),
            click.option("--max-total", metavar="AMOUNT", help="Most it may cost in all."),
            click.option("--strategy", metavar="NAME", help="lowest_cost."),
            click.option("--wait", metavar="TIME", help="How long to queue when nothing fits, such as 10m."),
            click.option("--region", multiple=True, metavar="REGION", help="Only there."),
            click.option("--min-reputation", metavar="SHARE", help="From 0 to 1."),
            click.option("--allow", multiple=True, metavar="KEY", help="Only these nodes."),
            click.option("--deny", multiple=True, metavar="KEY", help="Not these nodes."),
            click.option("--simulated", is_flag=True, help="Accept simulated GPUs (tests and demos)."),
            click.option("--name", metavar="NAME", help="What to call the job."),
            click.option("-d", "--detach", is_flag=True, help="Print the job's id and leave."),
            click.option("--ticks", is_flag=True, help="Also show every payment."),
        ]
    ):
        function = option(function)
    return function


@click.command(cls=Command)
@click.argument("image")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("-f", "--file", "file", metavar="FILE", help="Start from a job file; flags win over it.")
@_job_options
def run(image: str, command: tuple[str, ...], *, file: str | None, detach: bool, ticks: bool, **flags: Any) -> int:
    """Buy a machine for one command and watch it.

    IMAGE is cfab-job-base:local on a market of your own (every 'cfab demo' builds it), elsewhere name@sha256:…: a
    provider pulls by digest only, and runs a tag only where that image already is. Returns the program's own exit
    code, 125 when no machine could be had, paid or kept, and 1 when outputs could not be written. Ctrl-C leaves the
    job running and says how to come back.

    \b
    cfab run -g 24GB+ -t 30m --max-price 0.40/h cfab-job-base:local -- python3 -c 'print("hello")'
    """
    document = _document(flags, image=image, command=command)
    if file is not None:
        from node.job_file.load import load_job_file

        request = load_job_file(Path(file), document)
    else:
        from node.job_file.load import load_flags

        request = load_flags(document)
    return _submit(request, detach=detach, ticks=ticks, mirror=True)


@click.command(cls=Command)
@click.argument("file")
@_job_options
def submit(file: str, detach: bool, ticks: bool, **flags: Any) -> int:
    """Run the job that FILE describes; ``-`` reads it from stdin. Flags win over the file.

    Returns 0 when the job succeeded and its outputs are written, or the code of what went wrong (see 'cfab --help').
    """
    from node.job_file.load import load_job, load_job_file

    document = _document(flags, image="", command=())
    if file == "-":
        request = load_job(sys.stdin.buffer.read(), file="stdin", folder=Path.cwd(), flags=document)
    else:
        request = load_job_file(Path(file), document)
    return _submit(request, detach=detach, ticks=ticks, mirror=False)


def _submit(request: JobRequest, *, detach: bool, ticks: bool, mirror: bool) -> int:
    session = current_session()
    client = connect(session)
    job = str(client.post("jobs", body=request.to_json())["job"])
    if detach:
        if session.as_json:
            session.emit({"job": job})
        else:
            print(job)
            session.say(f"queued · 'cfab logs -f {short(job)}' follows it")
        return 0
    if not session.as_json:
        session.say(f"job {short(job)} · Ctrl-C detaches, 'cfab cancel {short(job)}' stops")
    final = follow_job(client, job, session, ticks=ticks)
    if not session.as_json and final.get("incomplete"):
        session.say("! outputs are not all where they were wanted; the lines marked '!' above say why")
    if not session.as_json and final.get("code") != "no_match":
        session.say(f"  next: cfab receipts {short(job)}")
    return job_exit_code(final, mirror=mirror)


def _document(flags: dict[str, Any], *, image: str, command: tuple[str, ...]) -> Mapping:
    """The flags as the same tree that a job file becomes, so that the same checks apply."""
    from node.job_file.document import Mapping, Node, Scalar, Sequence
    from node.job_file.problem import Mark

    sections: dict[str, list[tuple[Scalar, Node]]] = {"": [], "resources": [], "providers": []}

    def put(section: str, key: str, value: Node) -> None:
        sections[section].append((Scalar(key, value.mark), value))

    if image:
        put("", "image", Scalar(image, Mark(flag="IMAGE"), plain=False))
    if command:
        mark = Mark(flag="-- CMD")
        put("", "command", Sequence(tuple(Scalar(part, mark, plain=False) for part in command), mark))
    for key, (section, flag) in _SINGLE.items():
        if flags.get(key) is not None:
            put(section, key, Scalar(flags[key], Mark(flag=flag), plain=False))
    for key, (section, flag) in _REPEATED.items():
        if flags.get(key):
            mark = Mark(flag=flag)
            put(section, key, Sequence(tuple(Scalar(part, mark, plain=False) for part in flags[key]), mark))
    if flags.get("simulated"):
        put("resources", "simulated", Scalar("true", Mark(flag="--simulated")))
    root = Mark(flag="the command line")
    for section in ("resources", "providers"):
        if sections[section]:
            put("", section, Mapping(tuple(sections[section]), root))
    return Mapping(tuple(sections[""]), root)
