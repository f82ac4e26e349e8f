"""First guesses at the command line: each gets the line to type instead, and that line works."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipherecho.ciphers.checkout import install_line, package_of
from cipherecho.cli.guesses import WrongLineError
from cipherecho.cli.guesses import complaint as complaint_about
from cipherecho.cli.root import root
from tests.helpers.in_process import run
from tests.helpers.running import COMMAND, complaint, run_shell, started
from tests.helpers.site import Site

PLUGINS = Path(__file__).parents[2] / "plugins"

SERVING = [
    # Where to listen, as other servers are told.
    ("--port 9000", "--listen 9000"),
    ("--port=9000", "--listen 9000"),
    ("-p 9000", "--listen 9000"),
    ("-p9000", "--listen 9000"),
    ("-port 9000", "--listen 9000"),
    ("--host 0.0.0.0", "--listen 0.0.0.0:8013"),
    ("--host 0.0.0.0 --port 9000", "--listen 0.0.0.0:9000"),
    ("--host ::1 --port 9000", "--listen '[::1]:9000'"),
    ("--bind 0.0.0.0:9000", "--listen 0.0.0.0:9000"),
    ("--bind '*' -p 9000", "--listen 0.0.0.0:9000"),
    ("--listen 0.0.0.0 --port 9000", "--listen 0.0.0.0:9000"),
    ("--uds /tmp/x.sock", "--listen unix:///tmp/x.sock"),
    ("9000", "--listen 9000"),
    (":9000", "--listen 0.0.0.0:9000"),
    ("0.0.0.0", "--listen 0.0.0.0:8013"),  # noqa: S104
    ("0.0.0.0:9000", "--listen 0.0.0.0:9000"),
    ("0.0.0.0 9000", "--listen 0.0.0.0:9000"),
    ("localhost", "--listen localhost:8013"),
    ("tcp://0.0.0.0:9000", "--listen tcp://0.0.0.0:9000"),
    ("unix:/tmp/x.sock", "--listen unix:///tmp/x.sock"),
    # ncat and socat.
    ("-l 9000", "--listen 9000"),
    ("-l 0.0.0.0 9000", "--listen 0.0.0.0:9000"),
    ("-lvkp 9000", "--listen 9000 --log-level debug"),
    ("TCP-LISTEN:9000,fork,reuseaddr", "--listen 9000"),
    ("UNIX-LISTEN:/tmp/x.sock,fork", "--listen unix:///tmp/x.sock"),
    # Words for what it does without a word.
    ("run", ""),
    ("start --port 9000", "--listen 9000"),
    ("--cipher rot13 serve", "--cipher rot13"),
    # Which cipher.
    ("-c rot13", "--cipher rot13"),
    ("-c rot13 --port 9000", "--cipher rot13 --listen 9000"),
    ("rot13", "--cipher rot13"),
    ("ROT13", "--cipher ROT13"),
    ("caesar:5", "--cipher caesar:5"),
    ("caesar 5", "--cipher caesar:5"),
    ("vigenere=LEMON", "--cipher vigenere:LEMON"),
    ("-c vigenere=LEMON", "--cipher vigenere:LEMON"),
    ("--cipher vigenere --key LEMON", "--cipher vigenere:LEMON"),
    ("--cipher affine --a 5 --b 8", "--cipher affine:5,b=8"),
    ("rot13 9000", "--cipher rot13 --listen 9000"),
    # Other options.
    ("-d", "--decrypt"),
    ("-v", "--log-level debug"),
    ("-q", "--log-level warning"),
    ("--json", "--log-format json"),
    ("--no-echo", "--reply cipher"),
    ("--max_line 99", "--max-line 99"),
    ("--max-clients 9", "--max-connections 9"),
    ("-t --port 9000", "--listen 9000 --check-config"),
]


@pytest.mark.parametrize(("typed", "instead"), SERVING, ids=[typed for typed, _ in SERVING])
def test_a_guess_at_serving_gets_the_line_to_type(typed: str, instead: str) -> None:
    line = f"cipherecho {instead}".strip()
    assert complaint(run(*shlex.split(typed)), 2).endswith(f"; type: {line}\n")
    assert run(*shlex.split(instead), "--check-config").status == 0


COMMANDS = [
    # Commands by other names.
    ("list", "cipherecho ciphers"),
    ("list --json", "cipherecho ciphers --json"),
    ("--list", "cipherecho ciphers"),
    ("info rot13", "cipherecho ciphers rot13"),
    ("test rot13", "cipherecho check rot13"),
    ("aply -d README.md", "cipherecho apply --decrypt README.md"),
    ("version", "cipherecho --version"),
    ("-V", "cipherecho --version"),
    ("-?", "cipherecho --help"),
    ("help apply", "cipherecho apply --help"),
    # To encrypt without a server.
    ("encrypt", "cipherecho apply"),
    ("encrypt README.md", "cipherecho apply README.md"),
    ("encrypt Hello", "echo Hello | cipherecho apply"),
    ("encrypt rot13 'Hello there'", "echo 'Hello there' | cipherecho apply --cipher rot13"),
    ("encrypt -c caesar:5 Hello", "echo Hello | cipherecho apply --cipher caesar:5"),
    ("encrypt -c caesar --shift 5 Hello", "echo Hello | cipherecho apply --cipher caesar:5"),
    ("encrypt -c vigenere -k LEMON Hi", "echo Hi | cipherecho apply --cipher vigenere:LEMON"),
    ("decrypt rot13 Uryyb", "echo Uryyb | cipherecho apply --cipher rot13 --decrypt"),
    ("rot13 Hello", "echo Hello | cipherecho apply --cipher rot13"),
    ("-d -c rot13 Uryyb", "echo Uryyb | cipherecho apply --cipher rot13 --decrypt"),
    ("apply -d -i README.md", "cipherecho apply --decrypt README.md"),
    ("apply -t Hello", "echo Hello | cipherecho apply"),
    ("--cipher rot13 apply README.md", "cipherecho apply --cipher rot13 README.md"),
    # Options of the other commands.
    ("check -c rot13", "cipherecho check rot13"),
    ("ciphers --list", "cipherecho ciphers"),
    ("ciphers --name rot13", "cipherecho ciphers rot13"),
]


@pytest.mark.parametrize(("typed", "instead"), COMMANDS, ids=[typed for typed, _ in COMMANDS])
def test_a_guess_at_a_command_gets_the_line_to_type(typed: str, instead: str) -> None:
    assert complaint(run(*shlex.split(typed)), 2).endswith(f"; type: {instead}\n")
    *text, line = instead.split(" | ")
    given = run_shell(text[0]).stdout if text else b"Hello\n"
    assert run(*shlex.split(line)[1:], stdin=given).status == 0


@pytest.mark.parametrize(
    ("typed", "instead"),
    [
        ("init wave", "cipherecho new wave"),
        ("new --name wave -d /tmp/wave", "cipherecho new --directory /tmp/wave wave"),
        ("apply -d -i README.md -o out", "cipherecho apply --decrypt README.md > out"),
        ("--port 9000 --log-file out", "cipherecho --listen 9000 2>> out"),
        ("--config-file x.toml", "cipherecho --config x.toml"),
        ("--tls --port 9000", "cipherecho --listen tls://127.0.0.1:9000"),
        (
            "--host 0.0.0.0 --ssl-certfile a --ssl-keyfile b",
            "cipherecho --listen tls://0.0.0.0:8013 --tls-cert a --tls-key b",
        ),
        ("--cert a --key b", "cipherecho --listen tls://127.0.0.1:8013 --tls-cert a --tls-key b"),
        (
            "--cipher enigma --rotors 'I II III' -p 80",
            "cipherecho --cipher 'enigma:\"I II III\"' --listen 80",
        ),
    ],
)
def test_a_guess_with_files_or_keys_gets_the_line_to_type(typed: str, instead: str) -> None:
    assert complaint(run(*shlex.split(typed)), 2).endswith(f"; type: {instead}\n")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        # Nobody can tell what is meant, so no line is made up.
        ("foo", "there is no command 'foo'; there are apply, ciphers, check, new"),
        ("--foo 3", "No such option '--foo'"),
        ("encrypt --port 9000", "there is no command 'encrypt'; there are"),
        ("--max-line 9 apply", "got --max-line before apply"),
        ("--port", "No such option '--port'"),
        ("--port nine", "No such option '--port'"),
        ("-z", "No such option '-z'"),
        ("-p 1 -p 2 -b localhost -b 0.0.0.0", "No such option '-p'"),
        ("--key LEMON", "No such option '--key'"),
        ("--cipher caesar:5 --shift 3", "No such option '--shift'"),
        ("check", "Type, for example: cipherecho check rot13"),
        ("new", "Type, for example: cipherecho new my-cipher"),
    ],
)
def test_what_is_not_clear_gets_no_line(typed: str, said: str) -> None:
    assert said in complaint(run(*shlex.split(typed)), 2)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--listen 0.0.0.0", "as in 0.0.0.0:8013"),
        ("--listen :9000", "0.0.0.0:9000 listens at every IPv4 address"),
        ("--listen ::", "as in [::]:8013"),
        ("--listen http://0.0.0.0:80", "did you mean tcp://0.0.0.0:80?"),
        ("--listen /run/x", "did you mean unix:///run/x?"),
        ("--cipher vigenere=LEMON", "vigenere:LEMON"),
        ("--cipher 'vigenere(LEMON)'", "vigenere:LEMON"),
        ("--cipher 'caesar 5'", "caesar:5"),
        ("--cipher affine:5,8", "type affine:5,b=8"),
        ("--cipher affine=5,8", "type affine:5,b=8"),
        ("--cipher vigenere:A,B", "type 'vigenere:\"A,B\"'"),
        ("--cipher rot13,caesar:5", "for a chain, repeat the option: rot13, caesar:5"),
        ("--cipher 'rot13|caesar:5'", "for a chain, repeat the option: rot13, caesar:5"),
        ("apply --cipher affine:5,8", "type affine:5,b=8"),
    ],
)
def test_a_value_that_is_nearly_right_is_said_rightly(typed: str, said: str) -> None:
    assert said in complaint(run(*shlex.split(typed)), 2)


WORDS = st.lists(
    st.sampled_from(shlex.split(" ".join(typed for typed, _ in SERVING + COMMANDS)))
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
    max_size=6,
)


@given(WORDS)
def test_any_words_get_an_answer(words: list[str]) -> None:
    ctx = click.Context(root)
    error = WrongLineError("no", "expected something", ctx)
    assert complaint_about(error, words).startswith("no; ")


@pytest.mark.parametrize("words", [["-=5"], ["-"], ["x" * 5000], ["-c", "", "--key", "A"]])
def test_odd_words_get_an_answer(words: list[str]) -> None:
    complaint(run(*words), 2)


def test_a_text_where_apply_expects_a_file() -> None:
    said = complaint(run("apply", "rot13", "Hello"), 1)
    assert said.endswith(
        "; to encrypt a text, type: echo Hello | cipherecho apply --cipher rot13\n"
    )
    assert "type" not in complaint(run("apply", "letter.txt"), 1)


def test_serve_serves() -> None:
    with started(COMMAND, "serve", "--listen", "0") as server:
        assert server.ask(b"Hello\n") == b"Hello\nUryyb\n"


# Ciphers of packages that are not installed.


@pytest.fixture
def only_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the packages of ciphers that are installed here."""
    from cipherecho.ciphers import registry

    ours = [point for point in registry._scan() if point.value.startswith("cipherecho.")]
    monkeypatch.setattr(registry, "_scan", lambda: ours)


@pytest.mark.usefixtures("only_built_in")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--cipher caesar", "cipher 'caesar' is not installed; to install it, type in a checkout:"),
        ("--cipher caesr", "did you mean caesar? to install it, type in a checkout: pip install"),
        ("apply --cipher caesar:5", "to install it, type in a checkout: pip install ./plugins"),
        (
            "caesar:5",
            "type, in a checkout: pip install ./plugins/cipherecho-classical && "
            "cipherecho --cipher caesar:5",
        ),
        ("--cipher rot31", "did you mean rot13?"),
    ],
)
def test_a_cipher_of_a_package_that_is_not_installed(arguments: str, said: str) -> None:
    assert said in complaint(run(*shlex.split(arguments)), 2)


def test_the_packages_of_the_checkout_have_these_ciphers() -> None:
    found = {}
    for package in PLUGINS.iterdir():
        project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
        for name in project["entry-points"]["cipherecho.ciphers"]:
            found[name] = package.name
            assert install_line(package.name) == f"pip install ./plugins/{package.name}"
    assert found == package_of


def test_a_cipher_of_a_package_that_is_not_allowed(tmp_path: Path) -> None:
    Site(tmp_path).install("acme-ciphers", {"spin": "acme:Spin"}, acme="class Spin: ...")
    said = complaint(
        run("--cipher", "spin", CIPHERECHO_PLUGINS="other", PYTHONPATH=str(tmp_path)), 2
    )
    assert "acme-ciphers has it (the only packages allowed are cipherecho, other)" in said
