"""docs/config.md and docs/job-file.md hold every key, and what they show can be used."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from node.config_keys import KEYS as SETTINGS
from node.job_file.load import load_job
from node.job_file.schema import KEYS, PROVIDERS, RESOURCES, Key

ROOT = Path(__file__).parents[2]
WRITER = runpy.run_path(str(ROOT / "tools" / "key_reference.py"))
BASE = {"image": "a", "max_price": "1/h", "max_duration": "2h"}
NEEDS = {"weights": {"strategy": "custom"}, "min_notice": {"interruptible": "true"}}
FIT = {"allow": "[]", "deny": "[]"}


@pytest.mark.parametrize(("name", "writer"), [("config.md", "config_reference"), ("job-file.md", "job_reference")])
def test_the_documents_are_what_the_tables_say(name: str, writer: str) -> None:
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert written == WRITER[writer](), "run: python tools/key_reference.py"


def test_every_key_has_its_line() -> None:
    config, job = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("config.md", "job-file.md"))
    assert all(f"\n| `{key}` | " in config for keys in SETTINGS.values() for key in keys)
    assert all(f"\n| `{key}` | " in job for key in (*RESOURCES, *PROVIDERS))
    assert all(f"`{key}`" in job for key in KEYS)


def test_every_key_says_what_it_is() -> None:
    keys = [key for group in (KEYS, RESOURCES, PROVIDERS) for key in group.values() if isinstance(key, Key)]
    assert all(re.search(r"[.,…]$", key.about) for key in keys)


@pytest.mark.parametrize("section", ["", "resources", "providers"])
def test_every_example_is_a_job(section: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    keys = {"": KEYS, "resources": RESOURCES, "providers": PROVIDERS}[section]
    for name, key in keys.items():
        if not isinstance(key, Key):
            continue
        wanted = {name: key.example, **NEEDS.get(name, {})}
        inside = "".join(f"  {one}: {value}\n" for one, value in wanted.items())
        lines = {**BASE, **wanted} if not section else BASE
        text = "".join(f"{one}: {value}\n" for one, value in lines.items()) + (
            f"{section}:\n{inside}" if section else ""
        )
        assert load_job(text.encode(), file="job.yaml", folder=tmp_path), text
