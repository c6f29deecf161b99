"""The dataset card of an exported set, in the form of the Hugging Face hub. Same inputs, same bytes."""

import io
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml import YAML

from dasm.data import Dataset
from dasm.distilled import DistilledSet
from dasm.errors import require
from dasm.export import DESCRIPTION, IMAGES, PARQUET, SAFETENSORS
from pipeline import layout, methods, params
from pipeline.reporting.artefacts import read_parquet
from pipeline.reporting.page import render
from pipeline.reporting.ranking import half_width
from pipeline.reporting.terms import terms

_SIZES = {"n<1K": 10**3, "1K<n<10K": 10**4, "10K<n<100K": 10**5, "100K<n<1M": 10**6, "n>1M": math.inf}
_COLUMNS = ("network", "seed", "test", "code_version", "torch_version", "device")


def write(study: Mapping[str, Any], arm: str, state: int, distilled: DistilledSet, hashes: Mapping[str, str]) -> str:
    """Return the card as Markdown.

    Args:
        study: the parameters in force, which are those of the set.
        arm: whose set.
        state: number of segments of the prefix.
        distilled: the set.
        hashes: SHA-256 of every file beside the card, by name.

    Raises:
        ConfigError: the benchmark of this prefix is missing, or is that of another set.
    """
    # Of a set made elsewhere nobody here knows whose it is.
    given = any(bool((segment.sources < 0).any()) for segment in distilled.segments)
    licence = "unknown" if given else params.section(study, Dataset, "data").licence
    recipe = _recipe(study, arm, distilled)
    return render(
        "card.md",
        {
            **_sizes(distilled),
            "set": distilled,
            "answer": "soft label" if distilled.soft else "class index",
            "title": _title(study, arm, distilled),
            "front": _yaml(_front(study, arm, distilled, licence)),
            "arm": arm,
            "coreset": arm in study["coresets"],
            "given": given,
            "terms": terms(study),
            "rows": _accuracy(study, arm, state, distilled),
            "recipe": _yaml(recipe),
            "params": params.digest(recipe),
            "seed": study["seed"],
            "source": " of ".join(_names(recipe["data"])),
            "licence": licence,
            "hashes": {name: hashes[name] for name in (PARQUET, SAFETENSORS, f"{IMAGES}/{DESCRIPTION}")},
            "parquet": PARQUET,
        },
    )


def _title(study: Mapping[str, Any], arm: str, distilled: DistilledSet) -> str:
    return f"{study['study']}, {distilled.sizes[-1]} images per class ({arm})"


def _front(study: Mapping[str, Any], arm: str, distilled: DistilledSet, licence: str) -> dict[str, Any]:
    count = _sizes(distilled)["count"]
    return {
        "license": licence,
        "pretty_name": _title(study, arm, distilled),
        "task_categories": ["image-classification"],
        "size_categories": [next(name for name, limit in _SIZES.items() if count < limit)],
        "tags": ["dataset-distillation", "dasm"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": PARQUET}]}],
    }


def _sizes(distilled: DistilledSet) -> dict[str, int]:
    channels, height, width = distilled.segments[0].images.shape[1:]
    return {
        "ipc": distilled.sizes[-1],
        "count": sum(len(segment.labels) for segment in distilled.segments),
        "decoded": len(distilled),
        "factor": distilled.segments[0].factor,
        "channels": channels,
        "height": height,
        "width": width,
    }


def _recipe(study: Mapping[str, Any], arm: str, distilled: DistilledSet) -> dict[str, Any]:
    (group,) = (group for group in methods.BLOCKS if arm in study[group])
    made = distilled.provenance[-1]["recipe"]
    segments = [recorded["recipe"]["segment"] for recorded in distilled.provenance]
    joint = {"joint": made["joint"]} if "joint" in made else {}
    return {
        "data": _at_home(params.value(study, "data")),
        **{block: methods.block(study, arm, block) for block in methods.BLOCKS[group]},
        **({"experts": made["experts"]} if "experts" in made else {}),
        **joint,
        # All pieces of a set that was distilled at once have the size and effort of the whole.
        "segments": segments[:1] if methods.is_once(study, arm) else segments,
        **{name: study[name] for name in ("planned_ipc", "seed", "threads")},
    }


def _at_home(options: Any) -> Any:  # noqa: ANN401 - plain values
    """Return the options of a data set, and of those that it wraps, without the folders in which the images lie.

    Where they lie is nobody's business but their owner's.
    """
    if isinstance(options, Mapping):
        return {key: _at_home(value) for key, value in options.items()}
    return options.rpartition("/")[2] if isinstance(options, str) else options


def _names(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield the name of a data set and of those that it wraps, from the outside in."""
    yield data["name"]
    for value in data.values():
        if isinstance(value, Mapping):
            yield from _names(value)


def _accuracy(study: Mapping[str, Any], arm: str, state: int, distilled: DistilledSet) -> list[dict[str, Any]]:
    """Return the mean test accuracy in % of every network and its 95 % t-interval; none if it was not judged."""
    if state not in params.value(study, "benchmark.states"):
        return []
    path = layout.results(arm, state)
    found = read_parquet(path, (*_COLUMNS, "content"))
    of_this = set(found["content"]) == {distilled.content}
    require(of_this, f"{path}: must be the benchmark of this set", "that of another", "`dvc repro` makes it again")
    full = read_parquet(layout.FULL, _COLUMNS)
    rows = []
    for number, (network, group) in enumerate(found.groupby("network", sort=False)):
        test = 100 * group["test"].to_numpy(float)
        real = 100 * full[full["network"] == network]["test"].mean()
        first = group.iloc[0]
        how = f"torch {first['torch_version']} on {first['device']}"
        rows.append(
            {"network": network, "unseen": number > 0, "mean": test.mean(), "half": half_width(test), "n": len(test)}
            | {"real": real, "how": how}
        )
    return rows


def _yaml(values: Mapping[str, Any]) -> str:
    writer, text = YAML(typ="safe", pure=True), io.StringIO()
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.allow_unicode = True
    # Copied, because what occurs twice would be written as a reference.
    writer.dump(json.loads(json.dumps(values)), text)
    return text.getvalue().rstrip("\n")
