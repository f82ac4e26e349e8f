"""The cipher: known answers, round trips, and what decrypting rejects."""

import pickle
import re
from base64 import b64decode, b64encode
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cipherecho.cipher import InputError, OptionError
from cipherecho.ciphers.composition import chain, inverse
from cipherecho.ciphers.options import BadOptionError, options_of
from cipherecho.ciphers.specification import Specification, parse
from cipherecho.registry import Registry
from cipherecho.rot13 import Rot13
from cipherecho.session import MAX_LINE, ReplyMode, Session
from cipherecho.testing import conform
from cipherecho_aead import __version__
from cipherecho_aead.aead import ALGORITHMS, Aead, label_of, opened, sealed
from cipherecho_aead.keyfile import create_key
from cipherecho_aead.known_answers import KNOWN_ANSWERS, KNOWN_LINES, KnownAnswer, KnownLine

NONCE, TAG = 12, 16
MESSAGE = b"Attack at dawn!"

bodies = st.binary(max_size=300).map(lambda body: body.replace(b"\n", b"\r"))
each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)


@pytest.fixture(scope="module", params=list(ALGORITHMS))
def cipher(request: pytest.FixtureRequest) -> Aead:
    """One cipher for each algorithm, for all tests of this module; its key file is gone."""
    with TemporaryDirectory() as directory:
        path = Path(directory, "aead.key")
        create_key(path)
        return Aead(path, request.param)


def specification(key_file: Path, **options: str) -> Specification:
    return Specification("aead", options=(("key-file", str(key_file)), *options.items()))


# Known answers.


@pytest.mark.parametrize("answer", KNOWN_ANSWERS, ids=lambda answer: answer.source)
def test_known_answer_holds_both_ways(answer: KnownAnswer) -> None:
    primitive = ALGORITHMS[answer.algorithm](bytes.fromhex(answer.key))
    nonce, label, plaintext, ciphertext = map(
        bytes.fromhex, (answer.nonce, answer.associated_data, answer.plaintext, answer.ciphertext)
    )
    # Test case 16 has a CR.
    coded = b"\r" * plaintext.count(b"\r") + b64encode(nonce + ciphertext)
    assert sealed(primitive, nonce, plaintext, label) == coded
    assert opened(primitive, coded, label) == plaintext


def test_each_algorithm_has_known_answers_and_lines() -> None:
    for known in (KNOWN_ANSWERS, KNOWN_LINES):
        assert {one.algorithm for one in known} == set(ALGORITHMS)
        assert all(one.source for one in known)


@pytest.mark.parametrize("line", KNOWN_LINES, ids=lambda line: f"{line.algorithm} {line.plaintext}")
def test_known_line_decrypts_with_the_key_in_a_file(line: KnownLine, tmp_path: Path) -> None:
    path = tmp_path / "known.key"
    path.touch(0o600)
    path.write_text(f"{line.key}\n")
    cipher = Registry().load(specification(path, algorithm=line.algorithm))
    session = Session(inverse(cipher), reply=ReplyMode.CIPHER)
    assert session.receive(line.coded + b"\r\n") == line.plaintext + b"\r\n"


@each_algorithm
def test_line_is_made_as_the_readme_says(algorithm: str) -> None:
    primitive = ALGORITHMS[algorithm](bytes(32))
    nonce = bytes(range(NONCE))
    ciphertext = primitive.encrypt(nonce, MESSAGE, f"cipherecho-aead 1 {algorithm}".encode())
    coded = sealed(primitive, nonce, MESSAGE, label_of(algorithm))
    assert b64decode(coded, validate=True) == nonce + ciphertext
    assert len(ciphertext) == len(MESSAGE) + TAG


# Round trips.


@given(bodies)
@example(b"")
@example(b"\r")
@example(b"\r\r in front, \r within, at the end \r")
@example(bytes(256))
def test_every_line_comes_back(cipher: Aead, body: bytes) -> None:
    coded = cipher.encrypt(body)
    assert cipher.decrypt(coded) == body
    carriage_returns = body.count(b"\r")
    text = 4 * -(-(len(body) + NONCE + TAG) // 3)
    assert re.fullmatch(rb"\r{%d}[A-Za-z0-9+/=]{%d}" % (carriage_returns, text), coded)


@given(st.lists(bodies, max_size=5), st.sampled_from([b"\n", b"\r\n"]), st.data())
def test_every_line_comes_back_however_the_bytes_are_cut(
    cipher: Aead, lines: list[bytes], ending: bytes, data: st.DataObject
) -> None:
    # A CR at the end would be half of a CRLF.
    sent = b"".join(line.rstrip(b"\r") + ending for line in lines)
    there, back = (Session(one, reply=ReplyMode.CIPHER) for one in (cipher, inverse(cipher)))
    coded = there.receive(sent)
    cut = data.draw(st.integers(0, len(coded)))
    assert back.receive(coded[:cut]) + back.receive(coded[cut:]) + back.end() == sent


def test_same_line_has_another_nonce_and_code_each_time(cipher: Aead) -> None:
    coded = {cipher.encrypt(MESSAGE) for _ in range(1000)}
    assert len({b64decode(line)[:NONCE] for line in coded}) == len(coded) == 1000


@given(st.lists(bodies, max_size=5), st.booleans())
def test_chain_with_another_cipher_comes_back(
    cipher: Aead, lines: list[bytes], first: bool
) -> None:
    both = chain([cipher, Rot13()] if first else [Rot13(), cipher])
    there, back = (Session(one, reply=ReplyMode.CIPHER) for one in (both, inverse(both)))
    sent = b"".join(line + b"\r\n" for line in lines)
    assert back.receive(there.receive(sent)) == sent


def test_chain_with_itself_comes_back(cipher: Aead) -> None:
    twice = chain([cipher, cipher])
    there, back = (Session(one, reply=ReplyMode.CIPHER) for one in (twice, inverse(twice)))
    assert back.receive(there.receive(b"\n50%\r100%\n")) == b"\n50%\r100%\n"


def test_longest_line_is_encrypted_and_the_longest_code_decrypted(cipher: Aead) -> None:
    there, back = (Session(one, reply=ReplyMode.CIPHER) for one in (cipher, inverse(cipher)))
    assert len(there.receive(b"x" * MAX_LINE + b"\n")) == 4 * ((MAX_LINE + 28 + 2) // 3) + 1
    # The README's figure: the ciphertext has 65,536 characters, which is the limit.
    longest = b"x" * 49_124 + b"\n"
    assert back.receive(there.receive(longest)) == longest
    assert b"!error: got a line of more than 65536 bytes" in back.receive(
        there.receive(b"x" + longest)
    )


# What decrypting rejects.

REFUSED = rb"!error: got .*, expected .*; this line is skipped, the connection goes on"


@pytest.mark.parametrize("body", [b"", MESSAGE, b"50%\r100%\r."], ids=repr)
def test_every_changed_byte_is_refused_and_the_connection_goes_on(
    cipher: Aead, body: bytes
) -> None:
    coded = cipher.encrypt(body)
    session = Session(inverse(cipher), reply=ReplyMode.CIPHER)
    for place, right in enumerate(coded):
        for wrong in set(range(256)) - {right, 0x0A}:
            forged = coded[:place] + bytes([wrong]) + coded[place + 1 :]
            assert re.fullmatch(REFUSED + rb"\r\n", session.receive(forged + b"\r\n"))
    assert session.rejected == 255 * len(coded) - len(coded)
    assert session.receive(coded + b"\n") == body + b"\n"
    assert session.closed is None


def test_truncated_and_extended_lines_are_refused(cipher: Aead) -> None:
    coded = cipher.encrypt(b"50%\r100%")
    message = b64decode(coded)
    # A cut text, and the whole base64 of a cut message; and both with more.
    forged = [coded[:size] for size in range(len(coded))] + [coded[1:]]
    forged += [b"\r" + b64encode(message[:size]) for size in range(len(message))]
    forged += [b"\r" + b64encode(message[size:]) for size in range(1, len(message))]
    forged += [b"\r" + coded, coded + b"=", coded + b" ", coded + b"\r", coded + coded]
    forged += [b"\r" + b64encode(message + b"\0")]
    session = Session(inverse(cipher), reply=ReplyMode.CIPHER)
    for line in forged:
        assert re.fullmatch(REFUSED + rb"\r\n", session.receive(line + b"\r\n")), line
    assert session.receive(coded + b"\r\n") == b"50%\r100%\r\n"


def test_only_one_text_is_right_for_a_line(cipher: Aead) -> None:
    """The last character before the padding has unused bits."""
    coded = cipher.encrypt(MESSAGE)  # 43 bytes are 57 characters and 2 bits
    assert coded.endswith(b"==")
    same = [
        text
        for text in (coded[:-3] + bytes([last]) + b"==" for last in b"AQgwBCDEFRSThijxyz0189+/")
        if b64decode(text) == b64decode(coded) and text != coded
    ]
    assert same
    for text in same:
        with pytest.raises(InputError, match="not base64"):
            cipher.decrypt(text)


@given(bodies)
@example(b"")
@example(b"=")
@example(b64encode(bytes(NONCE + TAG)))
@example("ü".encode())
def test_any_other_line_is_refused(cipher: Aead, line: bytes) -> None:
    with pytest.raises(InputError):
        cipher.decrypt(line)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", "got 0 bytes that are not base64, expected a line that aead encrypted"),
        (
            MESSAGE,
            "got 15 bytes that are not base64, expected a line that aead encrypted",
        ),
        (
            b"QXR0YWNr",
            "got base64 of 6 bytes, expected at least 28: the nonce and the tag",
        ),
        (
            b64encode(bytes(28)),
            "got a line that was encrypted with another key or algorithm, or changed since, "
            "expected one as aead encrypted it",
        ),
    ],
    ids=["empty", "plain text", "short", "forged"],
)
def test_refusal_says_what_was_given_and_expected(cipher: Aead, line: bytes, message: str) -> None:
    with pytest.raises(InputError) as refusal:
        cipher.decrypt(line)
    assert str(refusal.value) == message


def test_line_of_another_key_or_algorithm_is_refused(key_file: Path, tmp_path: Path) -> None:
    create_key(tmp_path / "other.key")
    ours = [Aead(key_file, algorithm) for algorithm in ("chacha20-poly1305", "aes-256-gcm")]
    for cipher in ours:
        for other in [*ours, Aead(tmp_path / "other.key", cipher.algorithm)]:
            if other is not cipher:
                with pytest.raises(InputError, match="another key or algorithm"):
                    other.decrypt(cipher.encrypt(MESSAGE))


@each_algorithm
def test_line_with_another_label_is_refused(algorithm: str) -> None:
    primitive = ALGORITHMS[algorithm](bytes(32))
    coded = sealed(primitive, bytes(NONCE), MESSAGE, label_of(algorithm))
    for label in (b"", b"cipherecho-aead 2 " + algorithm.encode(), label_of(algorithm) + b" "):
        with pytest.raises(InputError):
            opened(primitive, coded, label)


@each_algorithm
@pytest.mark.parametrize("body", [b"one\ntwo", b"\n", b"50%\r100%"], ids=repr)
def test_what_is_not_one_line_is_refused_though_it_has_our_key(algorithm: str, body: bytes) -> None:
    """Another program with the key can encrypt a LF, or leave out the CRs."""
    primitive = ALGORITHMS[algorithm](bytes(32))
    nonce = bytes(NONCE)
    coded = b64encode(nonce + primitive.encrypt(nonce, body, label_of(algorithm)))
    with pytest.raises(InputError):
        opened(primitive, coded, label_of(algorithm))


# As it is installed.


def test_is_installed_and_explained() -> None:
    registry = Registry()
    entry = registry.find("aead")
    assert (entry.package, entry.version) == ("cipherecho-aead", __version__)
    assert registry.status(entry) == "ok"
    assert registry.factory(entry) is Aead
    assert "replayed" in (Aead.__doc__ or "")


@each_algorithm
def test_conforms(key_file: Path, algorithm: str) -> None:
    conform(Aead, str(specification(key_file, algorithm=algorithm)).removeprefix("aead:"))


def test_options_are_read(key_file: Path) -> None:
    registry = Registry()
    for text in (
        f"aead:'{key_file}'",
        f"aead:key-file='{key_file}'",
        f"AEAD:Key_File='{key_file}'",
    ):
        cipher = registry.load(parse(text))
        assert isinstance(cipher, Aead)
        assert (cipher.key_file, cipher.algorithm) == (key_file, "chacha20-poly1305")
    key, algorithm = options_of(Aead)
    assert (key.name, key.required) == ("key-file", True)
    assert (algorithm.name, algorithm.default) == ("algorithm", "chacha20-poly1305")
    assert "new-key" in key.help


def test_bad_options_are_named(key_file: Path) -> None:
    with pytest.raises(BadOptionError, match="option key-file is missing, expected a path"):
        Registry().load(parse("aead"))
    with pytest.raises(
        BadOptionError, match="got 'des', expected one of chacha20-poly1305, aes-256-gcm"
    ) as refusal:
        Registry().load(specification(key_file, algorithm="des"))
    assert refusal.value.option == "algorithm"
    with pytest.raises(OptionError, match="expected one of chacha20-poly1305, aes-256-gcm"):
        Aead(key_file, "des")  # type: ignore[arg-type]


def test_key_is_not_shown_nor_pickled(key_file: Path) -> None:
    key = key_file.read_text().strip()
    cipher = Aead(key_file)
    assert repr(cipher) == f"Aead(key_file={key_file!r}, algorithm='chacha20-poly1305')"
    secrets = (key, bytes.fromhex(key))
    shown = [repr(cipher), str(cipher), repr(vars(cipher)), repr(inverse(cipher))]
    shown.append(repr(chain([cipher, Rot13(), cipher])))
    for secret in secrets:
        assert not any(str(secret) in text or repr(secret) in text for text in shown)
        assert secret not in vars(cipher).values()
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(cipher)


def test_ciphers_with_one_path_are_not_equal_since_the_key_may_not_be(key_file: Path) -> None:
    before = Aead(key_file)
    key_file.unlink()
    create_key(key_file)
    assert before != Aead(key_file)
