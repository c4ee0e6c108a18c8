"""The keys of a job file, on one page: what each takes, an example, and the flag of ``cfab run`` that mirrors it."""

from __future__ import annotations

from msgspec import Struct


class Key(Struct, frozen=True):
    """One key. ``kind`` names its reader in ``values``, ``lists`` or ``ranking``; ``flag`` is its command-line twin, if
    any, and ``flag_example`` what to write after it where that differs; ``about`` is its line in docs/job-file.md."""

    kind: str
    example: str
    flag: str = ""
    flag_example: str = ""
    about: str = ""


Section = dict[str, Key]

RESOURCES: Section = {
    "gpu": Key(
        "gpu",
        "A100:2",
        "--gpu",
        about="Models, memory and number of cards: `A100:2`, `A100,H100`, `24GB+`, `24GB..48GB:2`, `A100:80GB:2`,"
        " `any`, or `none` for a machine without one. Not given: any machine will do.",
    ),
    "cpu": Key("cpu", "8+", "--cpu", about="CPU cores of the whole job, shared out among its cards."),
    "memory": Key("size", "32GB", "--memory", about="Memory of the whole job, shared out among its cards."),
    "disk": Key("size", "100GB", "--disk", about="Disk space of the whole job, shared out among its cards."),
    "shm": Key("size", "16GB", "--shm", about="Shared memory, part of `memory`. Default 64MiB."),
    "network": Key("network", "none", about="`none` is the only one so far."),
    "cuda": Key(
        "cuda", '"12.4"', "--cuda", "12.4", about="The oldest CUDA version that the driver must be able to run."
    ),
    "driver": Key("driver", '"535.104"', "--driver", "535.104", about="The oldest NVIDIA driver that will do."),
    "runtime": Key(
        "runtime",
        "runsc",
        "--runtime",
        about="The container runtime the engine must have, as `cfab offers` lists it: `runc`, `runsc` (or `gvisor`), …",
    ),
    "simulated": Key("bool", "true", "--simulated", about="Accept simulated cards, for tests and demos."),
}
PROVIDERS: Section = {
    "region": Key(
        "words", "[eu]", "--region", "eu", about="Where the machine must stand; `eu` holds `eu-north` and its like."
    ),
    "jurisdiction": Key(
        "jurisdictions",
        "[eu, ch]",
        "--jurisdiction",
        "eu",
        about="Whose law the machine must be under: ISO 3166 codes, or the groups `eu` and `eea`.",
    ),
    "max_rtt": Key(
        "rtt",
        "40ms",
        "--max-rtt",
        about="The longest round trip, measured by your own node; one not measured fits none.",
    ),
    "min_reputation": Key("fraction", "0.98", "--min-reputation", about="From 0 to 1, as your own node counts it."),
    "interruptible": Key(
        "bool",
        "true",
        "--interruptible",
        about="Accept machines that their owner may take back during the job. Without it only those fit that are sold"
        " to the end.",
    ),
    "min_notice": Key(
        "notice", "2m", "--min-notice", about="The shortest notice that the owner of such a machine must have promised."
    ),
    "allow": Key("keys", "[]", "--allow", "NODE_KEY", about="Only these providers, by node key."),
    "deny": Key("keys", "[]", "--deny", "NODE_KEY", about="Not these providers."),
}
KEYS: dict[str, Key | Section] = {
    "version": Key("version", "1", about="Of this format; 1 is the only one."),
    "name": Key("name", "train-digits", "--name", about="What to call the job. Default: the file's or image's name."),
    "image": Key("image", "python:3.12-slim", about="What to run. Providers pull `name@sha256:…` and never a tag."),
    "command": Key(
        "command", "python train.py", about="A string is run by `sh -c`, a list as it is. Default: the image's."
    ),
    "env": Key("env", "{EPOCHS: 10}", "--env", "EPOCHS=10", about="Environment. The provider can read it: no secrets."),
    "resources": RESOURCES,
    "inputs": Key(
        "inputs",
        "[{from: ./data, to: /work/data}]",
        "--input",
        "./data:/work/data",
        about="Files and folders of this machine, and where below `/work` the job finds them.",
    ),
    "outputs": Key(
        "outputs",
        "[{from: /work/out, to: ./out}]",
        "--output",
        "/work/out:./out",
        about="Paths of the job that are brought back, and the folders of this machine they go to.",
    ),
    "max_price": Key(
        "price", "0.50/h", "--max-price", about="The dearest price per card and hour. Never told to anybody."
    ),
    "max_duration": Key(
        "duration", "1h", "--max-duration", about="The longest run, from 1s to 31d. Price times this is set aside."
    ),
    "max_total": Key("money", "4.00", "--max-total", about="The most it may cost in all."),
    "expected_duration": Key(
        "pace",
        "20m@A100",
        "--expected-duration",
        about="How long the job is expected to run, and on which card: quicker machines are then reckoned to cost less"
        " time. Without `@` on the first card named in `gpu`, or an A100.",
    ),
    "image_size": Key(
        "image_size", "3GB", "--image-size", about="What a machine must fetch that does not have the image yet."
    ),
    "waiting_cost": Key(
        "price",
        "0.10/h",
        "--waiting-cost",
        about="What an hour of waiting for image, inputs and outputs is worth to you. Default: the going price of a"
        " card.",
    ),
    "strategy": Key(
        "strategy",
        "balanced",
        "--strategy",
        about="How the offers that fit are ranked: `lowest_cost` (default), `best_performance`, `balanced`,"
        " `high_availability`, or `custom` with `weights`. Weights may stand here in its place:"
        " `strategy: {cost: 60, speed: 40}`.",
    ),
    "weights": Key(
        "weights",
        "{cost: 60, speed: 20, reliability: 15, latency: 5}",
        "--weights",
        "cost=60,speed=20,reliability=15,latency=5",
        about="Of `strategy: custom`: whole numbers from 0 to 1000; what is left out is 0.",
    ),
    "wait": Key("duration", "10m", "--wait", about="How long to queue when no offer fits. Default: a few seconds."),
    "machines": Key(
        "machines",
        "3",
        "--machines",
        about="Run it on so many machines of different owners at once, all or none; each gets what `resources` say, and"
        " `max_total` is for all. Each knows its place by `CFAB_GANG_RANK` (from 0) and `CFAB_GANG_SIZE`, and its"
        " outputs go to a folder named by its rank. With `strategy: high_availability` no two are in one region or"
        " network. Default 1, at most 16.",
    ),
    "quotes": Key(
        "bool",
        "true",
        "--quotes",
        about="Ask the best five for a price below their tag, for this job alone; it takes up to 0.3 s.",
    ),
    "providers": PROVIDERS,
}
REQUIRED = {
    "image": "the image to run",
    "max_duration": "how long the job may run: what is set aside for it follows from this",
}
LATER = {
    "workdir": "list the folder under inputs",
    "secrets": "keep secrets out of this job: its provider could read them",
    "ports": "write results to outputs",
    "retry": "submit the job again if it fails",
    "checkpoint": "write intermediate results to outputs",
    "sidecars": "start every process from one command",
    "verify": "check the outputs yourself",
}
"""Keys that are planned. Refused by name: a key that is silently ignored is a promise that is silently broken."""
FOREIGN = {
    "accelerators": "resources.gpu (SkyPilot: accelerators)",
    "gpus": "resources.gpu",
    "gpu": "resources.gpu",
    "envs": "env (SkyPilot: envs)",
    "environment": "env (compose: environment)",
    "run": "command (SkyPilot: run)",
    "setup": "command, or bake it into the image (SkyPilot: setup)",
    "commands": "command (dstack: commands)",
    "entrypoint": "command",
    "cmd": "command",
    "args": "command",
    "image_id": "image (SkyPilot: image_id)",
    "container": "image",
    "file_mounts": "inputs (SkyPilot: file_mounts)",
    "volumes": "inputs and outputs (compose: volumes)",
    "mounts": "inputs and outputs",
    "services": "one job per file: lift the service's image and command to the top (compose, Akash: services)",
    "timeout": "max_duration",
    "price": "max_price",
    "budget": "max_total",
    "use_spot": "providers.interruptible (SkyPilot: use_spot)",
    "spot": "providers.interruptible",
    "spot_policy": "providers.interruptible (dstack: spot_policy)",
}
"""What people bring from other tools → what it is called here."""


def flag_of(path: str) -> str:
    """The flag that mirrors a key given by its dotted path, or empty."""
    section, _, leaf = path.rpartition(".")
    keys = KEYS.get(section) if section else KEYS
    found = keys.get(leaf) if isinstance(keys, dict) else None
    return found.flag if isinstance(found, Key) else ""
