"""Pick the real images of a coreset, in the same segments as the distilled sets."""

import torch

from dasm.coresets import Coreset
from dasm.formation import decoded_count, mosaic
from dasm.plugins import build
from dasm.segments import freeze, stored_segment
from dasm.store import read_split
from pipeline import layout, params, runtime
from pipeline.states import write_state


def main(arm: str) -> None:
    """Make `data/distilled/<arm>/<n>` for every n."""
    study, _ = runtime.start()
    coreset = build(Coreset, {"name": arm}, f"coreset.{arm}")  # type: ignore[type-abstract]
    seed = params.value(study, "seed")
    with runtime.ledger("coreset", f"coreset-{arm}", arm=arm):
        real = read_split(layout.REAL, "train")
        factor = coreset.tiles(params.value(study, "matching.factor"))
        sizes = [params.value(study, f"segment.s{item['k']}.ipc") for item in params.value(study, "chain")]
        sources = coreset(real, decoded_count(sum(sizes), factor), seed)
        before, taken = None, 0
        for k, ipc in enumerate(sizes):
            chosen = sources[:, taken : taken + decoded_count(ipc, factor)]
            images = torch.cat([mosaic(real.pixels(row), factor) for row in chosen])
            segment = stored_segment(freeze(images), chosen, index=k, factor=factor, lower=0.0, upper=1.0, iterations=0)
            folder = layout.distilled(arm, k + 1)
            write_state(folder, before, [segment], real.class_names, {"arm": arm})
            before, taken = folder, taken + decoded_count(ipc, factor)
