"""The words of other programs, and what they are here.

They come from ncat, socat, openssl, http.server, uvicorn, gunicorn, datasette and CyberChef.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["COMMANDS_GUESSED", "SERVE_GUESSED", "SOCAT", "options_guessed"]

SERVE_GUESSED = frozenset(["serve", "server", "run", "start", "listen", "up", "daemon"])
"""Words for serving, which is what cipherecho does without a word."""

_COMMANDS = {
    "apply": "encrypt enc encode encipher convert filter pipe translate transform",
    "apply --decrypt": "decrypt dec decode decipher",
    "ciphers": "list ls plugins list-ciphers info describe show explain",
    "check": "test verify validate conformance",
    "new": "init create scaffold generate startproject",
}
COMMANDS_GUESSED = {word: ours for ours, words in _COMMANDS.items() for word in words.split()}
"""Words for commands, and the commands."""

SOCAT = re.compile(
    r"(?:(?P<tls>OPENSSL|SSL)|TCP[46]?)-L(?:ISTEN)?:(?P<port>[0-9]+)(?:,.*)?"
    r"|UNIX-L(?:ISTEN)?:(?P<path>/[^,]+)(?:,.*)?",
    re.IGNORECASE,
)
"""An address of socat that listens."""


# kind, our words, others' names
_CIPHER = ("value", "--cipher", "-c --algorithm --algo --alg --code --codec --encoding --method")
_DECRYPT = ("flag", "--decrypt", "-d --decode --decipher")
_ENCRYPT = ("flag", "", "-e --encrypt --encode --encipher")
_HELP = ("flag", "--help", "-?")
_OUTPUT = ("output", "", "-o --output --out --outfile")

_SERVER = [
    _CIPHER,
    _DECRYPT,
    _ENCRYPT,
    _HELP,
    ("host", "", "-a -b --host --hostname --bind --bind-address --address --addr --ip --interface"),
    ("port", "", "-p --port"),
    ("unix", "", "-U --unixsock --unix --unix-socket --uds --socket --sock"),
    ("tls", "", "--ssl --tls --https"),
    ("command", "ciphers", "-L --list --list-ciphers --ciphers"),
    ("output", "", "-o --output --log-file --logfile"),
    ("value", "--config", "-f -C --config-file --conf --settings"),
    ("value", "--idle-timeout", "-i --idle --keep-alive --timeout-keep-alive"),
    ("value", "--log-level", "--loglevel"),
    ("value", "--max-connections", "-m --max-conns --max-clients --limit-concurrency"),
    ("value", "--max-line", "--max-line-length --line-length --buffer-size"),
    ("value", "--max-workers", "-w --workers --threads"),
    ("value", "--tls-cert", "--ssl-cert --ssl-certfile --cert --certfile --certificate"),
    ("value", "--tls-client-ca", "--ssl-ca-certs --ssl-trustfile --ca --cafile"),
    ("value", "--tls-key", "--ssl-key --ssl-keyfile --keyfile --private-key"),
    ("flag", "", "-l -k -n --listen-only --keep-open --foreground --server"),
    ("flag", "--check-config", "-t --test --validate --check --dry-run"),
    ("flag", "--log-format json", "--json"),
    ("flag", "--log-level debug", "-v --verbose --debug"),
    ("flag", "--log-level warning", "-q --quiet --silent"),
    ("flag", "--reply cipher", "--no-echo --cipher-only --only-cipher"),
    ("flag", "--version", "-V"),
]
_APPLY = [
    _CIPHER,
    _DECRYPT,
    _ENCRYPT,
    _HELP,
    _OUTPUT,
    ("cipher option", "key", "-k -K"),
    ("cipher option", "shift", "-n"),
    ("file", "", "-i -f --input --in --file --infile"),
    ("text", "", "-t -m --text --message --string --data"),
]
_ONE_CIPHER = [
    _HELP,
    _OUTPUT,
    ("file", "", "-c -n --cipher --name --spec"),
    ("flag", "", "-l -a --list --all"),
]
_NEW = [
    _HELP,
    ("file", "", "-c -n --cipher --name"),
    ("value", "--directory", "-d -o -C --dir --path --output --out --target"),
]
_OPTIONS = {"": _SERVER, "apply": _APPLY, "check": _ONE_CIPHER, "ciphers": _ONE_CIPHER, "new": _NEW}


def options_guessed(command: str) -> Mapping[str, tuple[str, str]]:
    """Return options that others have: what each is, and our words for it.

    What it is: ``flag``, ``value`` (of one of our options), or what its value stands for.

    >>> options_guessed("")["-c"], options_guessed("apply")["-d"]
    (('value', '--cipher'), ('flag', '--decrypt'))
    """
    return {name: (kind, ours) for kind, ours, names in _OPTIONS[command] for name in names.split()}
