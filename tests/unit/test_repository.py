"""House rules that a linter does not know: sizes, names, mirrored tests, what may be committed."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("market", "ledger", "runtime", "bootstrap", "node")
MAX_LINES = 400
MAX_MEDIAN_LINES = 150
MAX_FUNCTION_LINES = 40
MAX_POSITIONAL = 5
DUMPING_GROUNDS = {"utils", "util", "helpers", "helper", "manager", "managers", "base", "common", "misc"}
ADAPTERS = {
    "libp2p": "libp2p_",
    "docker": "docker_",
    "pynvml": "nvidia_",
    "web3": "evm_",
    "aiosqlite": "sqlite_",
}
"""A technology, and how the names of the only files that may import it begin."""

TESTED_ELSEWHERE = {
    "bootstrap/libp2p_": "tests/integration/test_network_attacks.py",
    "bootstrap/yamux_stream.py": "tests/unit/bootstrap/test_yamux.py",
    "ledger/deploy.py": "tests/integration/test_evm_chain.py",
    "ledger/evm_account.py": "tests/unit/ledger/test_evm_flights.py",
    "ledger/evm_chain.py": "tests/ports/test_chain.py",
    "node/api_": "tests/unit/node/test_api.py",
    "node/app.py": "tests/integration/test_demo.py",
    "node/cli/": "tests/unit/node/test_cli_commands.py",
    "node/config_": "tests/unit/node/test_config.py",
    "node/cover_duties.py": "tests/simulation/test_top_up.py",
    "node/control.py": "tests/unit/node/test_api.py",
    "node/devnet/": "tests/integration/test_demo.py",
    "node/health.py": "tests/integration/test_demo.py",
    "node/home.py": "tests/unit/node/test_cli_start.py",
    "node/job_file/": "tests/unit/node/test_job_file_checker.py",
    "node/libp2p_network.py": "tests/ports/test_network.py",
    "node/light_client.py": "tests/simulation/test_light.py",
    "node/light_session.py": "tests/integration/test_light_client.py",
    "node/machine_setup.py": "tests/integration/test_demo.py",
    "node/money_at_risk.py": "tests/simulation/test_watchtower.py",
    "node/service.py": "tests/integration/test_demo.py",
    "node/views.py": "tests/integration/test_demo.py",
    "runtime/docker_": "tests/ports/test_engine.py",
    "runtime/job_image.py": "tests/integration/test_docker_images.py",
    "runtime/nvidia_probe.py": "tests/ports/test_gpu_probe.py",
    "runtime/ports.py": "tests/ports/test_engine.py",
    "runtime/simulated_probe.py": "tests/ports/test_gpu_probe.py",
    "runtime/work_volumes.py": "tests/integration/test_docker_volumes.py",
    # The trade itself is a conversation of many parts: it is tested as one, in virtual time, with faults and cheats.
    **dict.fromkeys(
        (
            "node/admission.py",
            "node/auction.py",
            "node/buying.py",
            "node/grant_limits.py",
            "node/job_journal.py",
            "node/job_outcome.py",
            "node/job_packing.py",
            "node/lane_history.py",
            "node/lane_keeper.py",
            "node/lease_board.py",
            "node/lease_driver.py",
            "node/lease_files.py",
            "node/machine.py",
            "node/offer_intake.py",
            "node/offer_poster.py",
            "node/output_folder.py",
            "node/provider_duties.py",
            "node/provider_streams.py",
            "node/requester.py",
            "node/requester_duties.py",
            "node/requester_files.py",
            "node/selling.py",
            "node/system_clock.py",
            "node/trading.py",
        ),
        "tests/simulation/test_one_job.py",
    ),
}
"""Modules (or, by the start of their names, groups of them) without a unit test of their own name, and the test that
exercises them. A new module needs its own test or a line here."""


@cache
def tracked() -> tuple[str, ...]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    return tuple(name for name in listing.stdout.decode().split("\0") if name and (ROOT / name).exists())


def modules() -> list[str]:
    """Our own Python modules, tests left out."""
    return [name for name in tracked() if name.endswith(".py") and name.split("/")[0] in PACKAGES]


@cache
def tree(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text(encoding="utf-8"))


def line_count(name: str) -> int:
    return len((ROOT / name).read_text(encoding="utf-8").splitlines())


def functions(name: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree(name)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def has_code(name: str) -> bool:
    """Whether a module holds behaviour: a file of types, constants and protocols has nothing to test."""
    return any(
        not (len(function.body) == 1 and isinstance(function.body[0], ast.Expr)) and not _is_protocol_verb(function)
        for function in functions(name)
    )


def _is_protocol_verb(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return all(isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant) for part in function.body)


def mirrors(name: str) -> list[Path]:
    """The unit tests that carry a module's name: ``node/cli/run.py`` has ``node/cli/test_run.py`` or
    ``node/test_cli_run.py``."""
    package, *inner = Path(name).with_suffix("").parts
    flat = ROOT / "tests/unit" / package / f"test_{'_'.join(inner)}.py"
    deep = ROOT / "tests/unit" / Path(name).parent / f"test_{inner[-1]}.py"
    return [path for path in (flat, deep) if path.exists()]


def imported(name: str) -> set[str]:
    found = set()
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_the_lock_file_names_only_the_public_index():
    text = (ROOT / "uv.lock").read_text()
    assert set(re.findall(r"[a-z+]+://[^/\"]+", text)) <= {"https://pypi.org", "https://files.pythonhosted.org"}
    assert not re.search(r'(path|directory|url) = "(/|file:)', text)


def test_no_source_file_is_long():
    endings = (".py", ".sh", ".sol", ".js", ".ts", ".tsx", ".css")
    long = {name: line_count(name) for name in tracked() if name.endswith(endings)}
    assert {name: lines for name, lines in long.items() if lines > MAX_LINES} == {}


def test_the_usual_file_is_short():
    assert statistics.median(line_count(name) for name in modules()) <= MAX_MEDIAN_LINES


def test_functions_are_short():
    long = {
        f"{name}:{function.name}": function.end_lineno - function.lineno + 1
        for name in modules()
        for function in functions(name)
        if function.end_lineno is not None and function.end_lineno - function.lineno >= MAX_FUNCTION_LINES
    }
    assert long == {}


def test_functions_take_few_positional_arguments():
    greedy = {
        f"{name}:{function.name}": len(function.args.args)
        for name in modules()
        for function in functions(name)
        if len([a for a in function.args.args if a.arg not in ("self", "cls")]) > MAX_POSITIONAL
    }
    assert greedy == {}


def test_no_module_is_a_dumping_ground():
    names = {name for name in tracked() if name.endswith(".py")}
    assert {name for name in names if set(Path(name).with_suffix("").parts) & DUMPING_GROUNDS} == set()


def test_every_module_says_what_it_is_for():
    silent = [
        name for name in tracked() if name.endswith(".py") and line_count(name) and not ast.get_docstring(tree(name))
    ]
    assert silent == []


def test_every_module_with_behaviour_has_a_test_of_its_name():
    missing = [
        name
        for name in modules()
        if has_code(name)
        and not name.endswith(("__init__.py", "__main__.py"))
        and not mirrors(name)
        and not name.startswith(tuple(TESTED_ELSEWHERE))
    ]
    assert missing == []


def test_exceptions_to_the_mirror_name_what_is_there():
    for start, elsewhere in TESTED_ELSEWHERE.items():
        assert (ROOT / elsewhere).exists(), elsewhere
        assert any(name.startswith(start) for name in modules()), f"{start} names no module"


@pytest.mark.parametrize("technology", ADAPTERS)
def test_only_adapters_import_their_technology(technology: str):
    users = [name for name in modules() if technology in imported(name)]
    assert [name for name in users if not Path(name).name.startswith(ADAPTERS[technology])] == []


def test_nothing_built_is_committed():
    built = re.compile(
        r"(^|/)(__pycache__|node_modules|\.venv|\.uv|dist|build|\.hypothesis|\.mypy_cache)/|\.(pyc|so|egg-info|whl)$"
    )
    assert [name for name in tracked() if built.search(name)] == []


def test_no_path_of_a_developers_machine_is_committed():
    # /home/job is a folder of job images.
    own = re.compile(rb"(?<![\w.])/(?:home/(?!job)|Users/|root/)\w")
    suspects = [name for name in tracked() if own.search((ROOT / name).read_bytes())]
    assert suspects == []


def test_nothing_is_left_open():
    marks = re.compile("|".join((r"\bTO" + "DO", r"\bFIX" + "ME", r"raise NotImpl" + "emented")))
    sources = [name for name in tracked() if name.endswith((".py", ".sol", ".sh", "Makefile"))]
    assert [name for name in sources if marks.search((ROOT / name).read_text(encoding="utf-8"))] == []


def test_every_make_target_says_what_it_does():
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))
    assert targets - set(re.findall(r"^([a-z-]+):.*## \S", text, re.MULTILINE)) == {"setup-test"}


def test_documents_name_only_make_targets_that_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    documents = [name for name in tracked() if name.endswith(".md")]
    named = {word for name in documents for word in re.findall(r"`make ([a-z-]+)", (ROOT / name).read_text())}
    assert named <= targets
