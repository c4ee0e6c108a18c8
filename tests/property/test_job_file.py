"""Whatever a job file holds: a request within bounds or a list of problems, never a crash, never a secret shown."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from market.strategies import weights_of
from node.job_file import InvalidJob, JobRequest, render
from node.job_file.gpu import parse_gpu
from node.job_file.load import load_job
from node.job_file.schema import FOREIGN, KEYS, LATER, PROVIDERS, RESOURCES

WORDS = [*KEYS, *RESOURCES, *PROVIDERS, *FOREIGN, *LATER, "zzz", "HF_TOKEN"]
VALUES = st.sampled_from(
    ["1", "1m", "1/h", "A100:2", "24GB+", "none", "any", "0.5", "32GB", "python:3.12", "lowest_cost", "true", "", "~",
     "[]", "{}", "[a, b]", "{a: b}", "{from: a, to: /work/b}", "[/tmp:/work/a]", "[{from: out, to: /tmp/x}]", "'q'",
     "12.4", "535.104", "eu", "[eu, us]", "40ms", "2m", "20m@A100", "custom", "balanced", "runsc", "0/h",
     "{cost: 60, speed: 20}", "cost=1,latency=2", "{cost: 0}", "{sped: 1}", "false",
     "|\n  x",      "*a", "&a b", "!t x", "-1", "9" * 30]
)  # fmt: skip
LINES = st.lists(st.tuples(st.sampled_from(WORDS), VALUES), max_size=14)
RIGHT = {
    "resources": {
        "gpu": ["A100:2", "24GB..48GB", "none", "any", "T4,H100"], "cuda": ["12.4", "9"], "driver": ["535.104.05"],
        "memory": ["1GB", "64GB"], "shm": ["2GB"], "runtime": ["runc", "gvisor"], "simulated": ["true", "false"],
    },
    "providers": {
        "region": ["[eu]", "us-east", "[rack, de]"], "jurisdiction": ["[eu, ch]", "us"], "max_rtt": ["40ms"],
        "interruptible": ["true", "false"], "min_notice": ["2m"], "allow": [f"[{'a' * 64}]"], "deny": [f"[{'a' * 64}]"],
    },
    "": {
        "strategy": ["custom", "balanced", "{speed: 3}"], "weights": ["{cost: 1}", "speed=1000"],
        "expected_duration": ["30s", "2m", "1h@A100"], "image_size": ["3GB"], "waiting_cost": ["0.1/h"],
        "max_total": ["0.000001", "1"], "wait": ["10m"],
    },
}  # fmt: skip
"""Values that are right each by itself: what is wrong with a job of these is a contradiction."""
SECRETS = st.from_regex(r"(hf_|sk-|ghp_)[A-Za-z0-9]{24}", fullmatch=True)
BASE = "image: a\ncommand: x\nmax_price: 1/h\nmax_duration: 1m\n"


def outcome(raw: bytes) -> JobRequest | InvalidJob:
    try:
        return load_job(raw, file="job.yaml", folder=Path("/"))
    except InvalidJob as error:
        return error


@given(st.binary(max_size=400))
def test_any_bytes_are_a_request_or_problems(raw: bytes) -> None:
    found = outcome(raw)
    assert isinstance(found, JobRequest) or render(found)


@settings(max_examples=400)
@given(LINES)
def test_any_mix_of_keys_and_values_is_a_request_or_problems_with_places(lines: list[tuple[str, str]]) -> None:
    text = "".join(f"{key}: {value}\n" for key, value in lines)
    found = outcome(text.encode())
    if isinstance(found, JobRequest):
        assert JobRequest.from_json(found.to_json()) == JobRequest.from_json(found.to_post()) == found
        assert (
            found.max_total * 1_000_000
            <= found.max_price * found.spec.max_duration_ms * found.spec.requirements.slots + 10**6
        )
        return
    height = text.count("\n") + 1
    assert all(1 <= problem.mark.line <= height and problem.mark.column >= 1 for problem in found.problems)
    assert [problem.mark.line for problem in found.problems] == sorted(problem.mark.line for problem in found.problems)
    assert render(found).endswith("error" + "s" * (len(found.problems) != 1))


@settings(max_examples=400)
@given(st.data())
def test_keys_right_each_by_itself_make_a_request_or_name_the_two_that_clash(data: st.DataObject) -> None:
    chosen = {
        section: data.draw(st.fixed_dictionaries({}, optional={key: st.sampled_from(of) for key, of in keys.items()}))
        for section, keys in RIGHT.items()
    }
    text = BASE
    for section, keys in chosen.items():
        head, indent = (f"{section}:\n", "  ") if section and keys else ("", "")
        text += head + "".join(f"{indent}{key}: {value}\n" for key, value in keys.items())
    found = outcome(text.encode())
    if isinstance(found, JobRequest):
        assert JobRequest.from_json(found.to_json()) == JobRequest.from_json(found.to_post()) == found
        weights_of(found.strategy, found.weights)
        needs = found.spec.requirements
        assert needs.interruptible or not needs.min_notice_ms
        assert needs.gpus != ("none",) or not (needs.cuda_milli or needs.driver or needs.allow_simulated)
        assert not set(found.allow) & set(found.deny)
        return
    assert {problem.code for problem in found.problems} <= {"contradiction", "missing_key"}
    both = [problem for problem in found.problems if problem.also is not None]
    assert all(problem.also != problem.mark for problem in both)
    alone = {problem.path for problem in found.problems} - {problem.path for problem in both}
    assert alone <= {"providers.min_notice", "weights"}, "only what clashes with a default has no second place"


@settings(max_examples=300)
@given(secret=SECRETS, lines=LINES, place=st.integers(0, 10))
def test_secret_is_never_shown_wherever_it_stands(secret: str, lines: list[tuple[str, str]], place: int) -> None:
    placed = [
        f"env: {{HF_TOKEN: {secret}}}", f"env: [A={secret}]", f"command: run {secret}", f"name: {secret}",
        f"resources: {{gpu: {secret}}}", f"zzz: {secret}", f"outputs: [{secret}]", f"strategy: {{{secret}: 1}}",
        f"weights: {secret}=1", f"expected_duration: 1m@{secret}", f"providers: {{jurisdiction: [{secret}]}}",
    ][place]  # fmt: skip
    text = "".join(f"{key}: {value}\n" for key, value in lines) + placed + "\nbroken_key: 1\n"
    found = outcome(text.encode())
    assert isinstance(found, InvalidJob)
    assert secret not in render(found) + found.message + repr(found.problems)


@given(low=st.integers(1, 500), more=st.integers(0, 500), count=st.integers(1, 4096))
def test_gpu_memory_ranges_hold_what_they_say(low: int, more: int, count: int) -> None:
    ask = parse_gpu(f"{low}GB..{low + more}GB:{count}")
    assert ask.count == count
    assert ask.vram_mib <= low * 1024 <= ask.vram_max_mib


@given(st.text(max_size=60))
def test_any_environment_value_arrives_unchanged_or_is_refused(value: str) -> None:
    quoted = "'" + value.replace("'", "''") + "'"
    found = outcome((BASE + f"env: {{A: {quoted}}}\n").encode(errors="surrogatepass"))
    if isinstance(found, JobRequest) and "\n" not in value and value.isprintable():
        assert found.spec.env == {"A": value}
