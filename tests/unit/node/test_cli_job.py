"""``cfab job`` and ``cfab config``: no node needed."""

from __future__ import annotations

import re
from pathlib import Path

from node.job_file.schema import KEYS, PROVIDERS, RESOURCES
from runtime.job_image import DEFAULT_TAG
from tests.fakes.cli_runner import cfab

BAD = "image: a\nmemroy: 1GB\nenv: {HF_TOKEN: hf_Zz0123456789abcdefXY}\nmax_price: 1/h\nmax_duration: 1m\n"


def test_template_is_a_valid_job_and_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "My Job.yaml"
    assert cfab(tmp_path, "job", "init", str(path), "--gpu", "A100:2").code == 0
    ended = cfab(tmp_path, "job", "validate", str(path), "--json")
    assert ended.code == 0
    assert ended.json["request"]["name"] == "my-job"
    assert ended.json["request"]["spec"]["requirements"]["gpus"] == ["A100"]
    assert ended.json["request"]["spec"]["image"] == DEFAULT_TAG
    before = path.read_bytes()
    assert cfab(tmp_path, "job", "init", str(path)).code == 1
    assert path.read_bytes() == before


def test_template_is_not_written_for_a_gpu_that_is_none(tmp_path: Path) -> None:
    assert cfab(tmp_path, "job", "init", str(tmp_path / "a.yaml"), "--gpu", "RTX4900").code == 1
    assert not (tmp_path / "a.yaml").exists()


def test_mistakes_are_listed_for_people_and_programs_and_exit_3(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(BAD)
    for words in (("job", "validate", str(path)), ("submit", str(path))):
        ended = cfab(tmp_path, *words)
        assert (ended.code, ended.out) == (3, b"")
        assert f"--> {path}:2:1" in ended.err
        assert "2 errors" in ended.err
        error = cfab(tmp_path, *words, "--json").json["error"]
        assert [(one["line"], one["code"]) for one in error["problems"]] == [(2, "unknown_key"), (3, "secret_in_env")]
        assert "hf_Zz" not in ended.err + str(error)


def test_job_is_read_from_stdin_too(tmp_path: Path) -> None:
    good = b"image: a\nmax_price: 1/h\nmax_duration: 1h\n"
    ended = cfab(tmp_path, "job", "validate", "-", stdin=good)
    assert ended.code == 0
    assert "costs at most 1.000000" in ended.err or "costs at most 0.99" in ended.err
    assert cfab(tmp_path, "job", "validate", "-", stdin=b"x: [").code == 3


def test_what_the_strategy_means_is_said(tmp_path: Path) -> None:
    job = b"image: a\nmax_price: 1/h\nmax_duration: 1h\nstrategy: {cost: 40, latency: 8}\n"
    ended = cfab(tmp_path, "job", "validate", "-", stdin=job)
    assert "ranked by custom: cost 40, speed 0, reliability 0, latency 8" in ended.err
    assert "100 ms less round trip: 2.0 %" in ended.err
    told = cfab(tmp_path, "job", "validate", "-", "--json", stdin=job).json
    assert told["weights"] == {"cost": 40, "speed": 0, "reliability": 0, "latency": 8}
    assert told["meaning"] in ended.err


def test_both_places_of_a_contradiction_are_told_to_programs_too(tmp_path: Path) -> None:
    job = b"image: a\nmax_price: 1/h\nmax_duration: 1m\nexpected_duration: 2m\n"
    (problem,) = cfab(tmp_path, "job", "validate", "-", "--json", stdin=job).json["error"]["problems"]
    assert (problem["code"], problem["line"], problem["also"]["line"]) == ("contradiction", 4, 3)


def test_template_shows_every_key_of_a_wish_and_each_line_of_it_is_right(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    cfab(tmp_path, "job", "init", str(path))
    text = path.read_text()
    for key in (*KEYS, *PROVIDERS, *RESOURCES):
        assert key in text or key in {"network", "simulated", "shm", "disk", "allow", "deny", "max_total"}, key
    awake = re.sub(r"^( *)# (?=[a-z ]+:)", r"\1", text, flags=re.MULTILINE)
    awake = awake.replace("strategy: lowest_cost", "strategy: custom").replace("#   ", "  ").replace("./data", "/tmp")
    awake = awake.replace("machines: 3", "machines: 1")  # quotes are for one machine
    path.write_text(awake.replace("./out", "/tmp/out"))
    ended = cfab(tmp_path, "job", "validate", str(path))
    assert ended.code == 0, ended.err


def test_tag_is_noted_and_a_digest_is_not(tmp_path: Path) -> None:
    for image, noted in (("python:3.12", True), (f"python@sha256:{'ab' * 32}", False)):
        job = f"image: {image}\nmax_price: 1/h\nmax_duration: 1h\n".encode()
        ended = cfab(tmp_path, "job", "validate", "-", stdin=job)
        assert ended.code == 0
        assert ("note: providers never pull a tag" in ended.err) is noted
        assert "for 1 slot and" in ended.err
        assert bool(cfab(tmp_path, "job", "validate", "-", "--json", stdin=job).json["notes"]) is noted


def test_folder_is_no_job_file(tmp_path: Path) -> None:
    ended = cfab(tmp_path, "submit", str(tmp_path))
    assert ended.code == 3
    assert f"name the file in it: {tmp_path}/job.yaml" in ended.err


def test_missing_job_file_exits_4(tmp_path: Path) -> None:
    assert cfab(tmp_path, "submit", str(tmp_path / "absent.yaml")).code == 4


def test_money_in_the_config_is_shown_in_tokens_as_it_is_written(tmp_path: Path) -> None:
    settings = {one["key"]: one["value"] for one in cfab(tmp_path, "config", "--json").json["settings"]}
    assert (settings["provider.redeem_above"], settings["requester.lane_cost"]) == ("10.000000", "0.000000")


def test_config_says_where_each_value_came_from_and_hides_keys_in_addresses(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        '[chain]\nrpc = "https://user:hunter2@rpc.example.org/v3/hunter2?k=hunter2"\nchain_id = 1\n'
        f'escrow = "0x{"0e" * 20}"\ntoken = "0x{"0c" * 20}"\n'
    )
    ended = cfab(tmp_path, "config", "--json", environ={"CFAB_PROVIDER_TICK": "2s"})
    settings = {one["key"]: (one["value"], one["source"]) for one in ended.json["settings"]}
    assert settings["chain.rpc"] == ("https://rpc.example.org/…", "file")
    assert settings["provider.memory"] == ("2GiB", "default")
    assert settings["provider.tick"] == ("2.0 s", "CFAB_PROVIDER_TICK")
    assert settings["node.name"] == ("node", "default")
    assert settings["chain.escrow"][0] == "0x" + "0e" * 20
    assert b"hunter2" not in ended.out + cfab(tmp_path, "config").out
