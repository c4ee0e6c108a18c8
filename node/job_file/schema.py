"""The keys of a job file, on one page: what each takes, an example, and the flag of ``cfab run`` that mirrors it."""

from __future__ import annotations

from msgspec import Struct


class Key(Struct, frozen=True):
    """One key. ``kind`` names its reader in ``values`` or ``lists``; ``flag`` is its command-line twin, if any, and
    ``flag_example`` what to write after it where that differs."""

    kind: str
    example: str
    flag: str = ""
    flag_example: str = ""


Section = dict[str, Key]

RESOURCES: Section = {
    "gpu": Key("gpu", "A100:2", "--gpu"),
    "cpu": Key("cpu", "8+", "--cpu"),
    "memory": Key("size", "32GB", "--memory"),
    "disk": Key("size", "100GB", "--disk"),
    "shm": Key("size", "16GB", "--shm"),
    "network": Key("network", "none"),
    "simulated": Key("bool", "true", "--simulated"),
}
PROVIDERS: Section = {
    "region": Key("words", "[eu]", "--region", "eu"),
    "min_reputation": Key("fraction", "0.98", "--min-reputation"),
    "allow": Key("keys", "[]", "--allow", "NODE_KEY"),
    "deny": Key("keys", "[]", "--deny", "NODE_KEY"),
}
KEYS: dict[str, Key | Section] = {
    "version": Key("version", "1"),
    "name": Key("name", "train-digits", "--name"),
    "image": Key("image", "python:3.12-slim"),
    "command": Key("command", "python train.py"),
    "env": Key("env", "{EPOCHS: 10}", "--env", "EPOCHS=10"),
    "resources": RESOURCES,
    "inputs": Key("inputs", "[{from: ./data, to: /work/data}]", "--input", "./data:/work/data"),
    "outputs": Key("outputs", "[{from: /work/out, to: ./out}]", "--output", "/work/out:./out"),
    "max_price": Key("price", "0.50/h", "--max-price"),
    "max_duration": Key("duration", "1h", "--max-duration"),
    "max_total": Key("money", "4.00", "--max-total"),
    "strategy": Key("strategy", "lowest_cost", "--strategy"),
    "wait": Key("duration", "10m", "--wait"),
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
STRATEGIES_LATER = ("best_performance", "balanced", "high_availability", "custom")
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
    "use_spot": "nothing: offers here say themselves whether they can be interrupted",
}
"""What people bring from other tools → what it is called here."""


def flag_of(path: str) -> str:
    """The flag that mirrors a key given by its dotted path, or empty."""
    section, _, leaf = path.rpartition(".")
    keys = KEYS.get(section) if section else KEYS
    found = keys.get(leaf) if isinstance(keys, dict) else None
    return found.flag if isinstance(found, Key) else ""
