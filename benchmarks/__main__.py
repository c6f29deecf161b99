"""`python -m benchmarks`: a table on the terminal and `benchmarks/results/<name>.json`.

--quick measures the small cases twice (for CI); --only match,steps or --only match:cifar10-ipc10 picks, in that order;
on a machine with a GPU everything runs there, unless --device says otherwise. DVC's own cost is measured where DVC is
installed.

Ours runs as every stage of the product does, with torch made repeatable; the reference as torch comes. The file is
written after every case. The same call again keeps the cases that it holds and goes on with the others; a file of
another machine, another torch, or other --repeats or --threads is begun anew. A case that fails is named in the file,
costs the others nothing, and comes last in the next call.
"""

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks import sequence, stages
from benchmarks.cases import CASES
from benchmarks.iteration import SETTINGS
from benchmarks.measure import HEADER, Row, machine
from dasm.machine.memory import keep_freed_memory
from dasm.machine.precision import repeatable
from dasm.storage.files import write_json

_RESULTS = Path(__file__).parent / "results"
_QUICK = {"match:digits", "steps:digits", "score:digits", "evaluate:digits"}


def main() -> int:
    """Measure; return the exit code: 1 if a case has failed."""
    arguments = _arguments()
    begun = time.monotonic()
    repeatable()  # these two as every stage does
    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    repeats = 2 if arguments.quick else arguments.repeats
    path = _RESULTS / f"{arguments.name}.json"
    settings = {"machine": machine(arguments.device), "repeats": repeats}
    del settings["machine"]["load"]  # each case has its own
    kept, failed = _kept(path, settings)
    print(HEADER)
    wrong = 0
    for name in sorted(_names(arguments), key=lambda name: name in failed):
        if not arguments.again and any(row["name"] == name for row in kept):
            print(f"{name:35} kept")
            continue
        if time.monotonic() - begun > 60 * arguments.minutes:
            print(f"{arguments.minutes:g} minutes are over; the same call again goes on with {name}")
            break
        load = os.getloadavg()
        try:
            rows = _measured(name, repeats, arguments.device)
        except Exception as error:  # whatever it is: on a lent machine the other cases are wanted all the same
            wrong, failed[name] = 1, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            _write(path, settings, kept, failed)
            print(f"{name:35} failed: {failed[name]}", flush=True)
            if isinstance(error, torch.AcceleratorError):
                raise  # this process has lost the device
            continue
        for row in rows:
            print("\n".join(row.lines()), flush=True)
        when = {"name": name, "when": time.strftime("%Y-%m-%d %H:%M"), "load": [load, os.getloadavg()]}
        kept = [row for row in kept if row["name"] != name] + [when | row.plain() for row in rows]
        failed.pop(name, None)
        _write(path, settings, kept, failed)
    print(path)
    return wrong


def _write(path: Path, settings: dict[str, Any], rows: list[dict[str, Any]], failed: dict[str, str]) -> None:
    write_json(path, {**settings, "rows": rows} | ({"failed": failed} if failed else {}))


def _names(arguments: argparse.Namespace) -> list[str]:
    names = [f"{kind}:{setting}" for kind in CASES for setting in SETTINGS] + ["sequence", "stages"]
    picked = [name for name in arguments.only.split(",") if name]
    if picked:
        found = [name for pick in picked for name in names if pick in (name, name.partition(":")[0])]
        names = list(dict.fromkeys(found))
    elif arguments.quick:
        names = [name for name in names if name in _QUICK]
    return [sequence.name() if name == "sequence" else name for name in names]


def _measured(name: str, repeats: int, device: str) -> list[Row]:
    kind, _, setting = name.partition(":")
    if kind == "stages":
        return stages.rows(repeats)
    if kind == "sequence":
        return sequence.rows(repeats, device)
    return [CASES[kind](setting, repeats, device)]


def _kept(path: Path, settings: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    if not path.exists():
        return [], {}
    before = json.loads(path.read_text())
    rows, failed = before.pop("rows"), before.pop("failed", {})
    if before == settings:
        return rows, failed
    print(f"{path} was measured on another machine or with other settings: it is begun anew")
    return [], {}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", default="", help=f"comma list of {', '.join(CASES)}, sequence, stages, or kind:setting"
    )
    parser.add_argument("--quick", action="store_true", help="small cases alone, two repeats")
    parser.add_argument(
        "--again", action="store_true", help="measure once more what the file holds, of the cases picked"
    )
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no case after so many")
    parser.add_argument("--repeats", type=int, default=5, help="of every case")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch on the CPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--name", default="latest", help="of the JSON file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
