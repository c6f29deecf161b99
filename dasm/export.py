"""A distilled set as one Parquet file, one safetensors file or a folder of PNG, each with all that there is to know.

The same set gives the same bytes, whichever form it was read from.
"""

import json
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import torch
from jaxtyping import Int64
from safetensors.torch import save_file
from torch import Tensor

from dasm.distilled import DistilledSet
from dasm.errors import ConfigError
from dasm.images.png import to_png
from dasm.storage.files import write_atomically
from dasm.storage.lineage import parts
from dasm.storage.parquet import write_table
from dasm.tables import segment_columns

#: Names inside an exported folder.
PARQUET, SAFETENSORS, IMAGES = "distilled.parquet", "distilled.safetensors", "images"

#: What a folder of PNG says of itself.
DESCRIPTION = "set.json"

_JOINED = ("images", "labels")
_LONGEST = 60  # characters of a class name in the name of a folder


def export(folder: Path, distilled: DistilledSet) -> None:
    """Write all three forms into a folder that is there already."""
    write_parquet(folder / PARQUET, distilled)
    write_safetensors(folder / SAFETENSORS, distilled)
    write_images(folder / IMAGES, distilled)


def write_parquet(path: Path, distilled: DistilledSet) -> None:
    """Write the stored images of all segments in the Hugging Face image convention, a row each."""
    columns = [pa.table(segment_columns(segment)) for segment in distilled.segments]
    # Columns that only some segments have are null in the others.
    whole = pa.concat_tables(columns, promote_options="default")
    write_table(path, {name: whole[name] for name in whole.column_names}, "set/1", distilled.description())


def write_safetensors(path: Path, distilled: DistilledSet) -> None:
    """Write `images` (n c h w, uint8), `labels` (n, int64), and `<name>.<k>` for what else segment k consists of.

    The description is JSON under the one metadata key `dasm`: several keys would come in a random order.
    """
    tensors = {name: torch.cat([getattr(segment, name) for segment in distilled.segments]) for name in _JOINED}
    for k, segment in enumerate(distilled.segments):
        others = {name: tensor for name, tensor in parts(segment)[0].items() if name not in _JOINED}
        tensors |= {f"{name}.{k}": tensor.contiguous() for name, tensor in others.items()}
    metadata = {"dasm": json.dumps({"schema": "tensors/1", **distilled.description()}, sort_keys=True)}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata))


def write_images(folder: Path, distilled: DistilledSet) -> None:
    """Write every stored image as `<class>/<segment>-<i>.png`, and `set.json` beside the class folders.

    Raises:
        ConfigError: the folder is there and not empty.
    """
    entries = []
    with draft(folder) as new:
        for segment, entry in zip(distilled.segments, distilled.description()["segments"], strict=True):
            names = image_names(segment.index, segment.labels, distilled.class_names)
            for name, image in zip(names, segment.images, strict=True):
                (new / name).parent.mkdir(exist_ok=True)
                (new / name).write_bytes(to_png(image))
            tensors = parts(segment)[0]
            entries.append({**entry, **{name: tensors[name].tolist() for name in tensors if name != "images"}})
        whole = {"schema": "images/1", **distilled.description(), "segments": entries}
        (new / DESCRIPTION).write_text(json.dumps(whole, sort_keys=True) + "\n")


def image_names(index: int, labels: Int64[Tensor, " n"], class_names: Sequence[str]) -> list[str]:
    """Return the path of each stored image of segment number `index` inside an exported folder."""
    folders, seen = class_folders(class_names), Counter[int]()
    names = []
    for label in labels.tolist():
        names.append(f"{folders[label]}/{index:03d}-{seen[label]:04d}.png")
        seen[label] += 1
    return names


def class_folders(class_names: Sequence[str]) -> list[str]:
    """Return a folder name for each class, so that their sorted order is the order of the labels.

    Class names that sort like that and are safe as file names everywhere stand for themselves; otherwise every folder
    is `<label>-<name>`, with the label padded and odd characters replaced. Readers that number sorted folders, such as
    torchvision's, then number the classes as the set does.
    """
    names = list(class_names)
    odd = [name for name in names if not re.fullmatch(r"\w([\w.+ -]*[\w+-])?", name) or len(name) > _LONGEST]
    distinct = {unicodedata.normalize("NFC", name).casefold() for name in names}
    if not odd and sorted(names) == names and len(distinct) == len(names):
        return names
    width = len(str(len(names) - 1))
    plain = [re.sub(r"[^\w+-]", "_", name)[:_LONGEST] for name in names]
    return [f"{label:0{width}d}-{name}" for label, name in enumerate(plain)]


@contextmanager
def draft(folder: Path) -> Iterator[Path]:
    """Yield a folder to write into that becomes `folder` when the block ends well, and leaves no trace when it fails.

    Raises:
        ConfigError: `folder` is there and not empty, or cannot be written.
    """
    whole = folder.resolve()
    if not whole.name:
        raise ConfigError(f"{folder}: must be a new or an empty folder, got the root of the disk")
    new = whole.with_name(f".{whole.name}.tmp")
    try:
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{folder}: must be a new or an empty folder, got a file")
        if folder.is_dir() and (there := sum(1 for _ in folder.iterdir())):
            raise ConfigError(f"{folder}: must be a new or an empty folder, got one with {there} entries")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        yield new
        new.replace(whole)
    except OSError as error:
        raise ConfigError(f"{folder}: must be a folder that can be written ({error.strerror})") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
