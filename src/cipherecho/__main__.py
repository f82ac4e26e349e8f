"""``python -m cipherecho``: the same as the command ``cipherecho``."""

from cipherecho.cli import main

if __name__ == "__main__":
    main()
