"""A job file's mistakes: all at once, each at its place, with a way out, and without showing a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from market.errors import InvalidRequest
from node.job_file import InvalidJob, Mark, Problem, render
from node.job_file.document import Mapping, Scalar
from node.job_file.load import load_job, load_job_file

GOOD = "image: python:3.12\ncommand: x\nmax_price: 1/h\nmax_duration: 1m\n"


def problems(text: str | bytes, folder: Path = Path("/")) -> list[Problem]:
    raw = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(InvalidJob) as error:
        load_job(raw, file="job.yaml", folder=folder)
    return error.value.problems


def the_problem(text: str | bytes, folder: Path = Path("/")) -> Problem:
    found = problems(text, folder)
    assert len(found) == 1, [(one.code, one.message) for one in found]
    return found[0]


def shown(text: str) -> str:
    with pytest.raises(InvalidJob) as error:
        load_job(text.encode(), file="job.yaml", folder=Path("/"))
    return render(error.value)


def test_everything_is_told_at_once_and_in_order() -> None:
    text = """\
name: Finetune
image: pytorch/pytorch:2.6.0
run: python train.py
env:
  HF_TOKEN: hf_abcdef
resources:
  gpu: RTX4900:1
  memroy: 32GB
  disk: 100
max_price: 0.80
max_duration: 6 hours
strategy: cheap
ports: 22:22
"""
    found = [(one.mark.line, one.mark.column, one.code) for one in problems(text)]
    assert found == [
        (1, 7, "invalid_value"),
        (3, 1, "unknown_key"),
        (5, 13, "secret_in_env"),
        (7, 8, "unknown_gpu"),
        (8, 3, "unknown_key"),
        (9, 9, "bad_size"),
        (10, 12, "price_unit"),
        (11, 15, "bad_duration"),
        (12, 11, "invalid_value"),
        (13, 1, "not_supported"),
    ]
    assert all(one.fix for one in problems(text))


def test_rendering_points_a_caret_at_the_cause() -> None:
    assert shown(GOOD + "resources:\n  memroy: 32GB\n").splitlines() == [
        "error[unknown_key]: unknown key 'memroy'",
        "  --> job.yaml:6:3",
        "      6 |   memroy: 32GB",
        "        |   ^^^^^^",
        "   fix: did you mean 'memory'?",
        "",
        "job.yaml: 1 error",
    ]


@pytest.mark.parametrize(
    ("line", "code", "fix"),
    [
        ("accelerators: A100", "unknown_key", "resources.gpu"),
        ("envs: {A: b}", "unknown_key", "env (SkyPilot"),
        ("file_mounts: {}", "unknown_key", "inputs"),
        ("volumes: []", "unknown_key", "inputs and outputs"),
        ("services: {}", "unknown_key", "one job per file"),
        ("memory: 3GB", "unknown_key", "under 'resources:'"),
        ("region: eu", "unknown_key", "under 'providers:'"),
        ("zzz: 1", "unknown_key", "known keys: version"),
        ("resources: {image: x}", "unknown_key", "at the top level"),
        ("secrets: [A]", "not_supported", "keep secrets out"),
        ("ports: [80]", "not_supported", "outputs"),
        ("retry: {attempts: 2}", "not_supported", "again"),
        ("checkpoint: {path: /a}", "not_supported", "outputs"),
        ("strategy: balaned", "invalid_value", "did you mean 'balanced'?"),
        ("strategy: fastest", "invalid_value", "did you mean 'best_performance'?"),
        ("strategy: zzz", "invalid_value", "one of lowest_cost, best_performance"),
        ("strategy: [balanced]", "wrong_type", "strategy: balanced"),
        ("strategy: custom", "missing_key", "weights: {"),
        ("strategy: {cost: 60, sped: 40}", "unknown_key", "did you mean 'speed'?"),
        ("strategy: {cost: 1001}", "invalid_value", "0 to 1000"),
        ("strategy: {cost: 0.5}", "invalid_value", "0 to 1000"),
        ("strategy: {cost: -1}", "invalid_value", "0 to 1000"),
        ("strategy: {cost: [1]}", "invalid_value", "0 to 1000"),
        ("strategy: {cost: 0, speed: 0}", "invalid_value", "cost: 60"),
        ("strategy: {cost: 1, cost: 2}", "duplicate_key", "keep one"),
        ("strategy: {}", "invalid_value", "cost: 60"),
        ("weights: {cost: 1}", "contradiction", "custom"),
        ("weights: 60", "wrong_type", "cost: 60"),
        ("weights: [60, 20, 15, 5]", "wrong_type", "cost: 60"),
        ("resources: {cuda: '12.40'}", "invalid_value", "12.4"),
        ("resources: {cuda: 12.x}", "invalid_value", "12.4"),
        ("resources: {driver: latest}", "invalid_value", "535.104"),
        ("resources: {driver: 1.2.3.4}", "invalid_value", "535.104"),
        ("resources: {runtime: run c}", "invalid_value", "runsc"),
        ("resources: {runtime: [runc]}", "wrong_type", "runtime: "),
        ("resources: {gpu: 48GB..24GB}", "contradiction", "24GB..48GB"),
        ("providers: {jurisdiction: uk}", "unknown_country", "'gb'"),
        ("providers: {jurisdiction: [de, germny]}", "unknown_country", "'de'"),
        ("providers: {jurisdiction: {de: 1}}", "wrong_type", "[eu, ch]"),
        ("providers: {max_rtt: 40}", "bad_duration", "40ms"),
        ("providers: {max_rtt: 0ms}", "invalid_value", "0.1ms to 10s"),
        ("providers: {max_rtt: 11s}", "invalid_value", "0.1ms to 10s"),
        ("providers: {interruptible: maybe}", "invalid_value", "true or false"),
        ("providers: {min_notice: 2m}", "contradiction", "interruptible"),
        ("providers: {interruptible: true, min_notice: 2d}", "invalid_value", "24h"),
        ("providers: {interruptible: true, min_notice: 0s}", "invalid_value", "1s"),
        ("providers: {jurisdicton: eu}", "unknown_key", "did you mean 'jurisdiction'?"),
        ("providers: {interruptable: true}", "unknown_key", "did you mean 'interruptible'?"),
        ("resources: {cude: 12.4}", "unknown_key", "did you mean 'cuda'?"),
        ("expected_duraton: 1m", "unknown_key", "did you mean 'expected_duration'?"),
        ("image_siz: 1GB", "unknown_key", "did you mean 'image_size'?"),
        ("waitng_cost: 1/h", "unknown_key", "did you mean 'waiting_cost'?"),
        ("jurisdiction: eu", "unknown_key", "under 'providers:'"),
        ("cuda: 12.4", "unknown_key", "under 'resources:'"),
        ("use_spot: true", "unknown_key", "providers.interruptible"),
        ("expected_duration: 20", "bad_duration", "unit"),
        ("expected_duration: 0s", "invalid_value", "1s"),
        ("expected_duration: 20m@", "bad_gpu", "A100"),
        ("expected_duration: 30s@A1000", "unknown_gpu", "A100"),
        ("expected_duration: 30s@XYZ9", "unknown_gpu", "say it for one of"),
        ("image_size: 3", "bad_size", "unit"),
        ("image_size: 9999TB", "invalid_value", "3GB"),
        ("waiting_cost: 0.10", "price_unit", "/h"),
        ("resources: {network: internet}", "not_supported", "'none'"),
        ("inputs: [{from: 'https://x/y.tar', to: /work/y}]", "not_supported", "download"),
        ("image: b", "duplicate_key", "keep one"),
        ("resources: 3", "wrong_type", "gpu: A100:2"),
        ("name: [a]", "wrong_type", "name: "),
        ("name:", "invalid_value", "name: "),
        ("version: 2", "invalid_value", "version: 1"),
        ("env: 3", "wrong_type", "env: "),
        ("env: [A]", "invalid_value", "env: "),
        ("env: {A: {b: c}}", "wrong_type", "quote"),
        ("env: {1A: b}", "invalid_value", "letters"),
        ("env: {LD_PRELOAD: /x.so}", "reserved_variable", "inside the command"),
        ("env: {NVIDIA_VISIBLE_DEVICES: all}", "reserved_variable", "inside the command"),
        ("outputs: [/work/out]", "wrong_type", "outputs: "),
        ("outputs: [/etc:./x]", "outside_work", "/work"),
        ("outputs: [/work/../etc:./x]", "invalid_value", "without '..'"),
        ("outputs: [/work2:./x]", "outside_work", "/work"),
        ("inputs: [{from: ./a, to: /work/a, mode: 7}]", "unknown_key", "only 'from' and 'to'"),
        ("providers: {allow: [abc]}", "invalid_value", "64 hex digits"),
        ("providers: {min_reputation: 98}", "invalid_value", "0.98"),
        ("providers: {region: [eu, {}]}", "wrong_type", "region: "),
        ("resources: {simulated: yes}", "invalid_value", "true or false"),
        ("max_total: 0", "invalid_value", "above zero"),
    ],
)  # fmt: skip
def test_mistake_of_one_line(line: str, code: str, fix: str) -> None:
    found = the_problem(GOOD + line + "\n")
    assert (found.code, found.mark.line) == (code, 5)
    assert fix in found.fix


@pytest.mark.parametrize(
    ("gone", "path"),
    [("image: python:3.12\n", "image"), ("max_duration: 1m\n", "max_duration"), ("max_price: 1/h\n", "max_price")],
)
def test_missing_key_is_named_with_an_example(gone: str, path: str) -> None:
    found = the_problem(GOOD.replace(gone, ""))
    assert (found.code, found.path) == ("missing_key", path)
    assert f"{path}: " in found.fix


def test_one_cause_is_one_error() -> None:
    assert [one.code for one in problems(GOOD.replace("max_duration: 1m", "timeout: 1m"))] == ["unknown_key"]


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        (b"image: [\nb: }", "yaml_syntax", 2),
        (b"\ta: b", "yaml_syntax", 1),
        (b"a: b\nc: \x01\n", "bad_character", 2),
        (b"a: b\nc: \xff\n", "not_text", 2),
        (b"", "not_a_mapping", 1),
        (b"- a\n- b\n", "not_a_mapping", 1),
        (b"image: a\n---\nimage: b\n", "two_documents", 2),
        (b"a: &x [1]\nb: *x\n", "alias", 1),
        (b"a: !!python/object/apply:os.system ['true']\n", "tag", 1),
        (b"a: " + b"[" * 50 + b"]" * 50, "too_deep", 1),
        (b"a: " + b"[" * 5000, "too_deep", 1),
        (b"a: [" + b"1," * 20_000 + b"1]", "too_large", 1),
        (b"#" * 300_000, "too_large", 1),
        (b"? [a]\n: b\n", "yaml_syntax", 1),
        (b"a: 1\n? {b: c}\n: d\n", "yaml_syntax", 2),
    ],
)
def test_what_cannot_be_read_is_one_problem(text: bytes, code: str, line: int) -> None:
    found = the_problem(text)
    assert (found.code, found.mark.line) == (code, line)


def test_alias_bomb_is_refused_before_it_grows() -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{new}: &{new} [{','.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert the_problem(bomb).code == "alias"


SECRET = "hf_Zz0123456789abcdefXY"


@pytest.mark.parametrize(
    "text",
    [
        GOOD + f"env: {{HF_TOKEN: {SECRET}, memroy: 1}}\nzzz: {SECRET}\n",
        GOOD + f"env: {{ANYTHING: {SECRET}}}\n",
        GOOD + f"env:\n  DB_PASSWORD: {SECRET}\n  LD_PRELOAD: {SECRET}\n",
        GOOD.replace("command: x", f"command: train --token {SECRET}"),
        GOOD.replace("command: x", f"command: [train, {SECRET}]"),
        GOOD.replace("python:3.12", SECRET),
        GOOD + f"name: {SECRET}\n",
        GOOD + f'env: {{HF_TOKEN: "{SECRET}\n',
        GOOD + f"resources: {{gpu: {SECRET}}}\n",
        GOOD + f"providers: {{region: [{SECRET}]}}\n",
        GOOD + f"{SECRET}: 1\n",
    ],
)
def test_secret_is_spotted_and_never_echoed(text: str) -> None:
    with pytest.raises(InvalidJob) as error:
        load_job(text.encode(), file="job.yaml", folder=Path("/"))
    everything = render(error.value) + error.value.message + error.value.fix + repr(error.value.problems)
    assert SECRET not in everything
    assert SECRET[5:] not in everything


@pytest.mark.parametrize(
    "entry", ["PAD_TOKEN: '<pad>'", "TOKENIZERS_PARALLELISM: 'false'", "MAX_TOKENS: 100000", "KEYS: abcdefghi"]
)
def test_ordinary_variables_are_no_secrets(entry: str) -> None:
    assert load_job((GOOD + f"env:\n  {entry}\n").encode(), file="job.yaml", folder=Path("/")).spec.env


@pytest.mark.parametrize(
    ("text", "line", "also"),
    [
        ("resources:\n  memory: 1GB\n  shm: 2GB\n", 7, 6),
        ("resources:\n  gpu: none\n  simulated: true\n", 7, 6),
        (f"providers:\n  allow: [{'ab' * 32}]\n  deny: [{'AB' * 32}]\n", 7, 6),
        ("outputs:\n  - /work/a:./a\n  - a:./b\n", 7, 6),
        ("outputs:\n  - /work/a:./a\n  - /work/a/b:./b\n", 7, 6),
        ("outputs:\n  - /work/a/b:./a\n  - /work/a:./b\n", 7, 6),
        ("max_total: 0.000001\n", 5, 3),
        ("resources:\n  gpu: none\n  cuda: 12.4\n", 7, 6),
        ("resources:\n  driver: 535\n  gpu: none\n", 6, 7),
        ("resources: {gpu: none}\nexpected_duration: 30s@A100\n", 6, 5),
        ("providers:\n  interruptible: false\n  min_notice: 2m\n", 7, 6),
        ("providers:\n  region: [eu]\n  jurisdiction: [us, jp]\n", 7, 6),
        ("providers:\n  jurisdiction: de\n  region: us-east\n", 6, 7),
        ("providers:\n  region: [uk-south, us]\n  jurisdiction: eea\n", 7, 6),
        ("strategy: balanced\nweights: {cost: 1}\n", 6, 5),
        ("weights: {cost: 1}\nstrategy: {cost: 2}\n", 5, 6),
        ("expected_duration: 2m\n", 5, 4),
        ("expected_duration: 1h@A100\nresources: {gpu: 'T4,RTX3090'}\n", 5, 4),
        ("expected_duration: 1h@A100\n", 5, 4),
    ],
)
def test_contradiction_names_both_lines(text: str, line: int, also: int) -> None:
    found = the_problem(GOOD + text)
    assert found.code == "contradiction"
    assert found.also is not None
    assert (found.mark.line, found.also.line) == (line, also)
    assert f"{also} |" in shown(GOOD + text)
    assert f"and job.yaml:{also}:" in shown(GOOD + text)


@pytest.mark.parametrize(
    "text",
    [
        "resources: {gpu: any, cuda: 12.4, driver: 535}\n",
        "resources: {cuda: 12.4}\n",
        "resources: {memory: 1GB, shm: 1GB}\n",
        "providers: {region: [eu], jurisdiction: [us, ch]}\n",
        "providers: {region: [eu-west], jurisdiction: gb}\n",
        "providers: {region: [sa-east], jurisdiction: br}\n",
        "providers: {region: [us, rack7], jurisdiction: eu}\n",
        "providers: {region: us}\n",
        "providers: {interruptible: true, min_notice: 2m}\n",
        "providers: {interruptible: true}\n",
        "strategy: custom\nweights: {latency: 1}\n",
        "strategy: {speed: 1}\n",
        "expected_duration: 1m\n",
        "expected_duration: 2m@T4\nresources: {gpu: H100}\n",
        "expected_duration: 2m@T4\n",
        "max_total: 0.01\n",
    ],
)
def test_what_only_looks_like_a_contradiction_is_taken(text: str) -> None:
    load_job((GOOD + text).encode(), file="job.yaml", folder=Path("/"))


def test_a_contradiction_between_file_and_flag_names_both() -> None:
    root = Mark(flag="the command line")
    flag = Mark(flag="--weights")
    flags = Mapping(((Scalar("weights", flag), Scalar("cost=60,speed=20", flag, plain=False)),), root)
    with pytest.raises(InvalidJob) as error:
        load_job((GOOD + "strategy: balanced\n").encode(), file="job.yaml", folder=Path("/"), flags=flags)
    assert "--> --weights\n  and job.yaml:5:11\n" in render(error.value)


def test_one_slip_in_a_jurisdiction_is_no_contradiction_too() -> None:
    assert the_problem(GOOD + "providers: {region: eu, jurisdiction: [us, uk]}\n").code == "unknown_country"


def test_terminal_escapes_in_a_file_reach_no_excerpt() -> None:
    assert "\x9b" not in shown(GOOD + "zzz: \u009bm\n")


def test_missing_inputs_and_bad_outputs_are_found_before_any_money_moves(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    text = GOOD + "inputs: [nope:/work/a, file:/work/b]\noutputs: [/work/out:file]\n"
    assert [(one.code, one.mark.line) for one in problems(text, tmp_path)] == [("missing_input", 5), ("bad_output", 6)]


def test_missing_file_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as error:
        load_job_file(tmp_path / "absent.yaml")
    assert error.value.code == "not_found"
    (tmp_path / "train.yaml").touch()
    with pytest.raises(InvalidRequest) as error:
        load_job_file(tmp_path)
    assert error.value.code == "invalid_job_file"
    assert error.value.fix == f"name the file in it: {tmp_path}/train.yaml"
