"""`python -m benchmarks`: a table on the terminal and `benchmarks/results/<name>.json`.

--quick measures the small cases twice (for CI); --only match,steps or --only match:cifar10-ipc10 picks; on a machine
with a GPU everything runs there, unless --device says otherwise. DVC's own cost is measured where DVC is installed.
"""

import argparse
import json
import os
import time
from pathlib import Path

import torch

from benchmarks import sequence, stages
from benchmarks.cases import CASES, SETTINGS
from benchmarks.measure import HEADER, Row, machine
from dasm.memory import keep_freed_memory

_QUICK = {"match:digits", "steps:digits", "score:digits", "evaluate:digits"}


def main() -> None:
    arguments = _arguments()
    keep_freed_memory()  # as every stage does
    torch.set_num_threads(arguments.threads)
    picked = [name for name in arguments.only.split(",") if name]
    names = [f"{kind}:{setting}" for kind in CASES for setting in SETTINGS] + ["sequence", "stages"]
    repeats = 2 if arguments.quick else arguments.repeats
    before, found = machine(arguments.device), list[Row]()
    print(HEADER)
    for name in names:
        if picked and name not in picked and name.partition(":")[0] not in picked:
            continue
        if arguments.quick and not picked and name not in _QUICK:
            continue
        kind, _, setting = name.partition(":")
        if kind == "stages":
            rows = stages.rows(repeats)
        elif kind == "sequence":
            rows = sequence.rows(repeats, arguments.device)
        else:
            rows = [CASES[kind](setting, repeats, arguments.device)]
        for row in rows:
            print("\n".join(row.lines()), flush=True)
        found += rows
    result = {
        "when": time.strftime("%Y-%m-%d %H:%M"),
        "machine": before,
        "load_after": os.getloadavg(),
        "rows": [row.plain() for row in found],
    }
    path = Path(__file__).parent / "results" / f"{arguments.name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"load {before['load'][0]:.1f} before, {os.getloadavg()[0]:.1f} after; {path}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", default="", help=f"comma list of {', '.join(CASES)}, sequence, stages, or kind:setting"
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--name", default="latest", help="of the JSON file")
    return parser.parse_args()


main()
