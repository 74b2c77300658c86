"""Memory that a step frees stays with the process for the next step (glibc's malloc, on Linux).

Left to itself malloc gives large blocks back to the system at once, and a step takes the same gigabytes from it again,
page by page: a tenth of the time of a small model's step, and more where two threads wait for the same pages."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # mallopt's words, in malloc.h
KEEP = ((MMAP_MAX, 0), (TRIM_THRESHOLD, -1))
# Where malloc arrives by itself in a process that has freed a large block.
USUAL = ((MMAP_MAX, 65_536), (MMAP_THRESHOLD, 2**25), (TRIM_THRESHOLD, 2**26))


@contextmanager
def keeping() -> Iterator[bool]:
    """Until the end of the block freed memory is kept, and then given back; whether this system can do that."""
    able = platform.libc_ver()[0] == "glibc"
    malloc = ctypes.CDLL(None) if able else None
    try:
        if malloc:
            tell(malloc, KEEP)
        yield able
    finally:
        if malloc:
            tell(malloc, USUAL)
            malloc.malloc_trim(0)


def tell(malloc: ctypes.CDLL, settings: tuple[tuple[int, int], ...]) -> None:
    for word, value in settings:
        malloc.mallopt(word, value)
