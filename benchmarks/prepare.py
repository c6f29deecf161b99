"""Time `prepare` on a folder of JPEGs of mixed sizes against one pass of torchvision's loader over the same folder.

Both resize the shorter side and cut out the middle, to the same pixels. `prepare` reads the list of files, decodes in
threads, takes the channel statistics and leaves arrays on disk that every later epoch reads by index; the loader, with
two worker processes, hands out batches and keeps nothing. Each side runs in a process of its own, imports not counted.
The folder is made once; the sides take turns on it, and the median of their runs counts. 20,000 images need 5 GB of
disk and, on two idle cores, about a quarter of an hour.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
import PIL
from PIL import Image

from benchmarks.measure import machine, peak_mb
from dasm.storage.files import write_json

CLASSES = 10
WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
RESULT = Path(__file__).parent / "results" / "prepare.json"


def make(root: Path, count: int) -> None:
    """Write `count` JPEGs of 250 to 600 pixels a side: cuts of one texture, smooth with grain, as photographs are."""
    draw = np.random.default_rng(0)
    smooth = Image.fromarray(draw.integers(0, 256, (100, 100, 3), dtype=np.uint8)).resize((1600, 1600), 3)
    grain = draw.integers(-12, 13, (1600, 1600, 1))
    texture = Image.fromarray((np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8))
    sizes, corners = draw.integers(250, 601, (count, 2)), draw.integers(0, 1000, (count, 2))

    def write(i: int) -> None:
        (left, top), (width, height) = corners[i].tolist(), sizes[i].tolist()
        path = root / f"class{i % CLASSES}" / f"{i:06}.JPEG"
        texture.crop((left, top, left + width, top + height)).save(path, quality=90)

    for label in range(CLASSES):
        (root / f"class{label}").mkdir(parents=True)
    with ThreadPoolExecutor() as pool:
        list(pool.map(write, range(count)))


def prepare(root: Path, size: int) -> float:
    from dasm.data.image_folder import ImageFolder
    from dasm.images.prepare import write_source

    with tempfile.TemporaryDirectory(dir=root.parent) as out:
        start = time.perf_counter()
        write_source(Path(out) / "real", ImageFolder(root=str(root), size=size).open(seed=0))
        return time.perf_counter() - start


def loader(root: Path, size: int) -> float:
    import torch
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize

    torch.set_num_threads(1)
    start = time.perf_counter()
    data = ImageFolder(str(root), Compose([Resize(size), CenterCrop(size), PILToTensor()]))
    seen = sum(len(labels) for _, labels in DataLoader(data, batch_size=64, num_workers=2))
    assert seen == len(data)
    return time.perf_counter() - start


def measure(side: str, root: Path, size: int) -> dict[str, float]:
    """Run one side in a child; peak memory is the child's, and that of its largest worker."""
    command = [sys.executable, "-m", "benchmarks.prepare", "--side", side, "--root", str(root), "--size", str(size)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(answer.splitlines()[-1])


def child(side: str, root: Path, size: int) -> None:
    before = cpu_seconds()
    seconds = {"prepare": prepare, "loader": loader}[side](root, size)
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    answer = {"seconds": round(seconds, 2), "cpu_seconds": round(cpu_seconds() - before, 2)}
    print(json.dumps(answer | {"peak_mb": peak_mb("cpu"), "largest_worker_mb": worker}))


def cpu_seconds() -> float:
    """Return what the process and the workers that it waited for have used: less noisy than time beside others."""
    return sum(sum(resource.getrusage(who)[:2]) for who in WHO)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000, help="images")
    parser.add_argument("--size", type=int, default=224, help="pixels per side")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side, in turn; the median counts")
    parser.add_argument("--result", type=Path, default=RESULT, help="the JSON file")
    parser.add_argument("--side", choices=["prepare", "loader"], help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        child(options.side, options.root, options.size)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "images"
        start = time.perf_counter()
        make(root, options.count)
        print(f"{options.count} images made in {time.perf_counter() - start:.0f} s", flush=True)
        runs: dict[str, list[dict[str, float]]] = {side: [] for side in ("prepare", "loader")}
        for _ in range(options.repeats):
            for side, measured in runs.items():
                measured.append(measure(side, root, options.size))
                print(side, measured[-1], f"load {os.getloadavg()[0]:.1f}", flush=True)
    middle = {
        side: {name: median(run[name] for run in measured) for name in measured[0]} for side, measured in runs.items()
    }
    peak = max(run["peak_mb"] for run in runs["prepare"])
    result = {
        "when": time.strftime("%Y-%m-%d %H:%M"),
        "images": options.count,
        "size": options.size,
        "machine": machine("cpu"),
        "pillow": PIL.__version__,
        **middle,
        "ratio": round(middle["loader"]["seconds"] / middle["prepare"]["seconds"], 3),
        "cpu_ratio": round(middle["loader"]["cpu_seconds"] / middle["prepare"]["cpu_seconds"], 3),
        "prepare_peak_mb": peak,
        "all_runs": runs,
    }
    write_json(options.result, result)
    print(f"prepare is {result['ratio']} times as fast as the loader; peak {peak} MB; {options.result}")


if __name__ == "__main__":
    main()
