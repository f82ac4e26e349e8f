r"""The Enigma of the German army and navy, with three rotors or four.

>>> encrypt = Enigma().encryptor()
>>> encrypt(b"AAA"), encrypt(b"a, a!")
(b'BDZ', b'g, o!')
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from operator import getitem
from typing import Annotated, NamedTuple

from cipherecho.cipher import OptionError, Transform, Vector
from cipherecho_machines.letters import code_letters, numbers_of

__all__ = ["Enigma"]


class _Rotor(NamedTuple):
    wiring: str
    notches: str


# The wirings of rotors and reflectors.  A notch is the letter that the rotor's window shows when
# the next key press also turns the rotor to its left.  From the Crypto Museum, «Enigma
# wiring», https://www.cryptomuseum.com/crypto/enigma/wiring.htm, the tables of Enigma I, M3
# and M4; Wikipedia, «Enigma rotor details», has the same.
_ROTORS = {
    "I": _Rotor("EKMFLGDQVZNTOWYHXUSPAIBRCJ", "Q"),
    "II": _Rotor("AJDKSIRUXBLHWTMCQGZNPYFVOE", "E"),
    "III": _Rotor("BDFHJLCPRTXVZNYEIWGAKMUSQO", "V"),
    "IV": _Rotor("ESOVPZJAYQUIRHXLNFTGKDCMWB", "J"),
    "V": _Rotor("VZBRGITYUPSDNHLXAWMJQOFECK", "Z"),
    "VI": _Rotor("JPGVOUMFYQBENHZRDKASXLICTW", "ZM"),
    "VII": _Rotor("NZJHGRCXMYSWBOUFAIVLPEKQDT", "ZM"),
    "VIII": _Rotor("FKQHTLXOCBJSPDZRAMEWNIUYGV", "ZM"),
}
_FOURTH_ROTORS = {
    "BETA": "LEYJVCNIXWPBQMDRTAKZGFUHOS",
    "GAMMA": "FSOKANUERHMBTIYCWLQPZXVGJD",
}
_REFLECTORS = {
    "A": "EJMZALYXVBWFCRQUONTSPIKHGD",
    "B": "YRUHQSLDPXNGOKMIEBFZCWVJAT",
    "C": "FVPJIAOYEDRZXWGCTKUQSBNMHL",
}
_THIN_REFLECTORS = {
    "THIN-B": "ENKQAUYWJICOPBLMDXZVFTHRGS",
    "THIN-C": "RDOBJNTKVEHMLFCWZAXGYIPSUQ",
}


@dataclass(frozen=True)
class Enigma:
    """Sends each letter through rotors that turn as it is typed, and back through them.

    Arthur Scherbius applied for the patent in 1918; the German army used the machine
    with a plugboard (Enigma I) from 1930, the navy the M3 with more rotors and, for its
    submarines from 1942, the M4 with a fourth that does not turn.  The right rotor steps
    with each letter, and a notch takes the next rotor along; since the pawl that turns the
    left rotor pushes the middle one too, the middle one steps twice in a row.  The reflector makes
    the machine its own inverse, but it also keeps every letter from becoming itself: a guessed
    word fits only where no letter meets its like.  Marian Rejewski worked out the wiring in
    1932 and read the traffic with Jerzy Różycki and Henryk Zygalski; Alan Turing's and
    Gordon Welchman's bombes found the keys from guessed words.  Only letters turn the
    rotors, and they turn on from line to line.
    """

    rotors: Annotated[
        str,
        "from left to right: three of I to VIII, none twice; the M4 has Beta or Gamma before them",
    ] = "I II III"
    reflector: Annotated[str, "A, B or C with three rotors; thin-B or thin-C with four"] = "B"
    rings: Annotated[
        str, "a letter for each rotor, from left to right; 01 on old key sheets is A"
    ] = "AAA"
    start: Annotated[str, "what the windows show at the start, a letter for each rotor"] = "AAA"
    plugs: Annotated[str, "pairs of letters to exchange, such as 'AB CD'; 13 at most"] = ""

    vectors = (
        Vector(
            "AAAAA",
            "BDZGO",
            source="Wikipedia, «Enigma rotor details», the example with rings at A",
        ),
        Vector(
            "AAAAA",
            "EWTYX",
            source="Wikipedia, «Enigma rotor details», the example with rings at B",
            options="rings=BBB",
        ),
        Vector(
            "FEINDLIQEINFANTERIEKOLONNEBEOBAQTETXANFANGSUEDAUSGANGBAERWALDEXENDEDREIKMOSTWAER"
            "TSNEUSTADT",
            "GCDSEAHUGWTQGRKVLFGXUCALXVYMIGMMNMFDXTGNVHVRMMEVOUYFZSLRHDRRXFJWCFHUHMUNZEFRDISI"
            "KBGPMYVXUZ",
            source="the German army's manual Schlüsselanleitung zur Chiffriermaschine Enigma I, "
            "1930; https://cryptocellar.org/enigma/e-message-1930.html",
            options='rotors="II I III",reflector=A,rings=XMV,start=ABL,plugs="AM FI NV PS TU WZ"',
        ),
        Vector(
            "AUFKLXABTEILUNGXVONXKURTINOWAXKURTINOWAXNORDWESTLXSEBEZXSEBEZXUAFFLIEGERSTRASZER\n"
            "IQTUNGXDUBROWKIXDUBROWKIXOPOTSCHKAXOPOTSCHKAXUMXEINSAQTDREINULLXUHRANGETRETENXAN\n"
            "GRIFFXINFXRGTX",
            "EDPUDNRGYSZRCXNUYTPOMRMBOFKTBZREZKMLXLVEFGUEYSIOZVEQMIKUBPMMYLKLTTDEISMDICAGYKUA\n"
            "CTCDOMOHWXMUUIAUBSTSLRNBZSZWNRFXWFYSSXJZVIJHIDISHPRKLKAYUPADTXQSPINQMATLPIFSVKDA\n"
            "SCTACDPBOPVHJK",
            source="the first part of a message of Operation Barbarossa, 7 July 1941; Geoff "
            "Sullivan and Frode Weierud, «Breaking German Army Ciphers», Cryptologia 29 (2005); "
            "here in three lines",
            options='rotors="II IV V",rings=BUL,start=BLA,plugs="AV BS CG DL FU HZ IN KM OW RX"',
        ),
        Vector(
            "STEUEREJTANAFJORDJANSTANDORTQUAAACCCVIERNEUNNEUNZWOFAHRTZWONULSMXXSCHARNHORSTHCO",
            "YKAENZAPMSCHZBFOCUVMRMDPYCOFHADZIZMEFXTHFLOLPZLFGGBOTGOXGRETDWTJIQHLMXVJWKZUASTR",
            source="a message of the battleship Scharnhorst on 26 December 1943, sent with an M3; "
            "Franklin Heath, «Enigma/Sample Messages», "
            "http://wiki.franklinheath.co.uk/index.php/Enigma/Sample_Messages",
            options='rotors="III VI VIII",rings=AHM,start=UZV,'
            'plugs="AN EZ HK IJ LR MQ OT PV SW UX"',
        ),
        Vector(
            "VONVONJLOOKSJHFFTTTEINSEINSDREIZWOYYQNNSNEUNINHALTXXBEIANGRIFFUNTERWASSERGEDRUEC\n"
            "KTYWABOSXLETZTERGEGNERSTANDNULACHTDREINULUHRMARQUANTONJOTANEUNACHTSEYHSDREIYZWOZ\n"
            "WONULGRADYACHTSMYSTOSSENACHXEKNSVIERMBFAELLTYNNNNNNOOOVIERYSICHTEINSNULL",
            "NCZWVUSXPNYMINHZXMQXSFWXWLKJAHSHNMCOCCAKUQPMKCSMHKSEINJUSBLKIOSXCKUBHMLLXCSJUSRR\n"
            "DVKOHULXWCCBGVLIYXEOAHXRHKKFVDREWEZLXOBAFGYUJQUKGRTVUKAMEURBVEKSUHHVOYHABCJWMAKL\n"
            "FKLMYFVNRIZRVVRTKOFDANJMOLBGFFLEOPRGTFLVRHOWOPBEKVWMUQFMPWPARMFHAGKXIIBG",
            source="a message of the submarine U-264, 25 November 1942, sent with an M4; the M4 "
            "Message Breaking Project, https://www.bytereef.org/m4-project-first-break.html; here "
            "in three lines",
            options='rotors="Beta II IV I",reflector=thin-B,rings=AAAV,start=VJNA,'
            'plugs="AT BL DF GJ HM NW OP QY RZ VX"',
        ),
        Vector(
            "Aa, aößa\n\n7 a!",
            "Bd, zößg\n\n7 o!",
            source="our own: the first example again, continuing across other characters and "
            "from line to line",
        ),
    )

    def __post_init__(self) -> None:
        rotors = _words(self.rotors)
        fourth, turning = rotors[:-3], set(rotors[-3:])
        if (
            len(fourth) > 1
            or len(turning) < 3
            or not _FOURTH_ROTORS.keys() >= set(fourth)
            or not _ROTORS.keys() >= turning
        ):
            raise OptionError(
                "rotors",
                self.rotors,
                f"three of {', '.join(_ROTORS)}, none twice, with spaces between them; for an M4, "
                "Beta or Gamma before those",
            )
        if self._reflector not in (_THIN_REFLECTORS if fourth else _REFLECTORS):
            raise OptionError(
                "reflector",
                self.reflector,
                "thin-B or thin-C, as there are four rotors"
                if fourth
                else "A, B or C, as there are three rotors",
            )
        for option, letters in ("rings", self.rings), ("start", self.start):
            if len(letters) != 3 + len(fourth) or not (letters.isascii() and letters.isalpha()):
                raise OptionError(
                    option,
                    letters,
                    f"{3 + len(fourth)} letters A-Z, one for each rotor, without spaces",
                )
        plugged = "".join(self._plugs)
        if (
            any(len(pair) != 2 for pair in self._plugs)
            or not set(plugged) <= set(string.ascii_uppercase)
            or len(set(plugged)) < len(plugged)
        ):
            raise OptionError(
                "plugs",
                self.plugs,
                "pairs of letters A-Z with spaces between them, such as 'AB CD', each letter in "
                "one pair at most",
            )

    def encryptor(self) -> Transform:
        """Return a transform whose windows show `start`."""
        return _Typist(self._scrambler)

    def decryptor(self) -> Transform:
        """Return what :meth:`encryptor` does: the machine is its own inverse."""
        return _Typist(self._scrambler)

    @property
    def _reflector(self) -> str:
        name = "-".join(_words(self.reflector.replace("-", " ")))
        return f"THIN-{name[0]}" if name in ("B-THIN", "C-THIN") else name

    @property
    def _plugs(self) -> list[str]:
        return _words(self.plugs)

    @cached_property
    def _scrambler(self) -> _Scrambler:
        *fourth, left, middle, right = _words(self.rotors)
        rings, start = numbers_of(self.rings), numbers_of(self.start)
        reflector = _padded(numbers_of((_REFLECTORS | _THIN_REFLECTORS)[self._reflector]))
        if fourth:  # it never turns, so it becomes part of the reflector
            there, back = _at_offset(_FOURTH_ROTORS[fourth[0]], start[0] - rings[0])
            reflector = there.translate(reflector).translate(back)
        plugboard = bytearray(range(26))
        for one, other in map(numbers_of, self._plugs):
            plugboard[one], plugboard[other] = other, one
        return _Scrambler(
            (left, middle, right), reflector, rings[-3:], start[-3:], bytes(plugboard)
        )


class _Presses(NamedTuple):
    """The substitution of each key press, starting with the first.

    After the last one, they repeat from number `repeat_from`; None if that isn't reached yet.
    """

    tables: list[bytes]
    repeat_from: int | None


class _Scrambler:
    """A machine's wiring and start, shared by all connections.

    The rotors are back at their start after 26 x 26 x 26 letters at most.  The substitution at
    each step doesn't depend on the text, so all are worked out once, into 1.5 MB at most, and
    then coding a letter is one look-up.
    """

    # The whole takes some 15 ms, and the first line shouldn't wait for that.
    _FIRST = 256

    def __init__(
        self,
        rotors: tuple[str, str, str],
        reflector: bytes,
        rings: bytes,
        start: bytes,
        plugboard: bytes,
    ) -> None:
        self._rotors = rotors
        self._reflector = reflector
        self._rings = rings
        self._start = start
        self._plugboard = plugboard
        self._presses = _Presses([], None)

    def presses(self, count: int) -> _Presses:
        """Return at least the first `count` presses, or all until they repeat."""
        presses = self._presses
        if len(presses.tables) < count and presses.repeat_from is None:
            # The old tables are replaced rather than changed, so several threads may do this at
            # once.  Doubling keeps the work below twice the minimum.
            presses = self._work_out(max(count, 2 * len(presses.tables), self._FIRST))
            self._presses = presses
        return presses

    def _work_out(self, count: int) -> _Presses:
        (left, left_ring), (middle, middle_ring), (right, right_ring) = (
            (_ROTORS[name], ring) for name, ring in zip(self._rotors, self._rings, strict=True)
        )
        exit_plugs = _padded(self._plugboard)
        inner: dict[tuple[int, int], bytes] = {}  # through all rotors but the right one
        tables: list[bytes] = []
        place_of: dict[tuple[int, int, int], int] = {}
        for windows in _steps(self._start, middle.notches, right.notches):
            if windows in place_of:
                return _Presses(tables, place_of[windows])
            if len(tables) == count:
                break
            place_of[windows] = len(tables)
            in_left, in_middle, in_right = windows
            if (in_left, in_middle) not in inner:
                there, back = _at_offset(middle.wiring, in_middle - middle_ring)
                on, off = _at_offset(left.wiring, in_left - left_ring)
                inner[in_left, in_middle] = (
                    there.translate(on).translate(self._reflector).translate(off).translate(back)
                )
            there, back = _at_offset(right.wiring, in_right - right_ring)
            table = self._plugboard.translate(there).translate(inner[in_left, in_middle])
            tables.append(table.translate(back).translate(exit_plugs))
        return _Presses(tables, None)


class _Typist:
    """Types on the machine, for one connection; the state is a place in a list."""

    __slots__ = ("_place", "_scrambler")

    def __init__(self, scrambler: _Scrambler, place: int = 0) -> None:
        self._scrambler = scrambler
        self._place = place

    def __call__(self, body: bytes) -> bytes:
        return code_letters(body, self._type)

    def __deepcopy__(self, memo: dict[int, object]) -> _Typist:
        return _Typist(self._scrambler, self._place)

    def _type(self, numbers: bytes) -> bytes:
        tables, repeat_from = self._scrambler.presses(self._place + len(numbers))
        coded = b""
        while len(coded) < len(numbers):
            if self._place == len(tables):
                assert repeat_from is not None  # otherwise there would be more tables
                self._place = repeat_from
            rest = numbers[len(coded) :]
            due = tables[self._place : self._place + len(rest)]
            coded += bytes(map(getitem, due, rest))
            self._place += len(due)
        return coded


def _steps(start: bytes, middle_notches: str, right_notches: str) -> Iterator[tuple[int, int, int]]:
    """Yield what the windows of the turning rotors show as each letter is coded, forever.

    Each rotor has a pawl to its right.  When the pawl falls into the notch of the rotor to the
    right, it pushes both rotors, which is the double step.  The right rotor has no rotor to its
    right, so its pawl pushes it every time.

    >>> from itertools import islice
    >>> for windows in islice(_steps(numbers_of("ADU"), "E", "V"), 4):
    ...     print("".join(chr(ord("A") + window) for window in windows))
    ADV
    AEW
    BFX
    BFY
    """
    of_middle, of_right = numbers_of(middle_notches), numbers_of(right_notches)
    left, middle, right = start
    while True:
        if middle in of_middle:
            left = (left + 1) % 26
            middle = (middle + 1) % 26
        elif right in of_right:
            middle = (middle + 1) % 26
        right = (right + 1) % 26
        yield left, middle, right


@cache  # a rotor has 26 pairs of 600 bytes, and as many for negative offsets
def _at_offset(wiring: str, offset: int) -> tuple[bytes, bytes]:
    """Return the tables of a rotor turned by `offset`, towards the reflector and back."""
    letters = numbers_of(wiring)
    there = bytes((letters[(number + offset) % 26] - offset) % 26 for number in range(26))
    back = bytes(there.index(number) for number in range(26))
    return _padded(there), _padded(back)


def _padded(numbers: bytes | bytearray) -> bytes:
    """Return a table for bytes.translate, which needs 256 bytes."""
    return bytes(numbers).ljust(256, b"\0")


def _words(text: str) -> list[str]:
    """Return the words of `text` in capitals.

    Text that isn't ASCII stays as it is, since some of its letters have ASCII capitals.
    """
    return text.upper().split() if text.isascii() else [text]
