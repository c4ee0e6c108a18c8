"""From a good job file to the request: units, defaults, limits and paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from market.ask import JobFacts
from market.errors import InvalidRequest
from market.records import Requirements
from market.speeds import speed_of
from market.strategies import STRATEGIES
from node.job_file import InvalidJob, JobRequest
from node.job_file.document import Mapping, Scalar, Sequence
from node.job_file.facts import job_facts
from node.job_file.gpu import GpuAsk, parse_gpu
from node.job_file.load import flag_scalar, load_flags, load_job, load_job_file
from node.job_file.problem import Mark
from node.job_file.ranking import describe_weights
from tests.fakes.samples import an_input

GOOD = "image: python:3.12\ncommand: x\nmax_price: 1/h\nmax_duration: 1m\n"


def load(text: str, folder: Path = Path("/"), flags: Mapping | None = None) -> JobRequest:
    return load_job(text.encode(), file="job.yaml", folder=folder, flags=flags)


def test_every_key_arrives(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "train.py").write_text("pass")
    path = tmp_path / "Fine Tune!.yaml"
    path.write_text(f"""\
version: 1
image: ghcr.io/acme/train:2.6.0-cuda12
command: [python, train.py, "--lr", 3e-4]
env: {{HF_HOME: /cache, ANSWER: no, CLOCK: 22:22, EMPTY: ""}}
resources: {{gpu: "A100:80GB:2", cpu: 7, memory: 32GiB+, disk: 100GB, shm: 1GiB, network: none, simulated: true}}
inputs: [{{from: ./data, to: /work/data}}, ./train.py:/work]
outputs: [{{from: out, to: ./out}}]
max_price: 0.80/gpu-h
max_duration: 6h
max_total: 4.00
strategy: lowest_cost
wait: 10m
providers: {{min_reputation: 0.98, region: [eu, us-east], allow: [{"AB" * 32}], deny: []}}
""")
    request = load_job_file(path)
    spec, needs = request.spec, request.spec.requirements
    assert request.name == "fine-tune"
    assert spec.command == ("python", "train.py", "--lr", "3e-4")
    assert spec.env == {"HF_HOME": "/cache", "ANSWER": "no", "CLOCK": "22:22", "EMPTY": ""}, "YAML 1.2: text stays text"
    assert (needs.gpus, needs.slots, needs.allow_simulated) == (("A100",), 2, True)
    assert (needs.cpu_milli, needs.memory_mib, needs.disk_mib) == (3500, 16 * 1024, 47_684)
    assert (needs.regions, needs.min_reputation) == (("eu", "us-east"), 980)
    assert (spec.shm_mib, spec.network, spec.max_duration_ms) == (1024, "none", 21_600_000)
    assert [(item.source, item.target) for item in request.inputs] == [
        (str(tmp_path / "data"), "/work/data"),
        (str(tmp_path / "train.py"), "/work/train.py"),
    ]
    assert request.outputs[0].destination == str(tmp_path / "out")
    assert spec.outputs == ("/work/out",)
    assert (request.max_price, request.max_total) == (222_222, 4_000_000)
    assert (request.allow, request.deny) == (("ab" * 32,), ())
    assert request.wait_ms == 600_000


def test_every_wish_about_the_machine_and_its_owner_arrives() -> None:
    request = load(
        GOOD
        + """\
resources: {gpu: "24GB..48GB", cuda: "12.4", driver: "535.104", runtime: gVisor}
providers: {region: eu, jurisdiction: [EU, ch], max_rtt: 40ms, interruptible: true, min_notice: 2m}
strategy: custom
weights: {cost: 60, speed: 20, latency: 5}
expected_duration: 20s@H100
image_size: 3GB
waiting_cost: 0.36/h
quotes: true
"""
    )
    needs = request.spec.requirements
    assert (needs.cuda_milli, needs.driver, needs.runtime) == (12_400, "535.104", "runsc")
    assert (needs.regions, needs.jurisdictions) == (("eu",), ("eu", "ch"))
    assert (needs.interruptible, needs.min_notice_ms) == (True, 120_000)
    assert (request.strategy, request.weights, request.max_rtt_us) == ("custom", (60, 20, 0, 5), 40_000)
    assert (request.work_ms, request.work_speed) == (20_000, speed_of("H100"))
    assert (request.image_mib, request.waiting, request.quotes) == (2862, 100_000, True)
    assert JobRequest.from_json(request.to_json()) == request


def test_nothing_said_asks_for_nothing() -> None:
    request = load(GOOD)
    needs = request.spec.requirements
    assert needs == Requirements()
    assert (request.strategy, request.weights, request.max_rtt_us) == ("lowest_cost", (), 0)
    assert job_facts(request, request.spec) == JobFacts(max_ms=60_000, image="python:3.12")


def test_what_stays_at_home_is_not_in_what_travels() -> None:
    private = "providers: {max_rtt: 40ms}\nexpected_duration: 20s\nimage_size: 3GB\nwaiting_cost: 0.36/h\n"
    assert load(GOOD + private).spec == load(GOOD).spec


@pytest.mark.parametrize(
    ("text", "speed"),
    [
        ("expected_duration: 20s\n", 1000),
        ("expected_duration: 20s\nresources: {gpu: 24GB+}\n", 1000),
        ("expected_duration: 20s\nresources: {gpu: none}\n", 1000),
        ("expected_duration: 20s\nresources: {gpu: 'T4,H100'}\n", speed_of("T4")),
        ("expected_duration: 20s@rtx-4090\nresources: {gpu: 'T4,H100'}\n", speed_of("RTX4090")),
    ],
)
def test_an_expected_duration_is_true_for_the_card_it_names(text: str, speed: int) -> None:
    assert load(GOOD + text).work_speed == speed


def test_facts_of_a_job_are_what_its_owner_said_and_what_was_packed() -> None:
    request = load(GOOD + "expected_duration: 30s@A100\nimage_size: 1GiB\nwaiting_cost: 0/h\n")
    packed = replace(request.spec, inputs=(an_input(size=3 << 20), an_input(size=1)))
    facts = job_facts(request, packed)
    assert (facts.moved_mib, facts.image_mib, facts.image) == (4, 1024, "python:3.12")
    assert (facts.max_ms, facts.work_ms, facts.work_speed, facts.waiting) == (60_000, 30_000, 1000, 0)


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("strategy: {cost: 60, speed: 40}\n", (60, 40, 0, 0)),
        ("strategy: custom\nweights: 'latency=5,cost=1000'\n", (1000, 0, 0, 5)),
        ("strategy: custom\nweights: ['speed = 1', reliability=2]\n", (0, 1, 2, 0)),
    ],
)
def test_weights_may_be_written_in_three_ways(text: str, weights: tuple[int, ...]) -> None:
    request = load(GOOD + text)
    assert (request.strategy, request.weights) == ("custom", weights)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_can_be_asked_for(strategy: str) -> None:
    assert (load(GOOD + f"strategy: {strategy}\n").strategy, load(GOOD).weights) == (strategy, ())


def test_weights_are_told_in_words() -> None:
    assert describe_weights(STRATEGIES["lowest_cost"]) == "only the expected cost counts"
    assert "10 more points of speed, of 100: 5.0 %" in describe_weights(STRATEGIES["balanced"])
    assert "reliability, of 100: 3.8 %; 100 ms less round trip: 1.2 %" in describe_weights(STRATEGIES["balanced"])
    assert describe_weights((0, 0, 7, 0)) == "the cost does not count; 10 more points of reliability, of 100: 7"


def test_string_command_is_for_the_shell() -> None:
    assert load(GOOD.replace("command: x", "command: |\n  a && b\n  c")).spec.command == (
        "/bin/sh",
        "-c",
        "a && b\nc\n",
    )


def test_without_command_the_image_decides() -> None:
    assert load(GOOD.replace("command: x\n", "")).spec.command == ()


def test_either_limit_gives_the_other() -> None:
    only_price = load(GOOD + "resources: {gpu: 'any:2'}\n")
    assert only_price.max_total == -(-only_price.max_price * 2 * 60_000 // 1_000_000)
    only_total = load(GOOD.replace("max_price: 1/h", "max_total: 6"))
    assert (only_total.max_price, only_total.max_total) == (100_000_000, 6_000_000)


def test_total_never_exceeds_what_the_price_allows() -> None:
    assert load(GOOD + "max_total: 1000\n").max_total == load(GOOD).max_total


def test_price_cap_is_rounded_down() -> None:
    request = load(GOOD.replace("1/h", "0.35/h"))
    assert request.max_price * 3600 <= 350_000_000


def test_nothing_said_about_gpus_takes_any_machine() -> None:
    needs = load(GOOD).spec.requirements
    assert (needs.gpus, needs.vram_mib, needs.slots, needs.allow_simulated) == ((), 0, 1, False)


@pytest.mark.parametrize(
    ("text", "ask"),
    [
        ("A100", GpuAsk(models=("A100",))),
        ("a100:2", GpuAsk(models=("A100",), count=2)),
        ("rtx-4090", GpuAsk(models=("RTX4090",))),
        ("A100,H100:4", GpuAsk(models=("A100", "H100"), count=4)),
        ("24GB+", GpuAsk(vram_mib=22_888)),
        ("24GB", GpuAsk(vram_mib=22_888, vram_max_mib=24_576)),
        ("24GB..48GB:2", GpuAsk(vram_mib=22_888, vram_max_mib=49_152, count=2)),
        ("A100:80GB+:8", GpuAsk(models=("A100",), vram_mib=76_293, count=8)),
        ("any:3", GpuAsk(vram_mib=1, count=3)),
        ("none", GpuAsk(models=("none",))),
        ("RTX6090", GpuAsk(models=("RTX6090",), vram_mib=0)),
    ],
)
def test_gpu_wishes(text: str, ask: GpuAsk) -> None:
    read = parse_gpu(text)
    if ask.models and ask.models != ("none",) and not ask.vram_mib:
        ask = GpuAsk(models=ask.models, count=ask.count, vram_mib=1)
    assert read == ask


def test_memory_of_real_cards_is_within_what_they_are_sold_as() -> None:
    for reported, sold in ((24_564, 24), (81_559, 80), (40_960, 40), (49_140, 48), (16_376, 16), (143_771, 141)):
        ask = parse_gpu(f"{sold}GB")
        assert ask.vram_mib <= reported <= ask.vram_max_mib, sold


@pytest.mark.parametrize(
    "text",
    ["", ":", "A100:", "A100:0", "A100:2:2", "24", "24GB-", "A100:24GB..", "any,none", "none:2", "A 100", "9" * 99],
)
def test_what_is_no_gpu_wish(text: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        parse_gpu(text)
    assert error.value.code == "bad_gpu"
    assert "24GB+" in error.value.fix


@pytest.mark.parametrize(
    ("slip", "meant"), [("RTX4900", "RTX4090"), ("H1000", "H100"), ("RTX409", "RTX4090"), ("H010", "H100")]
)
def test_slip_of_the_pen_is_named(slip: str, meant: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        parse_gpu(slip)
    assert error.value.code == "unknown_gpu"
    assert meant in error.value.fix


def test_less_at_most_than_at_least_is_a_contradiction() -> None:
    with pytest.raises(InvalidRequest) as error:
        parse_gpu("48GB..24GB")
    assert error.value.code == "contradiction"


def test_flags_win_over_the_file_and_start_where_the_shell_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shell").mkdir()
    (tmp_path / "shell" / "a").touch()
    monkeypatch.chdir(tmp_path / "shell")
    mark = Mark(flag="--input")
    flags = Mapping(
        (
            (flag_scalar("", "max_price"), flag_scalar("--max-price", "0.36/h")),
            (flag_scalar("", "resources"), Mapping(((flag_scalar("", "cpu"), flag_scalar("--cpu", "2")),), mark)),
            (flag_scalar("", "inputs"), Sequence((Scalar("a:/work/a", mark),), mark)),
        ),
        mark,
    )
    request = load(GOOD + "resources: {cpu: 8, memory: 1GiB}\n", folder=Path("/elsewhere"), flags=flags)
    needs = request.spec.requirements
    assert (request.max_price, needs.cpu_milli, needs.memory_mib) == (100_000, 2000, 1024)
    assert request.inputs[0].source == str(tmp_path / "shell" / "a")


def test_mistake_in_a_flag_names_the_flag() -> None:
    root = Mark(flag="the command line")
    with pytest.raises(InvalidJob) as error:
        load_flags(Mapping(((flag_scalar("", "image"), flag_scalar("IMAGE", "a")),), root))
    assert error.value.from_flags
    assert [problem.mark.flag for problem in error.value.problems] == ["--max-duration", "--max-price"]
    assert "--max-duration 1h" in error.value.problems[0].fix


def test_request_survives_its_own_json() -> None:
    request = load(GOOD + f"providers: {{allow: [{'ab' * 32}]}}\n")
    assert JobRequest.from_json(request.to_json()) == request


def test_a_node_is_sent_only_what_is_not_as_usual() -> None:
    """One that runs since before a field was added would refuse the whole job for it."""
    request = load(GOOD)
    sent = request.to_post()
    assert JobRequest.from_json(sent) == request
    assert {"machines", "quotes", "waiting"}.isdisjoint(sent)
    assert "vram_max_mib" not in sent["spec"].get("requirements", {})
    assert sent.items() <= {**request.to_json(), "spec": sent["spec"]}.items()
    assert load(GOOD + "machines: 3\n").to_post()["machines"] == 3


@pytest.mark.parametrize(
    "change",
    [
        {"name": "No Good"},
        {"allow": ["ab"]},
        {"max_price": 2**60},
        {"outputs": [{"source": "/work/a", "destination": "/tmp/a"}]},
        {"spec": {"image": "a", "command": [], "max_duration_ms": 1}},
        {"inputs": [{"source": "/a", "target": "//work"}]},
        {"surprise": 1},
        {"strategy": "zzz"},
        {"strategy": "custom"},
        {"strategy": "custom", "weights": [0, 0, 0, 0]},
        {"strategy": "custom", "weights": [1, 2, 3]},
        {"strategy": "custom", "weights": [1, 2, 3, 1001]},
        {"weights": [1, 2, 3, 4]},
        {"max_rtt_us": -1},
        {"work_speed": 0},
        {"work_ms": 32 * 86_400_000},
        {"image_mib": 10**7},
        {"waiting": -1},
    ],
)
def test_request_of_another_program_is_checked_again(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        JobRequest.from_json({**load(GOOD).to_json(), **change})


def test_what_a_gang_may_cost_is_for_all_of_it() -> None:
    single, gang = load(GOOD), load(GOOD + "machines: 3\n")
    assert (single.machines, gang.machines) == (1, 3)
    assert (gang.max_price, gang.max_total) == (single.max_price, 3 * single.max_total)
    by_total = load(GOOD.replace("max_price: 1/h", "max_total: 6") + "machines: 3\n")
    assert (by_total.max_price, by_total.max_total) == (33_333_333, 6_000_000)


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        ("machines: 0\n", "invalid_value", "machines"),
        ("machines: 17\n", "invalid_value", "machines"),
        ("machines: two\n", "invalid_value", "machines"),
        ("machines: 2\nquotes: true\n", "contradiction", "quotes"),
        ("machines: 3\nenv: {CFAB_GANG_RANK: 0}\n", "reserved_variable", ""),
        ("machines: 10\nmax_total: 0.001\n", "contradiction", "max_total"),
    ],
)
def test_a_gang_that_makes_no_sense_is_refused(text: str, code: str, place: str) -> None:
    with pytest.raises(InvalidJob) as refused:
        load(GOOD + text)
    assert [(one.code, one.path) for one in refused.value.problems] == [(code, place)]


def test_a_gang_has_room_for_its_own_variables() -> None:
    def with_variables(count: int) -> JobRequest:
        return load(GOOD + "machines: 2\nenv: {" + ", ".join(f"V{n}: x" for n in range(count)) + "}\n")

    assert len(with_variables(254).spec.env) == 254
    with pytest.raises(InvalidJob):
        with_variables(255)
