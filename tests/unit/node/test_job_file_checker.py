"""A job file's mistakes: all at once, each at its place, with a way out, and without showing a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from market.errors import InvalidRequest
from node.job_file import InvalidJob, Problem, render
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
        ("strategy: balanced", "not_supported", "lowest_cost"),
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
    ],
)
def test_contradiction_names_both_lines(text: str, line: int, also: int) -> None:
    found = the_problem(GOOD + text)
    assert found.code == "contradiction"
    assert found.also is not None
    assert (found.mark.line, found.also.line) == (line, also)
    assert f"{also} |" in shown(GOOD + text)


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
