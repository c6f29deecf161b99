"""The stages of dvc.yaml written out, for machines without DVC; a test compares them with DVC's own."""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dasm.errors import ConfigError
from pipeline import params


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage: what it runs, reads and writes."""

    name: str
    cmd: str
    deps: tuple[str, ...]
    params: tuple[str, ...]
    outs: tuple[str, ...]

    def follows(self, other: "Stage") -> bool:
        """Say whether this stage reads something that the other writes, that lies in it, or that it lies in."""
        pairs = ((f"{dep}/", f"{out}/") for dep in self.deps for out in other.outs)
        return any(dep.startswith(out) or out.startswith(dep) for dep, out in pairs)


def stages(study: Mapping[str, Any], path: Path = Path("dvc.yaml")) -> list[Stage]:
    """Write out every stage of a dvc.yaml, in the order of the file.

    Args:
        study: the parameters that its templates name.
        path: of the file; its stages are plain or have a `matrix`.

    Raises:
        ConfigError: a parameter that is not there, or that is no list where a matrix wants one.
    """
    written = params.read(path)["stages"]
    return [stage for name, block in written.items() for stage in _written_out(name, block, study)]


def _written_out(name: str, block: Mapping[str, Any], study: Mapping[str, Any]) -> Iterator[Stage]:
    matrix = {key: _choices(values, study) for key, values in block.get("matrix", {}).items()}
    labelled = [
        # DVC names a choice by its value, or by its number where it is a mapping.
        [(f"{key}{n}" if isinstance(value, Mapping) else str(value), key, value) for n, value in enumerate(values)]
        for key, values in matrix.items()
    ]
    for choice in itertools.product(*labelled):
        values = {**study, "item": {key: value for _, key, value in choice}}
        label = "-".join(label for label, _, _ in choice)
        deps, options, *outs = (
            tuple(_names(block.get(key, []), values)) for key in ("deps", "params", "outs", "metrics", "plots")
        )
        yield Stage(
            name=f"{name}@{label}" if label else name,
            cmd=_filled(block["cmd"], values),
            deps=deps,
            params=options,
            outs=tuple(itertools.chain(*outs)),
        )


def _choices(written: Any, study: Mapping[str, Any]) -> list[Any]:  # noqa: ANN401 - a parameter may be anything
    found = _filled(written, study)
    if not isinstance(found, list):
        name = written.strip("${}") if isinstance(written, str) else "matrix"
        raise ConfigError(f"{name}: must be a list, got {found!r}")
    return found


def _names(entries: list[Any], values: Mapping[str, Any]) -> Iterator[str]:
    # An entry with options is a mapping from its name to them.
    for entry in entries:
        yield str(_filled(next(iter(entry)) if isinstance(entry, Mapping) else entry, values))


def _filled(text: Any, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a parameter may be anything
    if not isinstance(text, str):
        return text
    whole = re.fullmatch(r"\$\{([^}]+)\}", text)
    if whole:
        return params.value(values, whole[1])
    return re.sub(r"\$\{([^}]+)\}", lambda found: str(params.value(values, found[1])), text)
