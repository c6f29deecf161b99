"""Read params.yaml exactly as DVC does, and hand a section to the library's dataclasses."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from dasm.errors import ConfigError
from dasm.plugins import build

T = TypeVar("T")


def read(path: Path = Path("params.yaml")) -> dict[str, Any]:
    """Read the parameters as plain values.

    YAML 1.2, like DVC: `1e-3` is a number and `no` is text, which PyYAML sees the other way round.

    Raises:
        ConfigError: no such file, or not YAML.
    """
    try:
        values = YAML(typ="safe", pure=True).load(path)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file (run from the project's root)") from error
    except (YAMLError, ValueError) as error:  # a number of thousands of digits, or a time that there is not
        raise ConfigError(f"{path}: must be YAML ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must be a mapping, got {type(values).__name__}")
    return values


def of_study(name: str, root: Path = Path()) -> Path:
    """Return where the parameters of a study are: of the one in force params.yaml, else where it is parked.

    Raises:
        ConfigError: params.yaml cannot be read.
    """
    inforce = value(read(root / "params.yaml"), "study") == name
    return root / "params.yaml" if inforce else root / "studies" / name / "params.yaml"


def value(params: Mapping[str, Any], dotted: str) -> Any:  # noqa: ANN401 - any plain value
    """Return the value at a dotted path, such as `segment.s0`.

    Raises:
        ConfigError: nothing there.
    """
    found: Any = params
    for key in dotted.split("."):
        if not isinstance(found, Mapping) or key not in found:
            raise ConfigError(f"params.yaml: needs {dotted}")
        found = found[key]
    return found


def section(params: Mapping[str, Any], kind: type[T], dotted: str) -> T:
    """Build a dataclass of the library from the section at a dotted path."""
    return build(kind, value(params, dotted), dotted)


def digest(*values: object) -> str:
    """Return a short hash of plain values, the same for the same content."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
