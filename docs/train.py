"""Train a network on a distilled set and test it on real images: `python docs/train.py FOLDER [IPC]`.

It learns by the recipe with which the study in force judges its sets, so that what `params.yaml` leaves out of
`augmentation` is left out here; without a study, by that of the networks that the set was distilled through.
"""

import os
import sys
from pathlib import Path

from safetensors.torch import save_file

import dasm
from dasm.distilled import DistilledSet
from dasm.errors import ConfigError, require
from dasm.evaluate import accuracy
from dasm.images.store import read_split
from dasm.networks.convnet import ConvNet
from dasm.plugins import build
from dasm.train import Recipe, Trainer
from pipeline import params


def recipe(distilled: DistilledSet) -> tuple[Recipe, str]:
    """Return how to learn, and where that is said."""
    where = "benchmark.protocol.recipe"
    if Path("params.yaml").exists():
        return build(Recipe, params.value(params.read(), where), where), f"params.yaml ({where})"
    matching = distilled.provenance[-1]["recipe"].get("matching", {})
    if found := matching.get("trainer", {}).get("recipe"):
        return build(Recipe, found, "recipe"), "the set (matching.trainer.recipe)"
    # Neither mirrors nor mixes anything: a letter stays a letter.
    return Recipe(learning_rate=0.05, augmentation=("color", "crop", "scale", "rotate"), cutmix=0.0), "docs/train.py"


def main(folder: str = "", *ipc: str) -> None:
    """Train, test, and leave the network in `model.safetensors`."""
    if not folder or len(ipc) > 1 or not all(map(str.isdecimal, ipc)):
        raise ConfigError("usage: python docs/train.py FOLDER [IPC]")
    distilled = dasm.load(folder, *map(int, ipc))
    test = read_split(Path("data/real"), "test")
    for what, ours, theirs in (
        ("classes", distilled.class_names, test.class_names),
        ("images", tuple(distilled.segments[0].images.shape[1:]), test.image_shape),
    ):
        require(ours == theirs, f"{folder}: must have the {what} of data/real, {theirs}", ours)
    require(os.access(".", os.W_OK), "the folder that this is called in must be one to write model.safetensors to", ".")
    how, said = recipe(distilled)
    print(f"recipe of {said}: augmentation {', '.join(how.augmentation) or 'none'}; cutmix {how.cutmix:g}")
    trainer = Trainer(network=ConvNet(width=32, depth=3), recipe=how)
    (model,) = trainer.train(distilled.labelled(), steps=300, stream=0)
    save_file(model.state_dict(), "model.safetensors")
    print(f"{accuracy(model, test):.1%} of {len(test)} test images right; the network is in model.safetensors")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ConfigError as error:
        sys.exit(f"error: {error}")
