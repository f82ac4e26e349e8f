"""How the C library treats the blocks of text that come and go."""

__all__ = ["raise_mmap_threshold"]


def raise_mmap_threshold() -> None:
    """Have the process keep freed blocks of up to a mebibyte for the next ones.

    glibc gives a freed block of 128 KiB or more back to the system, and each 4 KiB of the
    next one is then a page fault: that is a third of the time of a server with lines in
    plenty, and half of that of a filter.  It stops doing so for sizes that it has seen
    freed once.  (mallopt(3), M_MMAP_THRESHOLD: "dynamic mmap threshold".)  Other C
    libraries take no notice.
    """
    bytearray(1 << 20)
