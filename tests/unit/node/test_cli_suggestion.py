"""From a change to the flags that make it: coarser flags round towards a match, and the cap that binds is named."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.feasibility import same_model
from market.money import MAX_PRICE, amount_due, parse_hourly_price, parse_tokens
from market.records import Requirements
from node.cli import flag_text
from node.cli.suggestion import change_text, is_as_loose, loosened
from node.cli.typed_job import TypedJob, quote
from node.job_file.gpu import parse_gpu
from node.quantities import parse_cpu_milli, parse_duration_ms, parse_duration_us

PLAIN = {"max_duration": "1h", "max_price": "0.5/h"}


def change(field: str, value: Any) -> dict[str, Any]:
    return {"rule": field, "field": field, "value": value}


def proposed(flags: dict[str, Any], *changes: dict[str, Any], file: str | None = None) -> str | None:
    """The flags that are to change."""
    typed = TypedJob(flags=flags, image="" if file else "image:1", file=file)
    proposal = typed.proposal(typed.request(), changes)
    return proposal.flags if proposal else None


@given(st.integers(0, MAX_PRICE // 2))
def test_a_price_is_never_rounded_below_what_matches(price: int):
    assert price <= parse_hourly_price(flag_text.price_text(price)) <= price + 28 + 1


@given(st.integers(1, 10**9), st.integers(1, 10**10))
def test_a_total_affords_the_price_it_was_made_for(price: int, gpu_ms: int):
    assert parse_tokens(flag_text.total_text(price, gpu_ms)) == amount_due(price, gpu_ms)


@given(st.integers(1, 10**6), st.integers(0, 10**9), st.integers(100, 10**7))
def test_exact_flags_are_read_back_exactly(milli: int, ms: int, us: int):
    assert parse_cpu_milli(flag_text.cores_text(milli)) == milli
    assert parse_duration_ms(flag_text.duration_text(ms)) == ms
    assert us <= parse_duration_us(flag_text.round_trip_text(us)) < us + 100


@given(
    low=st.integers(0, 200_000),
    high=st.one_of(st.just(0), st.integers(1_024, 400_000)),
    slots=st.integers(1, 8),
    models=st.sampled_from([(), ("H100",), ("A100", "RTX4090")]),
)
def test_a_gpu_flag_asks_for_no_more_than_was_meant(low: int, high: int, slots: int, models: tuple[str, ...]):
    if high and high < low:
        return
    needs = Requirements(gpus=models, slots=slots, vram_mib=max(low, 1), vram_max_mib=high)
    read = parse_gpu(flag_text.gpu_text(needs))
    assert (read.models, read.count) == (models, slots)
    assert read.vram_mib <= max(low, 1)
    if not high or high > low + 2_000:
        assert read.vram_mib > max(low, 1) - 954, "one GB of 10⁹ bytes"
    assert (read.vram_max_mib >= high) if high else read.vram_max_mib == 0


@pytest.mark.parametrize(
    "text", ["any", "none", "24GB", "24GB+", "24GB..48GB:2", "A100:80GB:2", "A100,H100:4", "any:3", "RTX4090"]
)
def test_a_gpu_flag_that_was_typed_comes_back_as_it_was(text: str):
    ask = parse_gpu(text)
    needs = Requirements(gpus=ask.models, slots=ask.count, vram_mib=ask.vram_mib, vram_max_mib=ask.vram_max_mib)
    assert flag_text.gpu_text(needs) == text


@pytest.mark.parametrize(
    ("offered", "short"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA GeForce RTX 4090", "RTX4090"),
        ("NVIDIA RTX 4090 Laptop GPU", "RTX4090LAPTOP"),
        ("Tesla T4", "T4"),
        ("A100", "A100"),
    ],
)
def test_a_model_is_named_as_shortly_as_it_is_still_the_same(offered: str, short: str):
    assert flag_text.model_text(offered) == short
    assert same_model(offered, short)


@pytest.mark.parametrize(
    ("flags", "field", "value", "expected"),
    [
        ({}, "max_price", 200_000, "--max-price 0.7200/h"),
        ({"gpu": "H100"}, "gpus", "NVIDIA GeForce RTX 4090", "--gpu H100,RTX4090"),
        ({"gpu": "H100"}, "gpus", ["H100", "Tesla T4"], "--gpu H100,T4"),
        ({"gpu": "any"}, "vram_mib", 0, "without --gpu"),
        ({"gpu": "24GB"}, "vram_max_mib", 81_559, "--gpu 24GB..80GB"),
        ({"cpu": "8", "gpu": "any:2"}, "cpu_milli", 1_500, "--cpu 3"),
        ({"memory": "8GiB"}, "memory_mib", 1_000, "--memory 1.048GB"),
        ({"memory": "8GiB", "shm": "2GiB"}, "memory_mib", 1_024, "--memory 1GiB --shm 1GiB"),
        ({"disk": "100GB"}, "disk_mib", 2_048, "--disk 2GiB"),
        ({"cuda": "12.4"}, "cuda_milli", 12_150, "--cuda 12.1"),
        ({"driver": "550"}, "driver", "535.104.05", "--driver 535.104.05"),
        ({"min_reputation": "0.9"}, "min_reputation", 871, "--min-reputation 0.871"),
        ({"max_rtt": "10ms"}, "max_rtt_us", 12_345, "--max-rtt 12.4ms"),
        ({"max_rtt": "10ms"}, "max_rtt_us", 0, "without --max-rtt"),
        ({"region": ("eu",)}, "regions", ["eu", "us-east"], "--region eu --region us-east"),
        ({"region": ("eu",)}, "regions", "us-east", "--region eu --region us-east"),
        ({"region": ("eu",)}, "regions", [], "without --region"),
        ({"jurisdiction": ("de",)}, "jurisdictions", ["de", "fr"], "--jurisdiction de --jurisdiction fr"),
        ({}, "interruptible", True, "--interruptible"),
        ({}, "allow_simulated", True, "--simulated"),
        ({"interruptible": True, "min_notice": "10m"}, "min_notice_ms", 90_000, "--min-notice 90s"),
        ({"runtime": "runsc"}, "runtime", "", "without --runtime"),
        ({"allow": ("ab" * 32,)}, "allow", ["ab" * 32, "cd" * 32], f"--allow {'ab' * 32} --allow {'cd' * 32}"),
        ({"deny": ("ab" * 32,)}, "deny", [], "without --deny"),
    ],
)
def test_each_field_has_its_flag(flags: dict[str, Any], field: str, value: Any, expected: str):
    assert proposed({**PLAIN, **flags}, change(field, value)) == expected


def test_several_changes_are_one_command():
    flags = {**PLAIN, "region": ("eu",), "cpu": "8"}
    assert (
        proposed(flags, change("regions", ["eu", "us"]), change("max_price", 200_000), change("cpu_milli", 4_000))
        == "--cpu 4 --region eu --region us --max-price 0.7200/h"
    )


def test_fewer_cards_do_not_ask_more_of_each():
    flags = {**PLAIN, "gpu": "A100:4", "cpu": "16", "memory": "64GiB"}
    assert proposed(flags, change("slots", 2)) == "--gpu A100:2 --cpu 8 --memory 32GiB"


@pytest.mark.parametrize(
    ("money", "expected"),
    [
        ({"max_total": "0.1"}, "--max-total 0.720000"),
        ({"max_price": "0.1/h"}, "--max-price 0.7200/h"),
        ({"max_price": "0.1/h", "max_total": "5"}, "--max-price 0.7200/h"),
        ({"max_price": "5/h", "max_total": "0.1"}, "--max-total 0.720000"),
        ({"max_price": "0.2/h", "max_total": "0.1"}, "--max-price 0.7200/h --max-total 0.720000"),
    ],
)
def test_the_cap_that_binds_is_the_one_that_is_named(money: dict[str, str], expected: str):
    assert proposed({"max_duration": "1h", **money}, change("max_price", 200_000)) == expected
    if "max_total" in expected:
        total = change("max_total", amount_due(200_000, 3_600_000))
        assert proposed({"max_duration": "1h", **money}, total, change("max_price", 200_000)) == expected


def test_what_a_file_says_is_overruled_and_what_it_cannot_take_back_is_not_promised(tmp_path: Path):
    job = tmp_path / "job.yaml"
    job.write_text("image: a\nmax_total: 0.1\nmax_duration: 1h\nresources: {runtime: runsc}\nproviders: {region: [eu]}")
    assert proposed({}, change("max_price", 200_000), file=str(job)) == "--max-total 0.720000"
    assert proposed({}, change("regions", ["eu", "us"]), file=str(job)) == "--region eu --region us"
    assert proposed({}, change("runtime", ""), file=str(job)) is None


def test_what_no_flag_can_say_is_not_proposed():
    assert proposed(PLAIN, change("from_the_future", 5)) is None
    assert proposed({**PLAIN, "cpu": "8"}, change("cpu_milli", 0)) == "without --cpu"
    assert proposed({**PLAIN, "gpu": "H100"}, change("gpus", ["H100", "none"])) is None


@pytest.mark.parametrize(
    "word", ["plain", "it's", "a b", "line\nbreak", "tab\tand 'quote'", "\x1b[31m", "ü", "\u202e", "$HOME"]
)
def test_a_shell_reads_a_quoted_word_back(word: str):
    shown = quote(word)
    assert shown.isprintable()
    read = subprocess.run(["bash", "-c", f"printf %s {shown}"], capture_output=True, check=True).stdout
    assert read.decode() == word


def test_a_value_that_looks_like_a_flag_sticks_to_its_own():
    typed = TypedJob(flags={**PLAIN, "name": "-d"}, image="i", command=("-x", "--", "y"))
    assert typed.line() == "cfab run --max-duration 1h --max-price 0.5/h --name=-d i -- -x -- y"


def test_a_looser_job_is_known_from_a_stricter_one():
    typed = TypedJob(flags=PLAIN, image="i")
    request = typed.request()
    dearer = loosened(request, [change("max_price", 10**6)])
    assert is_as_loose(dearer, request)
    assert not is_as_loose(request, dearer)


def test_words_stand_in_where_no_command_is_known():
    assert change_text(change("max_price", 200_000)) == "--max-price 0.7200/h"
    assert change_text(change("max_total", 200_000)) == "--max-total 0.200000"
    assert change_text(change("cpu_milli", 1_500)) == "--cpu 1.5 for each GPU"
    assert change_text(change("regions", ["eu", "us"])) == "regions eu, us"
    assert change_text(change("allow", [])) == "allow any"
    assert change_text(change("interruptible", True)) == "--interruptible"
    assert change_text(change("max_rtt_us", 0)) == "without --max-rtt"
    assert change_text({}) == "None None"
