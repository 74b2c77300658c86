"""Memory that a pass frees stays with the process for the next one (glibc's malloc, on Linux).

Left to itself malloc gives large blocks back to the system at once, and the next pass takes the same megabytes from it
again, page by page: a tenth of the time of a small model's pass or step, more where threads wait for the same pages."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # mallopt's words, in malloc.h
KEEP = ((MMAP_MAX, 0), (TRIM_THRESHOLD, -1))
# The first two are where malloc arrives by itself in a process that has freed a large block; of what is free at the end
# of the heap it keeps twice as much as by itself, so that all of a pass finds room: 128 MiB.
USUAL = ((MMAP_MAX, 65_536), (MMAP_THRESHOLD, 2**25), (TRIM_THRESHOLD, 2**27))


@cache
def settle() -> None:
    """Once, for a process that runs models: what a pass frees is kept for the next."""
    tell(USUAL)


@contextmanager
def keeping() -> Iterator[bool]:
    """Until the end of the block all that is freed is kept, and then given back; whether this system can do that."""
    settle()  # or the first model that is made in the block would
    able = tell(KEEP)
    try:
        yield able
    finally:
        if tell(USUAL):
            ctypes.CDLL(None).malloc_trim(0)


def tell(settings: tuple[tuple[int, int], ...]) -> bool:
    """Settings for malloc; whether it is the one that knows them."""
    if platform.libc_ver()[0] != "glibc":
        return False
    malloc = ctypes.CDLL(None)
    for word, value in settings:
        malloc.mallopt(word, value)
    return True
