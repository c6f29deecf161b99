"""Read a folder of image Parquet files as `data.name: parquet` does, and say how long it took and what is in it."""

import sys
import time

from dasm.data.parquet import Parquet


def main(root: str) -> None:
    start = time.perf_counter()
    task = Parquet(root=root, validation=0.1).load(0)
    seconds = time.perf_counter() - start
    sizes = [len(part) for part in (task.train, task.validation, task.test)]
    shape = tuple(task.train.images.shape[1:])
    print(f"{root}: {sizes} images of {shape}, {task.train.num_classes} classes, {sum(sizes) / seconds:.0f} images/s")


if __name__ == "__main__":
    main(*sys.argv[1:])
