"""Wallet and passwords from the command line, without a node. Secrets come from files, stdin or a prompt only."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from bootstrap import wallet as wallet_file
from bootstrap.wallet import load_wallet
from tests.fakes.cli_runner import cfab, on_terminal

KEY = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def quick_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real cost of a guess is a second; the tests make a dozen wallets."""
    monkeypatch.setattr(wallet_file.create_wallet, "__kwdefaults__", {"private_key": None, "scrypt_n": 2})


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.touch(mode=0o600)
    path.write_text("correct horse\n")
    return path


def test_wallet_is_made_private_and_opens_with_its_password(home: Path, password_file: Path) -> None:
    made = cfab(home, "wallet", "create", "--password-file", str(password_file))
    assert made.code == 0
    path = home / "wallet.json"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(home).st_mode) == 0o700
    assert len(load_wallet(path, "correct horse")) == 32
    assert cfab(home, "wallet", "show", "--json").json == {"account": made.out.decode().strip()}


def test_password_from_stdin_and_from_the_environment(home: Path, password_file: Path) -> None:
    assert cfab(home, "wallet", "create", "--password-file", "-", stdin=b"from stdin\n").code == 0
    assert load_wallet(home / "wallet.json", "from stdin")
    other = home.parent / "other"
    assert cfab(other, "wallet", "create", environ={"CFAB_PASSWORD_FILE": str(password_file)}).code == 0
    assert load_wallet(other / "wallet.json", "correct horse")


def test_wallet_is_never_overwritten(home: Path, password_file: Path) -> None:
    cfab(home, "wallet", "create", "--password-file", str(password_file))
    before = (home / "wallet.json").read_bytes()
    again = cfab(home, "wallet", "create", "--password-file", str(password_file))
    assert again.code == 7
    assert "never overwritten" in again.err
    assert (home / "wallet.json").read_bytes() == before


def test_private_key_is_imported_from_a_file(home: Path, password_file: Path, tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.touch(mode=0o600)
    key_file.write_text(f"0x{KEY}\n")
    assert cfab(home, "wallet", "import", "--key-file", str(key_file), "--password-file", str(password_file)).code == 0
    assert load_wallet(home / "wallet.json", "correct horse").hex() == KEY


@pytest.mark.parametrize("text", ["", "xyz", "00" * 32, KEY[:-2], "ff" * 32])
def test_what_is_no_private_key_is_refused_and_not_echoed(
    home: Path, password_file: Path, tmp_path: Path, text: str
) -> None:
    key_file = tmp_path / "key"
    key_file.touch(mode=0o600)
    key_file.write_text(text)
    ended = cfab(home, "wallet", "import", "--key-file", str(key_file), "--password-file", str(password_file))
    assert ended.code == 1
    assert "not a private key" in ended.err
    assert not text or text not in ended.err
    assert not (home / "wallet.json").exists()


def test_key_and_password_files_open_to_others_are_refused(home: Path, password_file: Path, tmp_path: Path) -> None:
    password_file.chmod(0o644)
    ended = cfab(home, "wallet", "create", "--password-file", str(password_file))
    assert ended.code == 7
    assert "chmod 600" in ended.err
    key_file = tmp_path / "key"
    key_file.write_text(KEY)
    key_file.chmod(0o644)
    assert cfab(home, "wallet", "import", "--key-file", str(key_file)).code == 7


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"x" * 5000])
def test_unusable_password_is_refused(home: Path, password_file: Path, content: bytes) -> None:
    password_file.write_bytes(content)
    ended = cfab(home, "wallet", "create", "--password-file", str(password_file))
    assert ended.code in (1, 7)
    assert "password" in ended.err
    assert not (home / "wallet.json").exists()


@pytest.mark.parametrize("password", ["abc", "sieben7", "ä" * 7])
def test_a_password_that_is_soon_guessed_is_refused(home: Path, password_file: Path, password: str) -> None:
    password_file.write_text(password + "\n")
    key = secret(home.parent / "key", KEY)
    for words in (("create",), ("import", "--key-file", key)):
        ended = cfab(home, "wallet", *words, "--password-file", str(password_file))
        assert ended.code == 1
        assert "the password is too short" in ended.err
        assert "at least 8 characters" in ended.err
        assert password not in ended.err
    assert not (home / "wallet.json").exists()
    password_file.write_text(password + "x" * (8 - len(password)) + "\n")
    assert cfab(home, "wallet", "create", "--password-file", str(password_file)).code == 0


def test_a_short_password_is_refused_before_it_is_typed_once_more(home: Path) -> None:
    with on_terminal(home, "wallet", "create") as terminal:
        terminal.wait_for("Wallet password: ")
        terminal.type("abc\n")
        code, seen = terminal.finish()
    assert code == 1
    assert b"too short" in seen
    assert b"Once more" not in seen


def test_nobody_to_ask_names_the_flag(home: Path) -> None:
    ended = cfab(home, "wallet", "create")
    assert ended.code == 2
    assert "--password-file" in ended.err
    assert "--key-file" in cfab(home, "wallet", "import").err


def test_no_flag_takes_a_password_or_key_itself(home: Path) -> None:
    for words in (("create", "--password", "x"), ("import", "--private-key", KEY), ("import", KEY)):
        assert cfab(home, "wallet", *words).code == 2


def test_home_open_to_others_is_refused(home: Path, password_file: Path) -> None:
    home.mkdir()
    home.chmod(0o755)
    ended = cfab(home, "wallet", "create", "--password-file", str(password_file))
    assert ended.code == 7
    assert f"chmod 700 {home}" in ended.err


PHRASE = "test test test test test test test test test test test junk"
FIRST = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


def secret(path: Path, text: str) -> str:
    path.touch(mode=0o600)
    path.write_text(text)
    return str(path)


def test_a_phrase_and_a_keystore_are_imported(home: Path, password_file: Path, tmp_path: Path) -> None:
    words = secret(tmp_path / "words", PHRASE + "\n")
    first = home.parent / "first"
    made = cfab(first, "wallet", "import", "--mnemonic-file", words, "--password-file", str(password_file))
    assert made.code == 0
    assert made.out.decode().strip() == FIRST.lower()
    second = home.parent / "second"
    line = ("import", "--mnemonic-file", words, "--index", "1", "--password-file", str(password_file))
    assert cfab(second, "wallet", *line).out.decode().strip() == "0x70997970c51812dc3a010c7d01b50e0d17dc79c8"
    keystore = str(first / "wallet.json")
    other = secret(tmp_path / "other", "another password")
    line = ("import", "--keystore", keystore, "--keystore-password-file", str(password_file), "--password-file", other)
    assert cfab(home, "wallet", *line).code == 0
    assert load_wallet(home / "wallet.json", "another password") == load_wallet(first / "wallet.json", "correct horse")


def test_stdin_may_hold_the_key_or_the_password_but_not_both(home: Path, password_file: Path) -> None:
    both = cfab(home, "wallet", "import", "--key-file", "-", "--password-file", "-", stdin=KEY.encode())
    assert both.code == 2
    line = ("wallet", "import", "--key-file", "-", "--password-file", str(password_file))
    assert cfab(home, *line, stdin=KEY.encode()).code == 0
    assert load_wallet(home / "wallet.json", "correct horse").hex() == KEY


def test_a_phrase_can_be_typed_and_is_not_shown(home: Path, password_file: Path) -> None:
    with on_terminal(home, "wallet", "import", "--mnemonic", "--password-file", str(password_file)) as terminal:
        terminal.wait_for("Phrase (hidden): ")
        terminal.type(PHRASE + "\n")
        code, shown = terminal.finish()
    assert code == 0
    assert FIRST.lower().encode() in shown
    assert b"junk" not in shown


def test_a_wrong_keystore_password_and_two_sources_are_told(home: Path, password_file: Path, tmp_path: Path) -> None:
    cfab(home.parent / "first", "wallet", "create", "--password-file", str(password_file))
    keystore = str(home.parent / "first" / "wallet.json")
    wrong = secret(tmp_path / "wrong", "wrong")
    line = ("wallet", "import", "--password-file", str(password_file), "--keystore", keystore)
    ended = cfab(home, *line, "--keystore-password-file", wrong)
    assert ended.code == 7
    assert "does not open" in ended.err
    assert cfab(home, *line, "--mnemonic").code == 2
    assert cfab(home, "wallet", "import", "--keystore", str(tmp_path / "absent")).code == 4
    assert cfab(home, *line[:-1], secret(tmp_path / "x", "{}"), "--keystore-password-file", wrong).code == 1
    assert not (home / "wallet.json").exists()


@pytest.mark.parametrize("option", ["--keystore", "--key-file", "--mnemonic-file"])
def test_a_folder_is_no_file_of_keys(home: Path, password_file: Path, tmp_path: Path, option: str) -> None:
    ended = cfab(home, "wallet", "import", option, str(tmp_path), "--password-file", str(password_file))
    assert ended.code == 1
    assert "fix: name " in ended.err
    assert str(tmp_path) in ended.err


def test_a_damaged_wallet_is_to_be_moved_away_first(home: Path, password_file: Path) -> None:
    cfab(home, "wallet", "create", "--password-file", str(password_file))
    (home / "wallet.json").write_text('{"version": 3, "cry')
    assert "move it away first" in cfab(home, "wallet", "show").err
    again = cfab(home, "wallet", "create", "--password-file", str(password_file))
    assert again.code == 7
    assert "move it to a safe place first" in again.err
    assert (home / "wallet.json").read_text() == '{"version": 3, "cry'
    (home / "wallet.json").rename(home / "damaged.json")
    assert cfab(home, "wallet", "create", "--password-file", str(password_file)).code == 0


@pytest.mark.parametrize("words", [("--index", "2"), ("--passphrase-file", "x"), ("--keystore-password-file", "x")])
def test_flags_of_another_source_are_refused_rather_than_dropped(
    home: Path, password_file: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    key = tmp_path / "key"
    key.write_text("11" * 32)
    key.chmod(0o600)
    ended = cfab(home, "wallet", "import", "--key-file", str(key), *words, "--password-file", str(password_file))
    assert ended.code == 2
    assert words[0] in ended.err
    assert not (home / "wallet.json").exists()


@pytest.mark.parametrize("words", ["zebra two three", PHRASE.replace("junk", "test"), "", "\xff"])
def test_a_bad_phrase_is_refused_and_not_echoed(home: Path, password_file: Path, tmp_path: Path, words: str) -> None:
    file = secret(tmp_path / "words", words)
    ended = cfab(home, "wallet", "import", "--mnemonic-file", file, "--password-file", str(password_file))
    assert ended.code == 1
    assert not words or words.split()[0] not in ended.err.replace(file, "")
    assert not (home / "wallet.json").exists()


def test_the_address_is_shown_with_its_checksum_without_password_or_node(
    home: Path, password_file: Path, tmp_path: Path
) -> None:
    words = secret(tmp_path / "words", PHRASE)
    cfab(home, "wallet", "import", "--mnemonic-file", words, "--password-file", str(password_file))
    assert cfab(home, "wallet", "export-address").out.decode().strip() == FIRST
    assert cfab(home, "wallet", "export-address", "--json").json == {"account": FIRST, "signer": None}
    assert cfab(home.parent / "nobody", "wallet", "export-address").code == 4


def test_while_it_asks_no_secret_is_in_the_process_list_or_its_environment(home: Path) -> None:
    """What was typed so far must be nowhere that other users, or programs that are started, can look."""
    with on_terminal(home, "wallet", "import") as terminal:
        terminal.wait_for("Private key (hex, hidden): ")
        terminal.type(KEY + "\n")
        terminal.wait_for("Wallet password: ")
        terminal.type("correct horse\n")
        terminal.wait_for("Once more: ")
        process = Path("/proc") / str(terminal.process.pid)
        for name in ("cmdline", "environ"):
            seen = (process / name).read_bytes()
            assert KEY.encode() not in seen
            assert b"correct horse" not in seen
        terminal.type("correct horse\n")
        code, shown = terminal.finish()
    assert code == 0
    assert KEY.encode() not in shown
    assert b"correct horse" not in shown
    assert load_wallet(home / "wallet.json", "correct horse").hex() == KEY


def test_missing_wallet_exits_4(home: Path) -> None:
    assert cfab(home, "wallet", "show").code == 4


def test_prompt_asks_twice_hides_what_is_typed_and_refuses_a_slip(home: Path) -> None:
    with on_terminal(home, "wallet", "create") as terminal:
        terminal.wait_for("Wallet password: ")
        terminal.type("first try\n")
        terminal.wait_for("Once more: ")
        terminal.type("second try\n")
        code, seen = terminal.finish()
    assert code == 2
    assert b"differ" in seen
    assert b"first try" not in seen
    assert not (home / "wallet.json").exists()
