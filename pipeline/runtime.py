"""What every stage does around its work: a process that dies with DVC, determinism, progress, checkpoints, cost."""

import ctypes
import hashlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

import dasm
from dasm.checkpoint import Checkpoint
from dasm.ledger import Cost, metered
from dasm.tables import write_atomically
from pipeline import layout, params

log = logging.getLogger("dasm")

_PR_SET_PDEATHSIG = 1
_LOG_EVERY_SECONDS = 10.0


def start() -> tuple[dict[str, Any], str]:
    """Set the process up for the study in force.

    Returns:
        The parameters, and the device: the first GPU, or the CPU (`DASM_DEVICE` overrides).
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    sys.meta_path.insert(0, _WithoutPandas())
    if sys.platform == "linux":
        # A stage whose dvc was killed would go on and write the same files as its successor.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats itself only with this
    # The same switch as `use_deterministic_algorithms(True)`, which also imports the compiler: seconds per stage.
    torch.set_deterministic_debug_mode("error")
    # torch lets a GPU's convolutions round by default; `dasm.precision` says where they may.
    torch.backends.cudnn.allow_tf32 = False
    study = params.read()
    torch.set_num_threads(params.value(study, "threads"))
    return study, os.environ.get("DASM_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def ledger(stage: str, name: str, **more: object) -> Iterator[dict[str, Any]]:
    """Meter a stage and write its cost to `data/ledger/<name>.json`; what the block adds to the entry goes in too."""
    entry: dict[str, Any] = {"stage": stage, "name": os.environ.get("DVC_STAGE", name), **more}
    with metered() as cost:
        yield entry
    entry |= _rounded(cost)
    text = json.dumps(entry, indent=1, sort_keys=True) + "\n"
    write_atomically(layout.LEDGER / f"{name}.json", lambda path: path.write_text(text))
    counts = cost.counts
    log.info(
        "%s: %.1f s, %d images forward, %.3g FLOP on %s",
        entry["name"],
        cost.seconds,
        counts.forward_images,
        counts.flops,
        counts.device,
    )


def track(name: str) -> Callable[[range], Iterable[int]]:
    """Return a wrapper of a range that shows a bar on a terminal, and elsewhere a log line now and then."""

    def wrap(work: range) -> Iterable[int]:
        if work.start:
            log.info("%s: goes on at iteration %d of %d", name, work.start, work.stop)
        return tqdm(work, desc=name, unit="it", dynamic_ncols=True) if sys.stderr.isatty() else _logged(name, work)

    return wrap


def checkpoint(name: str, *identity: object, tensors: Sequence[Tensor]) -> Checkpoint:
    """Return the checkpoint of one piece of work, outside DVC's outputs.

    Its file name hashes all that the result depends on: the parameters given, the tensors, the library's source and
    torch's version. Work with anything changed never continues from it.
    """
    whole = hashlib.blake2b(digest_size=12)
    whole.update(json.dumps([identity, torch.__version__], sort_keys=True, default=str).encode())
    for tensor in tensors:
        whole.update(tensor.contiguous().cpu().numpy().tobytes())
    for file in sorted(Path(dasm.__file__).parent.rglob("*.py")):
        whole.update(file.read_bytes())
    every = float(os.environ.get("DASM_CHECKPOINT_SECONDS", "20"))
    return Checkpoint(Path(".checkpoints") / f"{name}-{whole.hexdigest()}.safetensors", every_seconds=every)


class _WithoutPandas(MetaPathFinder):
    """PyArrow imports pandas, seconds per stage, only to ask whether an array it is given is a pandas one."""

    def find_spec(self, fullname: str, *_: object) -> None:
        """Refuse pandas, which no stage but the report needs; say nothing of other modules."""
        if fullname == "pandas":
            raise ModuleNotFoundError("stages do without pandas", name="pandas")


def _logged(name: str, work: range) -> Iterator[int]:
    begun = last = time.monotonic()
    for count, item in enumerate(work):
        now = time.monotonic()
        if now - last >= _LOG_EVERY_SECONDS:
            left = (now - begun) / count * (len(work) - count)
            log.info("%s: %d of %d, about %.0f s left", name, item, work.stop, left)
            last = now
        yield item


def _rounded(cost: Cost) -> dict[str, Any]:
    return {
        "seconds": round(cost.seconds, 3),
        **asdict(cost.counts),
        "peak_memory_mb": cost.peak_memory_mb,
        "threads": torch.get_num_threads(),
    }
