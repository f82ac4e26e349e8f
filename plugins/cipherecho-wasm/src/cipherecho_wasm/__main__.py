"""``python -m cipherecho_wasm``: print the WIT interface to build a guest against."""

import sys

from cipherecho_wasm.interface import wit

sys.stdout.write(wit())
