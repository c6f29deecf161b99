"""What every stage does around its work: determinism, progress, checkpoints, cost."""

import atexit
import hashlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from tqdm import tqdm

from dasm.errors import ConfigError
from dasm.machine import ranks
from dasm.machine.memory import keep_freed_memory
from dasm.machine.precision import repeatable
from dasm.plugins import modules_of, spelled
from dasm.storage.checkpoint import Checkpoint
from dasm.storage.files import write_json
from dasm.storage.ledger import Cost, metered
from pipeline import layout, params
from pipeline.graph import sources

log = logging.getLogger("dasm")

_LOG_EVERY_SECONDS = 10.0
_PIECE_BYTES = 1 << 24


def start(*, splits: bool = False) -> tuple[dict[str, Any], str]:
    """Set the process up for the study in force.

    Args:
        splits: whether the stage can be done by several processes, as `torchrun` starts them.

    Returns:
        The parameters, and the device: the first GPU (with several processes: one each), or the CPU (`DASM_DEVICE`
        overrides).

    Raises:
        ConfigError: several processes do a stage that cannot be split.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # of a damaged image the stage says what there is to say
    sys.meta_path.insert(0, _WithoutPandas())
    repeatable()
    keep_freed_memory()
    study = params.read()
    torch.set_num_threads(params.value(study, "threads"))
    device = os.environ.get("DASM_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)  # streams and recordings are the current one's
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        _join(splits, device)
    return study, device


def _join(splits: bool, device: str) -> None:
    if not splits:
        raise ConfigError(f"torchrun: only distilling can be split, got {os.environ['WORLD_SIZE']} processes (run one)")
    if device.startswith("cuda"):
        # By its name alone the device is then each process's own, and a checkpoint's name the same for all.
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    atexit.register(dist.destroy_process_group)


@contextmanager
def ledger(stage: str, name: str, **more: object) -> Iterator[dict[str, Any]]:
    """Meter a stage and write its cost to `data/ledger/<name>.json`; what the block adds to the entry goes in too.

    Of several processes the first one writes its own cost, and how many they were.
    """
    entry: dict[str, Any] = {"stage": stage, "name": os.environ.get("DVC_STAGE", name), **more}
    with metered() as cost:
        yield entry
    if ranks.number() > 0:
        return
    # What work that was taken over had cost is there already.
    entry = _rounded(cost) | ({"processes": ranks.count()} if ranks.count() > 1 else {}) | entry
    write_json(layout.LEDGER / f"{name}.json", entry)
    if "taken_from" in entry:
        log.info("%s: taken over from %s, whose work is the same", entry["name"], entry["taken_from"])
        return
    said = [entry[key] for key in ("name", "seconds", "forward_images", "flops", "device")]
    log.info("%s: %.1f s, %d images forward, %.3g FLOP on %s", *said)


def track(name: str) -> Callable[[range], Iterable[int]]:
    """Return a wrapper of a range that shows a bar on a terminal, and elsewhere a log line now and then."""

    def wrap(work: range) -> Iterable[int]:
        if work.start:
            log.info("%s: goes on at iteration %d of %d", name, work.start, work.stop)
        return tqdm(work, desc=name, unit="it", dynamic_ncols=True) if sys.stderr.isatty() else _logged(name, work)

    return wrap


def checkpoint(name: str, work: str) -> Checkpoint:
    """Return the checkpoint of one piece of work, outside DVC's outputs.

    Args:
        name: for whoever looks into the folder.
        work: its hash. Work with anything changed never continues from it.
    """
    every = float(os.environ.get("DASM_CHECKPOINT_SECONDS", "20"))
    return Checkpoint(Path(".checkpoints") / f"{name}-{work}.safetensors", every_seconds=every)


def identity(*values: object, parts: Iterable[object], code: Iterable[str], tensors: Iterable[Tensor]) -> str:
    """Return a hash of all that a result depends on: values, tensors, code, torch's version.

    Args:
        values: plain ones.
        parts: what is built from options: dataclasses, plug-ins among them. Their options count, and the code behind
            them, to which no import leads: plug-ins are found by name.
        code: modules that do the work. What these and the parts import of our packages counts too, by what it says:
            comments and layout make no difference, nor does a plug-in that none of them is.
        tensors: read piece by piece, because real images that are mapped from a file may be more than memory holds.
    """
    whole = hashlib.blake2b(digest_size=12)
    # Sums over several processes have an order of their own.
    several = [ranks.count()] if ranks.count() > 1 else []
    root, built = Path(__file__).parents[2], list(parts)
    made_by = sources.digests(sources.closure([*code, *modules_of(built)], root), root)
    said = [spelled(built), values, torch.__version__, made_by, *several]
    whole.update(json.dumps(said, sort_keys=True, default=str).encode())
    for tensor in tensors:
        # Two tensors are not one of the same bytes.
        whole.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        for piece in _pieces(tensor):
            whole.update(piece)
    return whole.hexdigest()


class _WithoutPandas(MetaPathFinder, Loader):
    """PyArrow imports pandas, seconds per stage, only to ask whether an array it is given is a pandas one.

    What it finds cannot be imported, but can be asked for: torch looks for pandas, without importing it, on its way
    to torchvision.
    """

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        """Say of pandas, which no stage but the report needs, that it is here; say nothing of other modules."""
        return ModuleSpec(fullname, self) if fullname == "pandas" else None

    def exec_module(self, module: ModuleType) -> None:
        """Refuse."""
        raise ModuleNotFoundError("stages do without pandas", name=module.__name__)


def _pieces(tensor: Tensor) -> Iterator[memoryview]:
    """Yield the bytes of a tensor in order, a few rows at a time; of one in CPU memory, without a copy."""
    tensor = torch.atleast_1d(tensor)  # such as a count of batches
    row = max(1, tensor[:1].nbytes)
    for rows in tensor.split(max(1, _PIECE_BYTES // row)):
        yield rows.contiguous().cpu().numpy().data


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
