"""How many real images of a class each arm of a study starts from: `check` writes it down for `prepare` to compare."""

from collections.abc import Mapping
from typing import Any

from dasm.coresets import Coreset, Picked
from dasm.formation import decoded_count
from dasm.matching import Matching
from pipeline import methods
from pipeline.study import Study


def needs(whole: Study, study: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return of every arm what it is called in messages (`who`), its `images` and how they come about (`why`).

    Those are the images that its largest segment starts from, of a joint control the whole set, which it distils
    whether it is benchmarked or not, and of a coreset all that it picks; a set made elsewhere picks none. A window
    leaves an arm fewer to start from; only the scores say how many.

    Args:
        whole: the study.
        study: what params.yaml says of it.
    """
    sizes = [whole.segment[f"s{link.k}"].ipc for link in whole.chain]
    found = []
    for kind, arms in (("arm", whole.arms), ("control", whole.controls)):
        for arm in arms:
            ipc = sum(sizes) if methods.is_joint(study, arm) else max(sizes)
            factor = methods.section(study, arm, "matching", Matching).factor
            what = "the whole set at once" if methods.is_joint(study, arm) else "a segment"
            found.append(_need(f"{kind} {arm}", ipc, factor, what))
    for arm in whole.coresets:
        coreset = methods.section(study, arm, "coreset", Coreset)
        if isinstance(coreset, Picked):
            factor = coreset.tiles(whole.matching.factor)
            found.append(_need(f"coreset {arm}", sum(sizes), factor, "the whole set"))
    return found


def _need(who: str, ipc: int, factor: int, what: str) -> dict[str, Any]:
    tiles = f"{ipc} x {factor} x {factor}" if factor > 1 else str(ipc)
    return {"who": who, "images": decoded_count(ipc, factor), "why": f"{tiles} for {what}"}
