"""What the C library does with freed memory: a choice for whole processes, made by those who own one."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE = 1 << 30


def keep_freed_memory() -> None:
    """Let glibc keep what tensors free instead of giving it back to the system; elsewhere nothing happens.

    Tensors of some MiB that come and go are otherwise mapped, zeroed and paged in anew every time, a tenth of the
    processor time of a matching iteration (benchmarks/README.md). Call it before the first thread starts.
    """
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):  # not in musl
            for option, value in ((_M_MMAP_THRESHOLD, _LARGE), (_M_TRIM_THRESHOLD, _LARGE), (_M_ARENA_MAX, 1)):
                library.mallopt(option, value)
