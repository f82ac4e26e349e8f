"""The Playfair cipher against a model that looks up letters in a grid."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cipherecho.cipher import InputError, OptionError, Vector
from cipherecho.ciphers.options import BadOptionError, options_of
from cipherecho.ciphers.specification import parse
from cipherecho.registry import Registry
from cipherecho.session import ReplyMode, Session
from cipherecho_classical.playfair import Playfair

LETTERS = "ABCDEFGHIKLMNOPQRSTUVWXYZ"
keys = st.text(string.ascii_letters + " ", min_size=1).filter(lambda key: key.strip(" "))
pads = st.sampled_from(string.ascii_letters)
lines = st.text(string.ascii_letters + " .,'-")
# Few letters, so that doubles occur, and pads among them.
doubles = st.text("XxQqAIJ ")


def model_pairs(text: str, pad: str) -> str:
    """Return the letters of `text` with pads, by splitting the first pair of equal letters."""
    pad = pad.upper().replace("J", "I")
    letters = "".join(one for one in text.upper().replace("J", "I") if one in LETTERS)
    for place in range(0, 2 * len(letters), 2):
        pair = letters[place : place + 2]
        if pair and pair in (pair[0], 2 * pair[0]):
            instead = pad if pair[0] != pad else "XQ"[pad == "X"]
            letters = letters[: place + 1] + instead + letters[place + 1 :]
    return letters


def model(text: str, key: str, pad: str) -> str:
    cells: list[str] = []
    for letter in key.upper().replace("J", "I").replace(" ", "") + LETTERS:
        if letter not in cells:
            cells.append(letter)
    grid = [cells[start : start + 5] for start in range(0, 25, 5)]
    place = {grid[row][column]: (row, column) for row in range(5) for column in range(5)}
    letters = model_pairs(text, pad)
    coded = ""
    for first, second in zip(letters[::2], letters[1::2], strict=True):
        (row_1, column_1), (row_2, column_2) = place[first], place[second]
        if row_1 == row_2:
            coded += grid[row_1][(column_1 + 1) % 5] + grid[row_2][(column_2 + 1) % 5]
        elif column_1 == column_2:
            coded += grid[(row_1 + 1) % 5][column_1] + grid[(row_2 + 1) % 5][column_2]
        else:
            coded += grid[row_1][column_2] + grid[row_2][column_1]
    return coded


@given(st.one_of(lines, doubles), keys, pads)
@example("Hide the gold in the tree stump", "playfair example", "X")
@example("XXX", "A", "X")
@example("qqxxq", "A", "q")
@example("iji", "A", "j")
def test_encrypts_as_the_model_and_gives_back_the_pairs(text: str, key: str, pad: str) -> None:
    cipher = Playfair(key, pad)
    coded = cipher.encrypt(text.encode())
    assert coded.decode() == model(text, key, pad)
    plain = cipher.decrypt(coded)
    assert plain.decode() == model_pairs(text, pad)
    # The second round trip loses nothing more.
    assert cipher.encrypt(plain) == coded


@given(st.lists(st.permutations(LETTERS).map(lambda letters: "".join(letters[:2]))), keys)
def test_all_that_decrypts_encrypts_again(pairs: list[str], key: str) -> None:
    coded = "".join(pairs).encode()
    assert Playfair(key).encrypt(Playfair(key).decrypt(coded)) == coded


@pytest.mark.parametrize("vector", Playfair.vectors)
def test_model_agrees_with_the_vectors(vector: Vector) -> None:
    key = vector.options.removeprefix("key=")
    coded = [model(line, key, "X") for line in vector.plaintext.split("\n")]
    assert coded == vector.ciphertext.split("\n")


@pytest.mark.parametrize(
    ("text", "number"), [("hide the gold in the tree stump", 0), ("balloon\n\nxx", 2)]
)
def test_vectors_are_these_messages_written_in_pairs(text: str, number: int) -> None:
    vector = Playfair.vectors[number]
    cipher = Playfair(vector.options)
    coded = [cipher.encrypt(line.encode()).decode() for line in text.split("\n")]
    assert coded == vector.ciphertext.split("\n")


@pytest.mark.parametrize(
    ("text", "pad", "back"),
    [
        ("balloon", "X", "BALXLOON"),
        ("Balloon", "q", "BALQLOON"),
        ("all", "X", "ALLX"),  # the two Ls don't make a pair
        ("a", "X", "AX"),
        ("x", "X", "XQ"),
        ("xx", "X", "XQXQ"),
        ("xxx", "X", "XQXQXQ"),
        ("qq", "X", "QXQX"),
        ("zz", "Z", "ZXZX"),
        ("Jim, JI", "X", "IXIMIXIX"),
        ("aa", "J", "AIAI"),
        ("", "X", ""),
        (" - ", "X", ""),
    ],
)
def test_what_comes_back(text: str, pad: str, back: str) -> None:
    cipher = Playfair("secret", pad)
    assert cipher.decrypt(cipher.encrypt(text.encode())).decode() == back


@pytest.mark.parametrize("text", ["BMODZ BXDNA BEKUD", "bmodzbxdnabekud", "BMODZBXDNABEKU-D."])
def test_groups_and_small_letters_decrypt(text: str) -> None:
    cipher = Playfair("playfair example")
    assert cipher.decrypt(text.encode() + b"M") == b"HIDETHEGOLDINTHE"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ABC", "got 3 letters, expected pairs, so an even number"),
        ("ABCC", "got 'CC' for pair 2, expected two different letters"),
        ("AJ", "got 'J' at place 2, expected letters A-Z without J"),
        ("A7", "got '7' at place 2, expected letters A-Z without J"),
        ("Ä", "got 'Ä' at place 1, expected letters A-Z without J"),
    ],
)
def test_what_no_line_is_coded_as_is_rejected(text: str, problem: str) -> None:
    with pytest.raises(InputError) as rejection:
        Playfair("secret").decrypt(text.encode())
    assert str(rejection.value) == problem


@pytest.mark.parametrize("body", [b"at 7", "Größe".encode(), b"\xff"])
def test_rejected_line_does_not_end_the_connection(body: bytes) -> None:
    session = Session(Playfair("playfair example"), reply=ReplyMode.CIPHER)
    error, coded = session.receive(body + b"\nHide\n").splitlines()
    assert error.startswith(b"!error: got ")
    assert coded == b"BMOD"


@pytest.mark.parametrize(
    "text",
    [
        "playfair:playfair example",
        "playfair:'playfair example',pad=X",
        "Playfair:key=playfair example",
    ],
)
def test_options_are_read(text: str) -> None:
    assert Registry().load(parse(text)) == Playfair("playfair example", "X")


@pytest.mark.parametrize("pad", ["", "XX", "7", " ", "é", "ß", "ſ"])  # noqa: RUF001
def test_other_pads_are_refused(pad: str) -> None:
    with pytest.raises(OptionError) as refusal:
        Playfair("secret", pad)
    assert (refusal.value.option, refusal.value.given) == ("pad", pad)
    assert refusal.value.expected == "one letter A-Z"


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("playfair", "key"),
        ('playfair:""', "key"),
        ("playfair:4711", "key"),
        ("playfair:secret,pad=", "pad"),
        ("playfair:secret,pad=12", "pad"),
    ],
)
def test_bad_option_is_named(text: str, option: str) -> None:
    with pytest.raises(BadOptionError) as refusal:
        Registry().load(parse(text))
    assert refusal.value.option == option


def test_options_are_explained() -> None:
    key, pad = options_of(Playfair)
    assert (key.name, key.required) == ("key", True)
    assert (pad.name, pad.default) == ("pad", "X")
    assert pad.help == "the letter that splits doubles and fills up the last pair"
