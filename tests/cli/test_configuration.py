"""What is served comes from options, the environment and a file, and all that is wrong is told.

Most of it is looked at where services are made, before any socket is opened.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from click import Choice
from click import Path as File
from click.types import BoolParamType
from hypothesis import assume, example, given
from hypothesis import strategies as st

from cipherecho.ciphers.shapes import new_transform
from cipherecho.cli.configuration.assembly import Configuration, configuration_of
from cipherecho.cli.configuration.layers import LISTENER_KEYS, PROCESS_KEYS
from cipherecho.cli.configuration.option_types import Option, SwitchType
from cipherecho.cli.configuration.problems import SettingsError
from cipherecho.cli.configuration.toml_file import read_settings_file
from cipherecho.cli.root import root
from cipherecho.settings.declaration import Number, declarations
from cipherecho.settings.endpoint import TcpEndpoint, UnixEndpoint
from cipherecho.settings.limits import Limits
from tests.helpers.certificates import Authority
from tests.helpers.in_process import run
from tests.helpers.running import COMMAND, Ended, complaint, run_shell, serving, started

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a directory of its own, with certificates, and is in another."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Certificates, in ``server.pem``, ``server.key``, ``both.pem`` and ``root.pem``."""
    authority = Authority.at(tmp_path_factory.mktemp("certificates"))
    certificate, key = authority.write_server()
    (authority.directory / "both.pem").write_bytes(certificate.read_bytes() + key.read_bytes())
    return authority


def configured(*arguments: str) -> Configuration:
    """Return what a command line asks for."""
    with root.make_context("cipherecho", list(arguments)) as ctx:
        return configuration_of(ctx)


def problems(*arguments: str) -> list[str]:
    """Return what is said to be wrong with a command line."""
    with pytest.raises(SettingsError) as caught:
        configured(*arguments)
    return list(caught.value.problems)


def written(directory: Path, text: str) -> Path:
    """Return a file of that text."""
    path = directory / "cipherecho.toml"
    path.write_text(text, encoding="utf-8")
    return path


# Each option, from each place that it can come from.


def code(made: Configuration, body: bytes = b"abc") -> list[bytes]:
    """Return what the cipher of each listener makes of a line."""
    return [new_transform(cipher)(body) for cipher in made.plan.ciphers()]


@dataclass(frozen=True)
class Setting:
    """An option, how a file has it, and what it comes to; `others` is what it needs besides."""

    key: str
    toml: str
    words: Sequence[str]
    look: Callable[[Configuration], object]
    expected: object
    others: str = ""

    @property
    def arguments(self) -> list[str]:
        """How it is on a command line."""
        return [f"--{self.key}={word}" for word in self.words] or [f"--{self.key}"]

    @property
    def variable(self) -> tuple[str, str]:
        """How it is in the environment."""
        return f"CIPHERECHO_{self.key.replace('-', '_').upper()}", " ".join(self.words) or "1"


def limit(key: str, value: int | float) -> Setting:
    name = key.replace("-", "_")
    return Setting(
        key,
        str(value),
        [str(value)],
        lambda made: getattr(made.plan.listeners[0].limits, name),
        value,
    )


def limits() -> Iterator[Setting]:
    """Yield each limit that is declared, with a value that is not its default."""
    for one in declarations(Limits):
        assert isinstance(one.value, Number)
        yield limit(one.name, 99 if one.value.whole else 0.5)


def tls(key: str, toml: str, attribute: str, expected: object, others: str) -> Setting:
    """Return a setting of TLS; paths are relative to where certificates are."""

    def look(made: Configuration) -> object:
        value = getattr(made.plan.listeners[0].tls, attribute)
        return value.name if isinstance(value, Path) else value

    words = [toml.strip('"')]
    return Setting(key, toml, words, look, expected, f'listen = "tls://localhost:0"\n{others}')


def listeners(made: Configuration) -> list[str]:
    return [str(one) for listener in made.plan.listeners for one in listener.endpoints]


def proxies(made: Configuration) -> list[bool]:
    peers = [("10.1.2.3", 1), ("192.0.2.1", 1), ("::1", 1), ""]
    return [peer in made.plan.listeners[0].proxies for peer in peers]


CERTIFICATE = 'tls-cert = "both.pem"\n'

SETTINGS = [
    Setting(
        "cipher",
        '["caesar:1", "caesar:2"]',
        ["caesar:1", "caesar:2"],
        code,
        [b"def"],
    ),
    Setting(
        "decrypt",
        "true",
        [],
        lambda made: code(made, b"def"),
        [b"abc"],
        'cipher = "caesar:3"',
    ),
    Setting("reset", '"line"', ["line"], lambda made: made.plan.listeners[0].reset, "line"),
    Setting("reply", '"cipher"', ["cipher"], lambda made: made.plan.listeners[0].reply, "cipher"),
    Setting(
        "listen",
        '["0", "unix:///run/x"]',
        ["0", "unix:///run/x"],
        listeners,
        ["tcp://127.0.0.1:0", "unix:///run/x"],
    ),
    tls("tls-cert", '"both.pem"', "certificate", "both.pem", ""),
    tls("tls-key", '"server.key"', "key", "server.key", 'tls-cert = "server.pem"'),
    tls("tls-client-ca", '"root.pem"', "client_ca", "root.pem", CERTIFICATE),
    tls(
        "tls-client-auth",
        '"optional"',
        "client_auth",
        "optional",
        f'{CERTIFICATE}tls-client-ca = "root.pem"',
    ),
    tls("tls-min", '"1.2"', "minimum", "1.2", CERTIFICATE),
    Setting(
        "proxy-from",
        '["10.0.0.0/8", "::1", "unix"]',
        ["10.0.0.0/8", "::1", "unix"],
        proxies,
        [True, False, True, True],
    ),
    Setting("max-buffered", '"1GiB"', ["1GiB"], lambda made: made.process.max_buffered, 1 << 30),
    *limits(),
    limit("idle-timeout", inf),
    Setting("log-level", '"debug"', ["debug"], lambda made: made.process.log_level, "debug"),
    Setting("log-format", '"json"', ["json"], lambda made: made.process.log_format, "json"),
    Setting("log-empty", "true", [], lambda made: made.plan.listeners[0].log_empty, True),
    Setting(
        "metrics",
        '"tcp://127.0.0.1:9464"',
        ["tcp://127.0.0.1:9464"],
        lambda made: made.process.metrics,
        TcpEndpoint("127.0.0.1", 9464),
    ),
    Setting("drain-delay", "0.5", ["0.5"], lambda made: made.process.drain_delay, 0.5),
    Setting("no-express", "true", [], lambda made: made.process.express, False),
    Setting("sandbox", "true", [], lambda made: made.process.sandbox, "on"),
    Setting("sandbox", '"require"', ["require"], lambda made: made.process.sandbox, "require"),
]


@pytest.mark.parametrize(
    ("setting", "source"),
    [
        pytest.param(setting, source, id=f"{setting.key}, {source}")
        for setting in SETTINGS
        for source in ("file", "table", "environment", "command line")
        if source != "table" or setting.key not in PROCESS_KEYS
    ],
)
def test_an_option_from_each_source(
    setting: Setting, source: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [setting.others]
    if source in ("file", "table"):
        lines.append(f"{setting.key} = {setting.toml}")
    text = "\n".join(lines)
    if source == "table":
        text = "[[listener]]\n" + text.replace("listen =", "url =")
        text += "" if "url =" in text else "\nurl = '0'"
    else:
        monkeypatch.chdir(authority.directory)  # which paths are relative to
    if source == "environment":
        monkeypatch.setenv(*setting.variable)
    arguments = setting.arguments if source == "command line" else []
    made = configured("--config", str(written(authority.directory, text)), *arguments)
    assert setting.look(made) == setting.expected


TRUE = ["true", "yes", "on", "1", "t", "y"]
FALSE = ["false", "no", "off", "0", "f", "n"]


def variable_forms(setting: Setting) -> Iterator[tuple[str, bool]]:
    """Yield what a variable may have, and whether it is the setting then, or the default."""
    option = next(one for one in root.params if one.opts[0] == f"--{setting.key}")
    words = " ".join(setting.words)
    yield from ((blank, False) for blank in ("", " \n"))
    match option.type:
        case SwitchType() | BoolParamType() if not setting.words:
            for true, false in zip(TRUE, FALSE, strict=True):
                yield from [(true, True), (true.upper(), True), (f" {true}\n", True)]
                yield from [(false, False), (false.title(), False)]
        case _ if setting.key == "cipher":
            yield from [(f" {words}\n", True), (words.replace(" ", "\n\t"), True)]
        case _ if option.multiple:
            for between in (",", ", ", "\n", " ,\t"):
                yield f" {between.join(setting.words)}\n", True
                yield f"{between.join(setting.words)},", True
            yield from [(",", False), (" , ", False)]
        case Choice() | SwitchType():
            yield from [(words.upper(), True), (f" {words}\n", True)]
        case File():
            yield words, True
        case _:
            yield from [(words, True), (f" {words}\n", True)]


@pytest.mark.parametrize(
    ("setting", "text", "is_it"),
    [
        pytest.param(setting, text, is_it, id=f"{setting.key}={text!r}")
        for setting in SETTINGS
        if setting.key != "tls-cert"  # as below
        for text, is_it in variable_forms(setting)
    ],
)
def test_a_variable_is_taken_as_the_documentation_says(
    setting: Setting, text: str, is_it: bool, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(authority.directory)
    others = setting.others if is_it else setting.others.replace("server.pem", "both.pem")
    monkeypatch.setenv(setting.variable[0], text)
    found = setting.look(configured("--config", str(written(authority.directory, others))))
    assert (found == setting.expected) == is_it


def test_the_words_for_true_and_false_are_in_the_documentation() -> None:
    page = (ROOT / "docs" / "how-to" / "configure.md").read_text(encoding="utf-8")
    _, _, section = page.partition("## Use the environment")
    for name, expected in [("True", TRUE), ("false", FALSE)]:
        said = re.search(rf"\*\*{name}\*\* is ((?:`\w+`(?:,| or)?\s+)*`\w+`)", section)
        assert said is not None
        assert re.findall(r"`(\w+)`", said[1]) == expected


@pytest.mark.parametrize(
    "setting",
    # There is no TLS without a certificate.
    [setting for setting in SETTINGS if setting.key != "tls-cert"],
    ids=lambda setting: setting.key,
)
def test_the_option_makes_that_difference(setting: Setting, authority: Authority) -> None:
    others = setting.others.replace("server.pem", "both.pem")
    path = written(authority.directory, others)
    assert setting.look(configured("--config", str(path))) != setting.expected


def test_every_option_is_tested_above() -> None:
    options = {one.opts[0] for one in root.params if isinstance(one, Option)}
    tested = {f"--{setting.key}" for setting in SETTINGS}
    assert options - {"--config", "--check-config"} == tested
    assert tested == {f"--{key}" for key in ["listen", *LISTENER_KEYS, *PROCESS_KEYS]}


# What wins over what.


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "max-line = 1\nmax-workers = 1\nmax-connections = 1\ncipher = 'nonesuch'"
    monkeypatch.setenv("CIPHERECHO_MAX_LINE", "2")
    monkeypatch.setenv("CIPHERECHO_MAX_WORKERS", "2")
    monkeypatch.setenv("CIPHERECHO_CIPHER", "caesar:1 caesar:1")
    made = configured("--config", str(written(tmp_path, text)), "--max-line", "3")
    [listener] = made.plan.listeners
    limits = listener.limits
    assert (limits.max_line, limits.max_workers, limits.max_connections) == (3, 2, 1)
    assert code(made) == [b"cde"]


def test_a_table_wins_over_the_top_of_the_file(tmp_path: Path) -> None:
    text = """
        max-line = 1
        cipher = "caesar:1"
        proxy-from = ["::1"]
        grace = 5
        [[listener]]
        url = "0"
        [[listener]]
        url = ["unix:///run/x", "unix:///run/y"]
        max-line = 2
        cipher = ["caesar:1", "caesar:1"]
        proxy-from = []
    """
    made = configured("--config", str(written(tmp_path, text)))
    first, second = made.plan.listeners
    assert (first.limits.max_line, second.limits.max_line) == (1, 2)
    assert code(made) == [b"bcd", b"cde"]
    assert (bool(first.proxies), bool(second.proxies)) == (True, False)
    assert (first.limits.grace, second.limits.grace) == (5, 5)
    assert second.endpoints == (UnixEndpoint("/run/x"), UnixEndpoint("/run/y"))


def test_options_and_variables_win_over_every_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
        [[listener]]
        url = "0"
        max-line = 1
        decrypt = true
        cipher = "caesar:1"
        [[listener]]
        url = "0"
        cipher = "caesar:2"
    """
    monkeypatch.setenv("CIPHERECHO_DECRYPT", "no")
    made = configured("--config", str(written(tmp_path, text)), "--max-line", "3")
    assert [one.limits.max_line for one in made.plan.listeners] == [3, 3]
    assert code(made) == [b"bcd", b"cde"]


def test_the_file_may_be_named_by_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIPHERECHO_CONFIG", str(written(tmp_path, "max-line = 7")))
    assert configured().plan.listeners[0].limits.max_line == 7


def test_listeners_without_tls_have_nothing_of_it(authority: Authority) -> None:
    text = """
        tls-cert = "both.pem"
        [[listener]]
        url = "tls://localhost:0"
        [[listener]]
        url = "0"
    """
    first, second = configured("--config", str(written(authority.directory, text))).plan.listeners
    assert (first.tls is None, second.tls is None) == (False, True)


def test_a_port_that_the_system_picks_may_be_asked_for_twice() -> None:
    assert listeners(configured("--listen", "0", "--listen", "0")) == ["tcp://127.0.0.1:0"] * 2


def test_proxies_in_the_environment_may_be_parted_by_commas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CIPHERECHO_PROXY_FROM", " 10.0.0.0/8,192.0.2.0/24, ::1 ")
    assert proxies(configured()) == [True, True, True, False]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1000", 1000),
        (" 1_000 ", 1000),
        ("1000B", 1000),
        ("64KiB", 65_536),
        ("64 kib", 65_536),
        ("64Ki", 65_536),
        ("64k", 65_536),
        ("64K", 65_536),
        ("1 MiB", 1_048_576),
        ("1m", 1_048_576),
        ("2GiB", 2_147_483_648),
        ("1t", 1_099_511_627_776),
    ],
)
def test_a_size_may_have_a_unit(text: str, size: int, tmp_path: Path) -> None:
    assert configured("--max-buffered", text, "--max-line", "99").process.max_buffered == size
    path = written(tmp_path, f'max-buffered = "{text}"\nmax-line = 99')
    assert configured("--config", str(path)).process.max_buffered == size


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("64kB", "; kB may be 1,000 or 1,024: type 64KiB or 64000"),
        ("1 GB", "; GB may be 1,000,000,000 or 1,073,741,824: type 1GiB or 1000000000"),
        *((text, "") for text in ["", "0KiB", "-1k", "1.5MiB", "KiB", "1 KiB 2", "1Kib/s", "inf"]),
        *((text, "") for text in ["9" * 5000, "1e3", "٣KiB"]),
    ],
    ids=lambda text: text[:20],
)
def test_a_size_that_is_none_is_refused(text: str, instead: str) -> None:
    [problem] = problems("--max-line", text)
    assert problem.endswith(f", expected {SIZE}{instead}")


# What is wrong. A complaint begins with file and line; "F" stands for the file here.

LISTENERS = "[[listener]]\nurl = '0'\n[[listener]]\nurl = '0'\n"
TOGETHER = (
    "got it together with [[listener]] tables, expected one or the other: each table has a url "
    "of its own"
)
WHOLE = "is of the whole process, expected it above every [[listener]]"
COUNT = "a whole number, 1 or more"
SIZE = "bytes, 1 or more, as in 65536, 64KiB or 1MiB"
SHIFT = "option shift: got '99', expected a whole number, -25 to 25"
NO_TLS = "nothing is served by TLS, expected an endpoint such as tls://HOST:PORT"

COMPLAINTS = [
    # Not TOML, with the line and the column.
    ("max-line = 1\nmax-line 2", ["F:2:10: Expected '=' after a key in a key/value pair"]),
    ("reply = 'both'\nreply = 'both'\n", ["F:2:15: Cannot overwrite a value"]),
    ("a = " + "[" * 5000, ["F: expected fewer brackets within brackets"]),
    # Keys.
    ("max-lin = 1", ["F:1: max-lin: there is no such key; did you mean max-line?"]),
    ("\nmax_line = 1", ["F:2: max_line: there is no such key; did you mean max-line?"]),
    ("zzz = 1", ["F:1: zzz: there is no such key; cipherecho --help has all options"]),
    ("[listner]", ["F:1: listner: there is no such key; did you mean listener?"]),
    ("url = '0'", ["F:1: url: there is no such key; did you mean listen?"]),
    (
        f"{LISTENERS}listen = '0'",
        ["F:5: [[listener]] 2: listen: there is no such key; did you mean url?"],
    ),
    (
        f"{LISTENERS}max-lin = 3",
        ["F:5: [[listener]] 2: max-lin: there is no such key; did you mean max-line?"],
    ),
    (
        "config = 'x'\ncheck-config = true",
        [
            f"F:{line}: {key}: is no key of the file, expected it as an option or a variable"
            for line, key in [(1, "config"), (2, "check-config")]
        ],
    ),
    *((f"{LISTENERS}{key} = 1", [f"F:5: [[listener]] 2: {key}: {WHOLE}"]) for key in PROCESS_KEYS),
    # Tables.
    ("[listener]\nurl = '0'", ["F:1: listener: expected tables, each begun by [[listener]]"]),
    ("listener = []", ["F:1: listener: expected tables, each begun by [[listener]]"]),
    ("listener = ['0']", ["F:1: listener: expected tables, each begun by [[listener]]"]),
    ("listener = [{}]", ["F:1: [[listener]] 1: url: is missing, expected where to listen"]),
    (
        "# first\n[[listener]]\nurl = '0'\n[[ listener ]] # second\n",
        ["F:4: [[listener]] 2: url: is missing, expected where to listen"],
    ),
    (f"listen = '0'\n{LISTENERS}", [f"F:1: listen: {TOGETHER}"]),
    # Types.
    (
        "max-line = '9MB'",
        [
            f"F:1: max-line: got '9MB', expected {SIZE}; MB may be 1,000,000 or 1,048,576: type "
            "9MiB or 9000000"
        ],
    ),
    ("max-workers = '9'", [f"F:1: max-workers: got '9', expected {COUNT}"]),
    ("max-line = true", [f"F:1: max-line: got true, expected {SIZE}"]),
    ("max-line = 4.5", [f"F:1: max-line: got 4.5, expected {SIZE}"]),
    ("max-line = inf", [f"F:1: max-line: got inf, expected {SIZE}"]),
    ("max-line = [1]", [f"F:1: max-line: got a list, expected {SIZE}"]),
    ("max-line = {}", [f"F:1: max-line: got a table, expected {SIZE}"]),
    ("decrypt = 1", ["F:1: decrypt: got 1, expected true or false"]),
    ("sandbox = 1", ["F:1: sandbox: got 1, expected true, false or 'require'"]),
    ("sandbox = 'strict'", ["F:1: sandbox: got 'strict', expected true, false or 'require'"]),
    ("decrypt = 'yes'", ["F:1: decrypt: got 'yes', expected true or false"]),
    ("tls-min = 1.3", ["F:1: tls-min: got 1.3, expected text in quotes"]),
    ("reply = false", ["F:1: reply: got false, expected text in quotes"]),
    ("cipher = ['rot13', 13]", ["F:1: cipher: got 13, expected text in quotes"]),
    (
        "reset = 2026-01-01",
        ["F:1: reset: got the date or time 2026-01-01, expected text in quotes"],
    ),
    ("listen = []", ["F:1: listen: got an empty list, expected one or more"]),
    # Values, as they are refused on the command line.
    ("max-line = 0", [f"F:1: max-line: got 0, expected {SIZE}"]),
    (
        "accept-rate = 0",
        [
            "F:1: accept-rate: got 0, expected connections a second, more than 0 ('inf' for no "
            "limit)"
        ],
    ),
    (
        "max-connections-per-source = -inf",
        [f"F:1: max-connections-per-source: got -inf, expected {COUNT} ('inf' for no limit)"],
    ),
    (
        f"grace = {hex(10**400)}\nidle-timeout = nan",
        [
            f"F:1: grace: got 1{'0' * 298}…, expected seconds, more than 0 ('inf' for ever)",
            "F:2: idle-timeout: got nan, expected seconds, more than 0 ('inf' for ever)",
        ],
    ),
    ("drain-delay = inf", ["F:1: drain-delay: got inf, expected seconds, 0 or more"]),
    # What one line may take of what all together may have.
    (
        "max-buffered = '4KiB'\nmax-line = 999\n[[listener]]\nurl = '0'\nmax-line = 1025",
        [
            "F:1: max-buffered: got 4KiB, expected at least 4100, 4 times as much as the longest "
            "line may have"
        ],
    ),
    (
        "max-line = '32MiB'",
        [
            "F:1: max-line: got 32MiB, which needs a larger max-buffered (now 64MiB): give it too, "
            "with at least 128MiB, 4 times as much as the longest line may have"
        ],
    ),
    ("reply = 'none'", ["F:1: reply: 'none' is not one of 'both', 'cipher'."]),
    (
        "metrics = 'tls://localhost:1'",
        ["F:1: metrics: got 'tls://localhost:1', expected tcp://HOST:PORT or unix:///PATH"],
    ),
    (
        "proxy-from = ['::1', '10.0.0.1/8', 'x']",
        [
            "F:1: proxy-from: got '10.0.0.1/8', expected a network with no bits of a host; did you "
            "mean 10.0.0.0/8?",
            "F:1: proxy-from: got 'x', expected a network such as 10.0.0.0/8, an address, or unix",
        ],
    ),
    ("tls-cert = ''", ["F:1: tls-cert: got '', expected the path of a file"]),
    ('tls-key = "\\u0000"', ["F:1: tls-key: got '\\x00', expected the path of a file"]),
    # Ciphers.
    (
        "cipher = 'caesar:'",
        ["F:1: cipher: cipher 'caesar:': expected options after ':', or no ':'"],
    ),
    (f"cipher = 'caesar:99'\n{LISTENERS}", [f"F:1: cipher: cipher 'caesar:99': {SHIFT}"]),
    (
        f"{LISTENERS}cipher = [\n  'rot13',\n  'caesar:99',\n]",
        [f"F:5: [[listener]] 2: cipher: cipher 'caesar:99': {SHIFT}"],
    ),
    # TLS.
    ("listen = 'tls://[::1]:1'", ["F:1: listen: tls://[::1]:1 needs a certificate: give tls-cert"]),
    (
        "tls-cert = 'both.pem'\ntls-key = 'x'",
        [f"F:1: tls-cert: {NO_TLS}", f"F:2: tls-key: {NO_TLS}"],
    ),
    (
        "listen = 'tls://[::1]:1'\ntls-cert = 'both.pem'\ntls-client-auth = 'required'",
        ["F:3: tls-client-auth: no client is asked for a certificate: give tls-client-ca too"],
    ),
    # Endpoints that are there twice.
    (
        "[[listener]]\nurl = '8013'\n[[listener]]\nurl = ['0', 'tcp://127.0.0.1:8013']",
        ["F:4: [[listener]] 2: url: tcp://127.0.0.1:8013 is taken by F:2: [[listener]] 1: url"],
    ),
]


@pytest.mark.parametrize(("text", "expected"), COMPLAINTS, ids=[one[0][:40] for one in COMPLAINTS])
def test_a_complaint_names_the_line_and_the_key(
    text: str, expected: list[str], authority: Authority
) -> None:
    path = written(authority.directory, text)
    assert [one.replace(str(path), "F") for one in problems("--config", str(path))] == expected


def test_complaints_about_certificates_name_the_key(authority: Authority) -> None:
    text = """
        listen = "tls://localhost:0"
        tls-cert = "server.pem"
        tls-key = "missing.key"
    """
    path = written(authority.directory, text)
    [problem] = problems("--config", str(path))
    assert problem.startswith(f"{path}:4: tls-key: can't read the TLS key ")
    assert str(authority.directory / "missing.key") in problem


ALL_THAT_TOML_HAS = '''\
# [[listener]]

cipher = [  # [[listener]]
  'rot13',

  "caesar:'1'"]
"max-line" = 0
reply = """
[[listener]]
max-line = 1
"""
max-connections = 0
[["listener"]]
max-line = 0
[elsewhere]
max-line = 0
[listener.elsewhere]
max-line = 0
[[listener]]
max-line = 0
'''


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_lines_are_counted_past_all_that_toml_has(ending: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cipherecho.toml"
    path.write_bytes(ALL_THAT_TOML_HAS.encode().replace(b"\n", ending))
    found = {
        one.removeprefix(f"{path}:").rpartition(": ")[0] for one in problems("--config", str(path))
    }
    assert found == {
        "7: max-line",
        "8: reply",
        "12: max-connections",
        "13: [[listener]] 1: elsewhere",
        "13: [[listener]] 1: url",
        "14: [[listener]] 1: max-line",
        "15: elsewhere",
        "19: [[listener]] 2: url",
        "20: [[listener]] 2: max-line",
    }


# What a value may look like. In the strings, and in comments, are what ends and begins others.
INERT = st.text("\"'\\\\#[]{}= a", max_size=6)
COMMENT = INERT.map("#{}".format)
MULTI_LINE = st.text("\"'#[]{}\n a", max_size=9)
LITERAL = INERT.filter(lambda text: "'" not in text).map("'{}'".format)
BASIC = INERT.map(lambda text: '"' + text.replace("\\", r"\\").replace('"', r"\"") + '"')
MULTI_LINE_LITERAL = MULTI_LINE.filter(lambda text: "'''" not in text).map("'''{}'''".format)
MULTI_LINE_BASIC = MULTI_LINE.map(lambda text: '"""' + re.sub('"(?="")', r"\"", text) + '"""')
BETWEEN = st.just("") | st.builds("\n{}\n".format, COMMENT | st.just(""))
ONE_LINE = LITERAL | BASIC | st.just("1")
ANYTHING = st.recursive(
    ONE_LINE | MULTI_LINE_LITERAL | MULTI_LINE_BASIC,
    lambda inner: (
        st.lists(st.builds("{1}{0},{1}".format, inner, BETWEEN), max_size=3).map(
            lambda items: f"[{''.join(items)}]"
        )
        | ONE_LINE.map("{{ '{{' = {} }}".format)
    ),
    max_leaves=6,
)
STATEMENTS = st.lists(
    st.tuples(st.sampled_from(["{}", '"{}"', " '{}'"]), ANYTHING, BETWEEN | COMMENT, BETWEEN),
    max_size=6,
)


@given(STATEMENTS)
@example([("{}", '""""a"""""', "", ""), ("{}", "'''''['''''", "#[", "")])
def test_the_line_of_each_key_is_known(file: Path, statements: list[tuple[str, ...]]) -> None:
    text, lines = "", {}
    for number, (form, value, comment, after) in enumerate(statements):
        key = f"key-{number}"
        lines[None, key] = text.count("\n") + 1
        text += f"{form.format(key)} = {value}{comment}\n{after}"
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:  # some quotes end a string sooner than was meant
        assume(False)
    file.write_text(text, encoding="utf-8")
    assert read_settings_file(file).lines == lines


def test_a_long_list_is_read_in_the_time_that_it_takes_to_parse_it(tmp_path: Path) -> None:
    """And not that again for each of its lines."""
    networks = [f"10.{number >> 8}.{number & 255}.0/24" for number in range(10_000)]
    text = "proxy-from = [\n" + "".join(f'  "{one}",\n' for one in networks) + "]\ngrace = 1\n"
    path = written(tmp_path, text)
    begun = process_time()
    file = read_settings_file(path)
    assert process_time() - begun < 5  # a tenth of a second; it was minutes
    assert file.lines == {(None, "proxy-from"): 1, (None, "grace"): 10_003}


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    """Windows's Notepad may write one."""
    path = tmp_path / "cipherecho.toml"
    path.write_bytes(b"\xef\xbb\xbfmax-line = 7\r\n")
    assert configured("--config", str(path)).plan.listeners[0].limits.max_line == 7


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"reply = '\xff'", "'utf-8' codec can't decode byte 0xff"),
        (b"max-line = " + b"9" * 5000, "Exceeds the limit"),
    ],
    ids=["no text", "no number"],
)
def test_what_python_itself_refuses(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "cipherecho.toml"
    path.write_bytes(content)
    [problem] = problems("--config", str(path))
    assert problem.startswith(f"{path}: {expected}")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "cipherecho.toml"
    assert problems("--config", str(path)) == [f"{path}: No such file or directory"]
    assert problems("--config", str(tmp_path)) == [f"{tmp_path}: Is a directory"]


def test_what_is_wrong_without_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIPHERECHO_CIPHER", "nonesuch")
    monkeypatch.setenv("CIPHERECHO_GRACE", "long")
    said = problems("--max-line", "0", "--listen", "tls://localhost:0")
    assert [one.partition(": ")[0] for one in said] == [
        "Invalid value for '--max-line'",
        "Invalid value for CIPHERECHO_GRACE",
        "--listen",
        "CIPHERECHO_CIPHER",
    ]


@pytest.mark.parametrize(
    ("name", "arguments"), [("CIPHERECHO_LISTEN", []), ("--listen", ["--listen", "0"])]
)
def test_where_to_listen_is_not_said_besides_the_tables(
    name: str, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it would not be clear which cipher is served there."""
    if not arguments:
        monkeypatch.setenv(name, "0")
    said = problems("--config", str(written(tmp_path, LISTENERS)), *arguments)
    assert said == [f"{name}: {TOGETHER}"]


# Whatever is in the file.

KEYS = st.sampled_from([*LISTENER_KEYS, *PROCESS_KEYS, "listen", "url", "listener"]) | st.text()
TEXTS = st.sampled_from(["rot13", "caesar:1", "0", "tls://[::1]:0", "both.pem", "line"]) | st.text()
VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats() | TEXTS | st.dates() | st.times(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=5,
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=5)


def toml(value: Any) -> str:
    """Return a value as TOML has it."""
    match value:
        case dict():
            inner = ", ".join(f"{toml(key)} = {toml(one)}" for key, one in value.items())
            return f"{{{inner}}}"
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case str():
            return '"' + "".join(f"\\U{ord(one):08x}" for one in value) + '"'
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case _:
            return str(value.isoformat())


def document(top: dict[str, Any], tables: list[dict[str, Any]]) -> str:
    """Return a file with those listeners."""
    parts = []
    for header, table in [("", top), *(("[[listener]]\n", table) for table in tables)]:
        parts += [header, *(f"{toml(key)} = {toml(value)}\n" for key, value in table.items())]
    return "".join(parts)


DOCUMENTS = st.builds(document, TABLES, st.lists(TABLES, max_size=3))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any") / "cipherecho.toml"


@given(DOCUMENTS.map(str.encode) | st.text().map(str.encode) | st.binary())
@example(b'listen = "unix:///\\u0000"')
@example(b"max-line = 0x" + b"f" * 5000)
def test_any_file_is_taken_or_refused_in_words(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    try:
        configuration = configured("--config", str(file))
    except SettingsError as error:
        said = error.problems
    else:
        said = tuple(configuration.summary.splitlines())
    assert said


# The command.


def test_a_good_configuration_is_summed_up_without_its_keys(authority: Authority) -> None:
    text = """
        tls-cert = "both.pem"
        decrypt = true
        [[listener]]
        url = ["tls://0.0.0.0:8014", "unix:///run/x?mode=660"]
        cipher = ["caesar:5", "vigenere:LEMON"]
        [[listener]]
        url = "0"
        decrypt = false
    """
    ended = run("--config", written(authority.directory, text), "--check-config")
    assert ended == Ended(
        0,
        b"configuration ok\n"
        b"tls://0.0.0.0:8014: caesar, vigenere, decrypting\n"
        b"unix:///run/x?mode=660: caesar, vigenere, decrypting\n"
        b"tcp://127.0.0.1:0: rot13\n",
        "",
    )


def test_a_configuration_is_checked_without_a_file_too() -> None:
    assert run("--check-config", "--listen", "0").stdout == (
        b"configuration ok\ntcp://127.0.0.1:0: rot13\n"
    )
    assert run("--check-config", CIPHERECHO_MAX_LINE="9kB").status == 2


def test_sockets_that_are_handed_over_are_served_when_nothing_says_where() -> None:
    activated = "LISTEN_PID=$$ LISTEN_FDS=1 exec cipherecho --check-config 3</dev/null"
    assert run_shell(activated).stdout == b"configuration ok\nfd://3: rot13\n"
    assert run_shell(f"{activated} --listen 0").stdout == (
        b"configuration ok\ntcp://127.0.0.1:0: rot13\n"
    )


def test_sockets_that_a_wrapper_keeps_are_warned_of() -> None:
    """It was started by a service manager, and starts the server as its child."""
    ended = run_shell("LISTEN_PID=$$ LISTEN_FDS=1 cipherecho --check-config; :")
    assert ended.stdout == b"configuration ok\ntcp://127.0.0.1:8013: rot13\n"
    assert re.fullmatch(
        r"cipherecho: warning: the sockets in LISTEN_FDS were handed over to process \d+ \(sh\) "
        r"and not to this one, \d+, which is left without them: start it by exec, as in sh -c "
        r"'exec cipherecho', or without a wrapper; listening on tcp://127.0.0.1:8013 instead\n",
        ended.stderr,
    )
    # Whoever says where to listen does not mean them.
    assert run_shell("LISTEN_PID=$$ LISTEN_FDS=1 cipherecho --check-config --listen 0;:") == Ended(
        0, b"configuration ok\ntcp://127.0.0.1:0: rot13\n", ""
    )
    refused = run_shell("LISTEN_PID=$$ LISTEN_FDS=1 cipherecho --listen fd://web; exit $?")
    assert "can't listen on fd://web: the sockets in LISTEN_FDS were handed" in complaint(
        refused, 1
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("CIPHERECHO_MAX_CONNECTION_PER_SOURCE", "CIPHERECHO_MAX_CONNECTIONS_PER_SOURCE"),
        ("CIPHERECHO_PROXYFROM", "CIPHERECHO_PROXY_FROM"),
        ("CIPHERECHO_PLUGIN", "CIPHERECHO_PLUGINS"),
        ("CIPHERECHO_TLS_CERTS", "CIPHERECHO_TLS_CERT"),
        ("CIPHERECHO_ZZZ", ""),
    ],
)
def test_a_misspelt_variable_is_warned_of(
    name: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    hint = f"did you mean {hint}?" if hint else "cipherecho --help has all options"
    warning = f"environment variable {name} is not read; {hint}"
    assert configured().warnings == [warning]
    # It may be why something else is wrong.
    assert problems("--reply", "none")[1:] == [f"warning: {warning}"]
    monkeypatch.setenv(name, " ")
    assert configured().warnings == []


@pytest.mark.parametrize("service", ["CIPHERECHO", "CIPHERECHO_METRICS"])
def test_what_kubernetes_sets_for_a_service_is_passed_over(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it sets it for Services called cipherecho and cipherecho-metrics."""
    tcp = f"{service}_PORT_8013_TCP"
    for name, text in {
        f"{service}_SERVICE_HOST": "10.96.0.11",
        f"{service}_SERVICE_PORT": "8013",
        f"{service}_SERVICE_PORT_CIPHERECHO_TLS": "8013",
        f"{service}_PORT": "tcp://10.96.0.11:8013",
        tcp: "tcp://10.96.0.11:8013",
        f"{tcp}_PROTO": "tcp",
        f"{tcp}_PORT": "8013",
        f"{tcp}_ADDR": "10.96.0.11",
    }.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setenv("_CIPHERECHO_COMPLETE", "bash_source")
    monkeypatch.setenv("CIPHERECHO_PLUGINS", "cipherecho")
    assert configured().warnings == []


def test_a_warning_is_in_the_log_and_said_by_check_config() -> None:
    typo: dict[str, Any] = {"CIPHERECHO_MAXLINE": "1"}
    warning = (
        "environment variable CIPHERECHO_MAXLINE is not read; did you mean CIPHERECHO_MAX_LINE?"
    )
    assert run("--check-config", "--listen", "0", **typo) == Ended(
        0, b"configuration ok\ntcp://127.0.0.1:0: rot13\n", f"cipherecho: warning: {warning}\n"
    )
    with serving(variables=typo) as server:
        server.wait_for_record(f"warning {warning}")


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        ("LISTEN_FDS", {"LISTEN_FDS": "some"}),
        ("WATCHDOG_USEC", {"NOTIFY_SOCKET": "/nonesuch", "WATCHDOG_USEC": "soon"}),
    ],
)
def test_what_a_service_manager_says_wrongly(name: str, variables: dict[str, str]) -> None:
    words = " ".join(f"{name}={text}" for name, text in {"LISTEN_PID": "$$", **variables}.items())
    said = complaint(run_shell(f"{words} exec cipherecho"), 2)
    assert said.startswith(f"cipherecho: environment variable {name}: got ")


def test_metrics_without_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    [problem] = problems("--metrics", "tcp://127.0.0.1:0")
    assert problem.startswith("--metrics: the package prometheus_client is not installed")


ALL_KINDS_OF_MISTAKES = r"""
cipher = "nonesuch"
idle-timout = 9

[[listener]]
url = "tls://localhost:0"
max-line = 0

[[listener]]
cipher = ["caesar:1", "caesar:99"]
reply = "\u001b[31m"
"""


@pytest.mark.parametrize("options", [[], ["--check-config"]], ids=["starting", "checking"])
def test_all_that_is_wrong_is_told_at_once_and_nothing_is_served(
    options: list[str], tmp_path: Path
) -> None:
    path = written(tmp_path, ALL_KINDS_OF_MISTAKES)
    ended = run("--config", path, *options, "--grace", "0", CIPHERECHO_LOG_LEVEL="loud")
    assert (ended.status, ended.stdout) == (2, b"")
    begins = [
        "Invalid value for '--grace': got '0'",
        "Invalid value for CIPHERECHO_LOG_LEVEL: 'loud'",
        "F:3: idle-timout: there is no such key; did you mean idle-timeout?",
        "F:7: [[listener]] 1: max-line: got 0",
        r"F:11: [[listener]] 2: reply: '\x1b[31m' is not one of",
        "F:9: [[listener]] 2: url: is missing",
        "F:6: [[listener]] 1: url: tls://localhost:0 needs a certificate",
        "F:2: cipher: cipher 'nonesuch' is not installed",
        "F:10: [[listener]] 2: cipher: cipher 'caesar:99': option shift",
    ]
    said = ended.stderr.replace(str(path), "F").splitlines()
    assert len(said) == len(begins)
    for line, begin in zip(said, begins, strict=True):
        assert line.startswith(f"cipherecho: {begin}")


def test_what_the_file_says_is_served(tmp_path: Path) -> None:
    text = "[[listener]]\nurl = ['0', '0']\ncipher = 'caesar:1'\nreply = 'cipher'"
    with started(COMMAND, "--config", written(tmp_path, text), listeners=2) as server:
        assert server.ask(b"abc\n") == b"bcd\n"


def test_other_commands_do_not_look_at_settings_of_the_server() -> None:
    ended = run("apply", stdin=b"abc", CIPHERECHO_CONFIG="/nonesuch", CIPHERECHO_MAX_LINE="9kB")
    assert ended == Ended(0, b"nop", "")
