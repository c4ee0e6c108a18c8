"""Money in and out from the command line, against a scripted node over a real socket."""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bootstrap import wallet as wallet_file
from market.errors import InvalidRequest
from tests.fakes.cli_runner import cfab, on_terminal
from tests.fakes.scripted_control import ScriptedControl, served
from tests.fakes.scripted_wallet import HASH, OWNER, PAYEE, PAYER, ScriptedWallet


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def wallet(home: Path) -> Iterator[ScriptedWallet]:
    node = ScriptedControl()
    with served(node, home / "api.sock"):
        yield node.wallet_desk


def test_balance_shows_each_lane_what_is_reserved_and_when_an_exit_is_due(wallet: ScriptedWallet, home: Path) -> None:
    shown = cfab(home, "wallet", "balance").out.decode()
    for words in ("RESERVED", "EXIT DUE", "PAID BY", "0x05 gets the earnings", "0.000010 tokens may still be spent"):
        assert words in shown, words
    view = cfab(home, "wallet", "balance", "--json").json
    assert view["lanes"][0]["reserved"]["units"] == 1_000_000


def test_a_deposit_shows_its_cost_and_asks(wallet: ScriptedWallet, home: Path) -> None:
    with on_terminal(home, "wallet", "deposit", "abab", "2.5") as terminal:
        seen = terminal.wait_for("deposit now?")
        assert b"at most 0.000230000 of the chain's coin" in seen
        assert b"else after 24 h 0 m" in seen
        terminal.type("n\n")
        code, seen = terminal.finish()
    assert (code, wallet.calls) == (7, [])
    assert b"nothing was done" in seen
    with on_terminal(home, "wallet", "deposit", "abab", "2.5") as terminal:
        terminal.wait_for("deposit now?")
        terminal.type("y\n")
        code, seen = terminal.finish()
    assert code == 0
    assert wallet.calls == [f"deposit {PAYEE} 2.5"]
    assert HASH.encode() in seen


@pytest.mark.parametrize(("words", "who"), [((), "any account that holds"), (("--from", PAYER), PAYER)])
def test_the_account_that_gave_the_approval_is_the_one_to_send_from(
    words: tuple[str, ...], who: str, wallet: ScriptedWallet, home: Path
) -> None:
    assert f"from {who}" in cfab(home, "wallet", "deposit", "abab", "2.5", "--print", *words).err


@pytest.mark.parametrize("command", [("wallet", "history"), ("provider", "earnings")])
def test_csv_and_json_exclude_each_other(command: tuple[str, ...], wallet: ScriptedWallet, home: Path) -> None:
    ended = cfab(home, *command, "--csv", "--json")
    assert (ended.code, ended.json["error"]["code"]) == (2, "usage")


def test_a_negative_amount_is_told_apart_from_an_option(wallet: ScriptedWallet, home: Path) -> None:
    ended = cfab(home, "wallet", "deposit", "abab", "-1")
    assert ended.code == 2
    assert "a number here is not negative" in ended.err


@pytest.mark.parametrize("amount", ["", "abc", "1,5", "1e30", "0.0000001"])
@pytest.mark.parametrize("command", [("wallet", "deposit", "abab"), ("stake", "add")])
def test_what_is_no_amount_is_refused_before_the_node_is_asked(
    command: tuple[str, ...], amount: str, wallet: ScriptedWallet, home: Path
) -> None:
    ended = cfab(home, *command, amount, "--yes")
    assert (ended.code, wallet.calls) == (2, [])
    assert "AMOUNT: " in ended.err


def test_nobody_to_ask_means_nothing_is_sent(wallet: ScriptedWallet, home: Path) -> None:
    ended = cfab(home, "wallet", "deposit", "abab", "2.5")
    assert ended.code == 2
    assert "--yes" in ended.err
    assert wallet.calls == []
    assert cfab(home, "wallet", "deposit", "abab", "2.5", "--yes", "--json").json["transaction"] == HASH
    assert cfab(home, "wallet", "deposit", "unknown", "2.5", "--yes").code == 4


def test_a_deposit_beyond_the_wallet_stops_before_the_question(
    wallet: ScriptedWallet, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = wallet.plan_deposit

    async def short(*arguments: Any, **named: Any) -> Any:
        return {**await plan(*arguments, **named), "tokens": {"amount": "1.000000", "units": 1_000_000}}

    monkeypatch.setattr(wallet, "plan_deposit", short)
    assert cfab(home, "wallet", "deposit", "abab", "2.5", "--yes").code == 6
    assert wallet.calls == []


def test_print_writes_the_transactions_for_a_hardware_wallet_and_sends_nothing(
    wallet: ScriptedWallet, home: Path
) -> None:
    ended = cfab(home, "wallet", "deposit", "abab", "2.5", "--print", "--from", OWNER)
    assert ended.code == 0
    lines = [line.split() for line in ended.out.decode().splitlines()]
    assert [line[1] for line in lines if line[0] in ("1.", "2.")] == ["approve", "deposit"]
    assert [line[0] for line in lines[1:6]] == ["to", "data", "value", "chain_id", "gas"]
    assert PAYER in ended.err
    plan = cfab(home, "wallet", "deposit", "abab", "2.5", "--print", "--json").json
    assert [one["what"] for one in plan["transactions"]] == ["approve", "deposit"]
    assert wallet.calls == []
    assert cfab(home, "wallet", "deposit", "abab", "2.5", "--from", OWNER).code == 2


def test_withdraw_and_its_old_word(wallet: ScriptedWallet, home: Path) -> None:
    shown = cfab(home, "wallet", "withdraw", "abab").out.decode()
    assert "closed together with the provider: 2.500000 tokens are back" in shown
    wallet.returned = False
    assert "our exit runs" in cfab(home, "wallet", "exit", "abab", "--alone").out.decode()
    assert cfab(home, "wallet", "withdraw", "abab", "--json").json["finished"] is False
    assert wallet.calls == ["withdraw abab", "withdraw abab alone", "withdraw abab"]
    wallet.fail["withdraw"] = InvalidRequest("a lease still pays from this lane", code="lane_in_use", fix="wait")
    assert "still pays" in cfab(home, "wallet", "withdraw", "abab").err


def test_the_other_word_for_withdraw_says_so_in_the_help(home: Path) -> None:
    assert "Another word for 'withdraw'." in cfab(home, "wallet", "--help").out.decode()
    assert "Another word" not in cfab(home, "wallet", "withdraw", "--help").out.decode()
    assert "without" in cfab(home, "wallet", "exit", "--help").out.decode().lower()


def test_kinds_are_words_for_people_and_names_for_programs(
    wallet: ScriptedWallet, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (line, *_rest) = cfab(home, "wallet", "history", "--json").json
    kinds = ("exit_started", "exit_cancelled", "stake_add", "redeem", "something_newer")

    async def history() -> list[Any]:
        return [{**line, "kind": kind} for kind in kinds]

    monkeypatch.setattr(wallet, "wallet_history", history)
    shown = cfab(home, "wallet", "history").out.decode()
    for words in ("exit begun", "exit cancelled", "stake added", "redeem", "something newer"):
        assert f"  {words} " in shown
    assert "_" not in shown
    assert [one["kind"] for one in cfab(home, "wallet", "history", "--json").json] == list(kinds)


def test_history_for_people_programs_and_spreadsheets(wallet: ScriptedWallet, home: Path) -> None:
    shown = cfab(home, "wallet", "history").out.decode().splitlines()
    assert len(shown) == 5
    assert "not known yet" in shown[1]
    assert "0.049916" in shown[2]
    lines = cfab(home, "wallet", "history", "--json").json
    assert [line["kind"] for line in lines] == ["payout", "close", "vouchers", "deposit"]
    rows = list(csv.DictReader(io.StringIO(cfab(home, "wallet", "history", "--csv", "-n", "2").out.decode())))
    assert [(row["kind"], row["amount"], row["ok"]) for row in rows] == [
        ("payout", "5.000000", ""),
        ("close", "0.000084", "true"),
    ]
    assert cfab(home, "wallet", "history", "-n", "0").code == 2


def test_payouts_tell_where_earnings_go(wallet: ScriptedWallet, home: Path) -> None:
    shown = cfab(home, "wallet", "payouts").out.decode()
    assert f"to        {OWNER}" in shown
    assert "waiting   1.200000 tokens, sent from 5.000000 on" in shown
    assert cfab(home, "wallet", "payouts", "--json").json["payouts"][0]["ok"] is True
    wallet.payout_to = None
    assert "[payout]" in cfab(home, "wallet", "payouts").err


@pytest.mark.parametrize("by", ["day", "gpu", "job"])
def test_earnings_in_three_forms(wallet: ScriptedWallet, home: Path, by: str) -> None:
    shown = cfab(home, "provider", "earnings", "--by", by)
    assert "total     0.000084 tokens" in shown.out.decode()
    assert "of this 0.000030 not drawn yet · 0.000004 lost: the payer took it back" in shown.out.decode()
    assert cfab(home, "provider", "earnings", "--by", by, "--json").json["total"]["units"] == 84
    (row,) = csv.DictReader(io.StringIO(cfab(home, "provider", "earnings", "--by", by, "--csv").out.decode()))
    assert (row["tokens"], row["units"], row["gpu_ms"]) == ("0.000084", "84", "3600000")
    assert not row[by].startswith("=")  # a spreadsheet would run it


def test_earnings_by_anything_else_are_a_usage_error(wallet: ScriptedWallet, home: Path) -> None:
    assert cfab(home, "provider", "earnings", "--by", "moon").code == 2


def test_stake_is_shown_added_left_taken_and_slashed(wallet: ScriptedWallet, home: Path, tmp_path: Path) -> None:
    assert "50.000000 tokens" in cfab(home, "stake", "show").out.decode()
    assert cfab(home, "stake", "show", OWNER, "--json").json["provider"] == OWNER
    assert cfab(home, "stake", "add", "50").code == 2  # nobody can be asked
    assert cfab(home, "stake", "add", "50", "--yes").code == 0
    assert "can be taken now" in cfab(home, "stake", "leave").out.decode()
    assert cfab(home, "stake", "take", "--json").json["transaction"] == HASH
    proof = tmp_path / "proof.json"
    proof.write_text(json.dumps({"kind": "grant"}))
    assert cfab(home, "stake", "slash", str(proof)).code == 0
    assert wallet.calls == ["stake add 50", "stake leave", "stake take", "stake slash grant"]


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 70_000, b"[" * 60_000])
def test_a_file_that_is_no_proof_is_explained(
    wallet: ScriptedWallet, home: Path, tmp_path: Path, content: bytes
) -> None:
    proof = tmp_path / "proof.json"
    proof.write_bytes(content)
    ended = cfab(home, "stake", "slash", str(proof))
    assert ended.code == 1
    assert "no proof" in ended.err
    assert wallet.calls == []
    assert cfab(home, "stake", "slash", str(tmp_path / "absent")).code == 2


def test_without_a_node_each_says_how_to_start_one(home: Path) -> None:
    for words in ("wallet balance", "wallet history", "wallet payouts", "stake show", "provider earnings"):
        ended = cfab(home, *words.split())
        assert ended.code == 10, words
        assert "cfab up" in ended.err


def _shown_in_the_guide() -> list[list[str]]:
    text = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    section = text.split("## Your wallet", 1)[1].split("```", 2)[1]
    return [shlex.split(line, comments=True)[1:] for line in section.strip().splitlines()]


@pytest.mark.parametrize("words", _shown_in_the_guide(), ids=" ".join)
def test_what_the_guide_shows_can_be_typed(
    wallet: ScriptedWallet, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in (
        ("words.txt", "test " * 11 + "junk"),
        ("proof.json", '{"kind": "grant"}'),
        ("password", "correct horse"),
    ):
        Path(name).touch(mode=0o600)
        Path(name).write_text(content)
    monkeypatch.setattr(wallet_file.create_wallet, "__kwdefaults__", {"private_key": None, "scrypt_n": 2})
    environ = {"CFAB_PASSWORD_FILE": str(tmp_path / "password")}
    if "export-address" in words:
        assert cfab(home, "wallet", "import", "--mnemonic-file", "words.txt", environ=environ).code == 0
    asks = {"deposit", "add"} & set(words) and "--print" not in words
    ended = cfab(home, *words, *(["--yes"] if asks else []), environ=environ)
    assert ended.code == 0, ended.err
    assert ended.out
