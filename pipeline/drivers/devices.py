"""Which GPUs there are to lend to stages side by side."""

import os
import re
import shutil
import subprocess


def several() -> list[str] | None:
    """Return values of CUDA_VISIBLE_DEVICES, one for each GPU; None unless there are several.

    They are those that CUDA_VISIBLE_DEVICES names; where it is unset, all that NVIDIA's own tool lists, because torch
    would take seconds to say so. DASM_DEVICE names a device for every stage: then there is nothing to choose.
    """
    if os.environ.get("DASM_DEVICE", "cuda") != "cuda":
        return None
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = _listed() if named is None else named.split(",")
    return found if len(found) > 1 else None


def _listed() -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    # By identity: torch numbers cards in another order. Of a card in slices a process sees one slice.
    slices, cards = (re.findall(rf"\(UUID: ({kind}-[^)]+)\)", answer.stdout) for kind in ("MIG", "GPU"))
    return slices or cards
