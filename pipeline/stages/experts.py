"""Train the experts of one state, where a segment comes after it whose objective follows any; else a light stage."""

import json

from pipeline import layout, methods, params


def main(arm: str, k: str) -> None:
    """Make `data/experts/<arm>/<k>`; `real 0`: from scratch, for every first segment."""
    due, because = methods.experts_due(arm, int(k))
    if due:
        # Deferred: most arms end here, without the seconds that torch takes to import.
        from pipeline.experts import run

        run(arm, int(k))
        return
    folder, ledger = layout.experts(arm, int(k)), layout.LEDGER / f"experts-{arm}-{k}.json"
    folder.mkdir(parents=True, exist_ok=True)
    reason = {"because": because} if because else {}
    (folder / "none.json").write_text(json.dumps({"experts": 0, **reason}) + "\n")
    ledger.parent.mkdir(parents=True, exist_ok=True)
    nothing = dict.fromkeys(("seconds", "forward_images", "backward_images", "flops", "peak_memory_mb"), 0)
    threads = params.value(params.read(), "threads")
    entry = {
        "stage": "experts",
        "name": f"experts@{arm}-{k}",
        "arm": arm,
        "device": "cpu",
        "threads": threads,
        **nothing,
    }
    ledger.write_text(json.dumps(entry, indent=1, sort_keys=True) + "\n")
