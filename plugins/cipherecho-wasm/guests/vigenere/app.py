"""The Vigenère cipher in Python: what it is and takes.

The modules wit_world and componentize_py_types are made of cipher.wit, by componentize-py.
All that is ever imported has to be imported here at the top: when the cipher runs there are
no files, and what was imported while it was built is in it.
"""

from wit_world import exports
from wit_world.exports.cipher import CipherOption, Description, Inverse, Vector


class Cipher(exports.Cipher):
    """The interface's functions; its resource is in the module cipher, named after it."""

    def describe(self) -> Description:
        return Description(
            help="Moves each letter as far as the next letter of a key says: A by none, B by one.",
            options=[
                CipherOption(
                    "key",
                    takes="one or more letters A-Z",
                    default=None,
                    help="small ones too; used again and again",
                )
            ],
            vectors=[
                Vector(
                    "ATTACKATDAWN",
                    "LXFOPVEFRNHR",
                    source="Wikipedia, «Vigenère cipher», the example under «Description»",
                    options="LEMON",
                ),
                Vector(
                    "CRYPTOISSHORTFORCRYPTOGRAPHY",
                    "CSASTPKVSIQUTGQUCSASTPIUAQJB",
                    source="Wikipedia, «Vigenère cipher», the example of a Kasiski examination",
                    options="key=ABCD",
                ),
                Vector(
                    "Attack\nat dawn, in the Größe of 7\n\nLEMONS!",
                    "Lxfopv\nef rnhr, ub gsi Sfößr zj 7\n\nXSZZRE!",
                    source="our own, letter by letter: the first example again, with the key "
                    "continuing across other characters and from line to line",
                    options="lemon",
                ),
            ],
            inverse=Inverse.EXACT,
        )
