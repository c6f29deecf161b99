"""Memory of the host: keep what was freed."""

import ctypes
import sys

# Names of the GNU C library's mallopt.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT = 1 << 30
_LARGEST = 32 << 20  # the library allows no more


def keep_freed() -> None:
    """Let the process keep up to a GiB of freed memory for its next tensors, where the C library can.

    Otherwise tensors of some MiB are given back to the system and come back page by page, each zeroed: a tenth to a
    quarter of the time of a training step on a CPU (benchmarks/README.md). Nothing that is computed changes.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, _LARGEST)
        library.mallopt(_TRIM_THRESHOLD, _KEPT)
