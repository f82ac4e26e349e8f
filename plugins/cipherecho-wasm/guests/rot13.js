// ROT13 in JavaScript.
//
// The names are those of cipher.wit, in camel case.  A list of bytes is a Uint8Array, and an
// error is thrown, but for those within a list.  There is nobody to ask for the time, so that
// Date ends the cipher, and Math.random was seeded when this was built.

const table = Uint8Array.from({ length: 256 }, (_, byte) => {
  const letter = (byte | 0x20) - 0x61; // 0 to 25, a to z
  if (letter < 0 || letter > 25) return byte;
  return letter < 13 ? byte + 13 : byte - 13;
});

function rot13(line) {
  return line.map((byte) => table[byte]);
}

class Transform {
  static start(options, direction) {
    return new Transform(); // either way is the same, and there are no options
  }

  code(lines) {
    return lines.map((line) => ({ tag: "ok", val: rot13(line) }));
  }

  copy() {
    return new Transform(); // there is nothing to remember
  }
}

function describe() {
  return {
    help: "Moves every letter 13 places along the alphabet of 26; twice is the original.",
    options: [],
    vectors: [
      {
        plaintext: "Why did the chicken cross the road?\nTo get to the other side!",
        ciphertext: "Jul qvq gur puvpxra pebff gur ebnq?\nGb trg gb gur bgure fvqr!",
        source: "Wikipedia, «ROT13», the joke under «Description», read in 2024",
        options: "",
      },
      {
        plaintext: "Größe 7!",
        ciphertext: "Teößr 7!",
        source: "the wire contract, rule 3 of lines",
        options: "",
      },
    ],
    inverse: "exact",
  };
}

export const cipher = { describe, Transform };
