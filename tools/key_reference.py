"""Write the references of the configuration and of the job file from the tables that read them: no key is left out.

python tools/key_reference.py            write docs/config.md and docs/job-file.md
python tools/key_reference.py --check    write nothing; fail when what is there differs
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from market.pricing import CAP_FLOORS  # noqa: E402 - a script finds the packages beside it, installed or not
from market.strategies import STRATEGIES, TERMS  # noqa: E402
from node.config_keys import KEYS as SETTINGS  # noqa: E402
from node.job_file.ranking import describe_weights  # noqa: E402
from node.job_file.schema import FOREIGN, KEYS, LATER, REQUIRED, Key  # noqa: E402

DOCS = ROOT / "docs"
_CONFIG = """\
# The node's configuration

<!-- Written by tools/key_reference.py from node/config_keys.py. -->

One TOML file, `config.toml` in the node's home (`cfab up -c FILE` names another). A variable `CFAB_<SECTION>_<KEY>`,
such as `CFAB_PROVIDER_PRICE`, wins over the file, and a flag of `cfab up` over both. `cfab config` shows every value
in use and where it came from. Nothing secret belongs in it. A mistake ends the start with its line, its cause and a
way out; settings that contradict each other are told with both places.
"""
_PRICES = f"""\
## What to ask

```
cfab provider price --watts 350 --power-price 0.30/kWh --wear 0.02/h
cfab provider set-price 0.32/h
```

`price` prints what a card costs you (`watts * power price + wear`; put it under `floor`), the quartiles of what others
ask for the same model now, where you stand, and a suggestion: the market's median, never below the floor.

`set-price` holds until the node restarts; the file is not rewritten, so put the price there to keep it. It must lie
between `floor` and `price_cap`. The old tag is honoured for five seconds more, and a running lease keeps the price of
its award to its end.

With `surge = true` the price moves once a minute, by 5 % at most, towards 80 % of the slots in use (over the last
minutes), between `floor` and `price_cap` or {CAP_FLOORS} times the floor. It is off by default: it moves money from
requesters to providers more than it finds the better use of a machine.
"""
_JOB = """\
# The job file

<!-- Written by tools/key_reference.py from node/job_file/schema.py. -->

A job is one YAML 1.2 file (JSON is valid too): `cfab job init` writes one to start from, `cfab job validate FILE`
checks it, `cfab submit FILE` runs it. Every key with a flag can be given to `cfab run` and `cfab submit` instead;
flags win over the file. Units are required: `32GB`, `10m`, `0.50/h`.

All mistakes are told at once, each with its line, its cause and a way out. An unknown key is never ignored.
"""
_RANKING = """\
## Strategies

Offers that fit are ranked by a score of four terms, and the smallest wins:

    score = cost * 1000 * E + R * (speed * (1000 - perf) + reliability * (1000 - rep) + latency * min(rtt, 1000))

*E* is the expected total cost: the price for the expected time on that machine, waiting for its image and for inputs
and outputs, the gas of a payment lane, and the probability of a failure times what it would cost. *R* is what the job
would cost at the going price. *perf* (an A100 has 500) and *rep* are permille, *rtt* milliseconds.
`expected_duration`, `image_size` and `waiting_cost` tell what a node cannot know by itself; they, the price cap,
`max_rtt`, `allow` and `deny` stay with your node. Requirements and weights are gossiped with the bid.
"""
_CONTRADICTIONS = """\
## What contradicts itself

Each of these is refused before anything is bought, with both places:

* a range of GPU memory upside down (`48GB..24GB`);
* `gpu: none` with `cuda`, `driver`, `simulated`, or a card in `expected_duration`;
* `memory` below `shm`;
* `min_notice` without `interruptible: true`;
* `weights` with another strategy than `custom`, or given twice;
* a `region` and a `jurisdiction` that can plainly not go together (`region: us` with `jurisdiction: de`);
* a provider both in `allow` and in `deny`;
* `expected_duration` above `max_duration`, on the quickest card that will do;
* `max_total` that does not pay for one second at `max_price`;
* two outputs of which one lies inside the other.
"""


def config_reference() -> str:
    """All of docs/config.md."""
    lines = [_CONFIG]
    for section, keys in SETTINGS.items():
        lines += [f"## `[{section}]`", "", "| Key | Example | |", "|---|---|---|"]
        lines += [f"| `{key}` | `{key} = {rule.example}` | {rule.about} |" for key, rule in keys.items()]
        lines.append("")
    return "\n".join([*lines, _PRICES])


def job_reference() -> str:
    """All of docs/job-file.md."""
    top = {name: key for name, key in KEYS.items() if isinstance(key, Key)}
    lines = [
        _JOB,
        "## Top level",
        "",
        *_table(top),
        "Required: `image`, `max_duration`, and `max_price` or `max_total`.",
        "",
    ]
    assert set(REQUIRED) == {"image", "max_duration"}
    for name, section in KEYS.items():
        if not isinstance(section, Key):
            lines += [f"## `{name}`", "", *_table(section)]
    lines += [_RANKING, *_strategies(), _CONTRADICTIONS, *_words()]
    return "\n".join(lines)


def _table(keys: dict[str, Key]) -> list[str]:
    lines = ["| Key | Example | Flag | |", "|---|---|---|---|"]
    for name, key in keys.items():
        flag = f"`{key.flag}`" if key.flag else ""
        lines.append(f"| `{name}` | `{name}: {key.example}` | {flag} | {key.about} |")
    return [*lines, ""]


def _strategies() -> list[str]:
    lines = [f"| Strategy | {' | '.join(TERMS)} | |", "|---|" + "---|" * (len(TERMS) + 1)]
    for name, weights in STRATEGIES.items():
        lines.append(f"| `{name}` | {' | '.join(map(str, weights))} | {describe_weights(weights)} |")
    return [*lines, "| `custom` | | | | | your own `weights` |", ""]


def _words() -> list[str]:
    lines = ["## Words of other tools, and keys to come", "", "| You wrote | Say |", "|---|---|"]
    lines += [f"| `{word}` | {meaning} |" for word, meaning in FOREIGN.items()]
    lines += [f"| `{word}` | not supported yet: {instead} |" for word, instead in LATER.items()]
    return [*lines, ""]


def main() -> int:
    """Write or check both documents."""
    wanted = {DOCS / "config.md": config_reference(), DOCS / "job-file.md": job_reference()}
    if "--check" in sys.argv[1:]:
        return int(any(not path.exists() or path.read_text(encoding="utf-8") != text for path, text in wanted.items()))
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
