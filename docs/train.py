"""Train a network on a distilled set and test it on real images: `python docs/train.py FOLDER [IPC]`."""

import sys
from pathlib import Path

from safetensors.torch import save_file

import dasm
from dasm.evaluate import accuracy
from dasm.networks.convnet import ConvNet
from dasm.store import read_split
from dasm.train import Recipe, Trainer

folder, *ipc = sys.argv[1:]
distilled = dasm.load(folder, *map(int, ipc)).labelled()
recipe = Recipe(learning_rate=0.05)
(model,) = Trainer(network=ConvNet(width=32, depth=3), recipe=recipe).train(distilled, steps=300, stream=0)
save_file(model.state_dict(), "model.safetensors")
test = read_split(Path("data/real"), "test")
print(f"{accuracy(model, test):.1%} of {len(test)} test images right; the network is in model.safetensors")
