"""The flags that describe a job, one for each key of a job file, and the document they make together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from node.job_file.document import Mapping

_SINGLE = {
    "name": ("", "--name"),
    "gpu": ("resources", "--gpu"),
    "cpu": ("resources", "--cpu"),
    "memory": ("resources", "--memory"),
    "disk": ("resources", "--disk"),
    "shm": ("resources", "--shm"),
    "cuda": ("resources", "--cuda"),
    "driver": ("resources", "--driver"),
    "runtime": ("resources", "--runtime"),
    "max_price": ("", "--max-price"),
    "max_duration": ("", "--max-duration"),
    "max_total": ("", "--max-total"),
    "expected_duration": ("", "--expected-duration"),
    "image_size": ("", "--image-size"),
    "waiting_cost": ("", "--waiting-cost"),
    "strategy": ("", "--strategy"),
    "weights": ("", "--weights"),
    "wait": ("", "--wait"),
    "machines": ("", "--machines"),
    "max_rtt": ("providers", "--max-rtt"),
    "min_reputation": ("providers", "--min-reputation"),
    "min_notice": ("providers", "--min-notice"),
}
_REPEATED = {
    "env": ("", "--env"),
    "inputs": ("", "--input"),
    "outputs": ("", "--output"),
    "region": ("providers", "--region"),
    "jurisdiction": ("providers", "--jurisdiction"),
    "allow": ("providers", "--allow"),
    "deny": ("providers", "--deny"),
}
_SWITCHES = {
    "simulated": ("resources", "--simulated"),
    "interruptible": ("providers", "--interruptible"),
    "quotes": ("", "--quotes"),
}
_OPTIONS = (
    click.option("-g", "--gpu", metavar="GPU", help="A100:2, RTX4090, A100,H100:2, 24GB+, any, none."),
    click.option("--cpu", metavar="N", help="CPU cores."),
    click.option("--memory", metavar="SIZE", help="Memory, such as 32GB."),
    click.option("--disk", metavar="SIZE", help="Disk space, such as 100GB."),
    click.option("--shm", metavar="SIZE", help="Shared memory, part of memory."),
    click.option("--cuda", metavar="VERSION", help="Oldest CUDA version, such as 12.4."),
    click.option("--driver", metavar="VERSION", help="Oldest NVIDIA driver, such as 535.104."),
    click.option("--runtime", metavar="NAME", help="Container runtime: runc, gvisor, …"),
    click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="Environment. Never secrets."),
    click.option("-i", "--input", "inputs", multiple=True, metavar="LOCAL:JOB", help="./data:/work/data"),
    click.option("-o", "--output", "outputs", multiple=True, metavar="JOB:LOCAL", help="/work/out:./out"),
    click.option("-t", "--max-duration", metavar="TIME", help="Longest run time, such as 30m."),
    click.option("--max-price", metavar="PRICE", help="Dearest price per GPU-hour, such as 0.40/h."),
    click.option("--max-total", metavar="AMOUNT", help="Most it may cost in all."),
    click.option("--expected-duration", metavar="TIME[@GPU]", help="Likely run time, such as 20m@A100."),
    click.option("--image-size", metavar="SIZE", help="What a machine without the image must fetch."),
    click.option("--waiting-cost", metavar="PRICE", help="What an hour of waiting is worth, such as 0.10/h."),
    click.option(
        "--strategy",
        metavar="NAME",
        help="lowest_cost, best_performance, balanced, high_availability or custom.",
    ),
    click.option("--weights", metavar="TERM=N,…", help="Of custom: cost=60,speed=20,reliability=15,latency=5"),
    click.option("--wait", metavar="TIME", help="How long to queue when nothing fits, such as 10m."),
    click.option("--machines", metavar="N", help="On so many machines of different owners at once, all or none."),
    click.option("--quotes", is_flag=True, help="Ask the best for a lower price first; takes up to 0.3 s."),
    click.option("--region", multiple=True, metavar="REGION", help="Only there."),
    click.option("--jurisdiction", multiple=True, metavar="CODE", help="Only under the law of: de, eu, eea, …"),
    click.option("--max-rtt", metavar="TIME", help="Longest round trip from here, such as 40ms."),
    click.option("--interruptible", is_flag=True, help="Accept machines their owner may take back."),
    click.option("--min-notice", metavar="TIME", help="Of being taken back, such as 2m."),
    click.option("--min-reputation", metavar="SHARE", help="From 0 to 1."),
    click.option("--allow", multiple=True, metavar="KEY", help="Only these nodes."),
    click.option("--deny", multiple=True, metavar="KEY", help="Not these nodes."),
    click.option("--simulated", is_flag=True, help="Accept simulated GPUs (tests and demos)."),
    click.option("--name", metavar="NAME", help="What to call the job."),
)


FLAGS = {name: flag for table in (_SINGLE, _REPEATED, _SWITCHES) for name, (_, flag) in table.items()}
"""Parameter → the flag that sets it."""


def flag_words(flags: dict[str, Any]) -> list[str]:
    """Parameters as they are typed: the opposite of what the parser of the command line does."""
    words: list[str] = []
    for name, value in flags.items():
        flag = FLAGS.get(name) or "--" + name.replace("_", "-")
        if value is True:
            words.append(flag)
            continue
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, str):
                # A value that looks like a flag itself must stick to its own.
                words += [f"{flag}={one}"] if one.startswith("-") else [flag, one]
    return words


def job_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command all flags that describe a job."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def job_document(flags: dict[str, Any], *, image: str, command: tuple[str, ...]) -> Mapping:
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
    for key, (section, flag) in _SWITCHES.items():
        if flags.get(key):
            put(section, key, Scalar("true", Mark(flag=flag)))
    root = Mark(flag="the command line")
    for section in ("resources", "providers"):
        if sections[section]:
            put("", section, Mapping(tuple(sections[section]), root))
    return Mapping(tuple(sections[""]), root)
