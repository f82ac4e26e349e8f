"""``python -m cipherecho_wasm``: print the interface in WIT that a guest is built against."""

import sys

from cipherecho_wasm.interface import wit

sys.stdout.write(wit())
