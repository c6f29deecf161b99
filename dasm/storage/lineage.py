"""What a segment is and which one it follows, as hashes that travel with it.

A segment's hash is over its content (pixels, labels, origins, settings, provenance), not over the bytes of a file: it
is the same in Parquet, safetensors and PNG, and under any version of their encoders. It covers the hash of the segment
before it, so that the hash of a set's last segment stands for the whole set.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from torch import Tensor

from dasm.errors import ConfigError
from dasm.types import Segment

#: What a segment says of itself; whatever else is recorded with it is its provenance.
FIELDS = tuple(field.name for field in fields(Segment))

#: Segments that follow each other, each with its provenance.
Lineage = list[tuple[Segment, dict[str, Any]]]

_SHOWN = 12  # hexadecimal digits in a message


def parts(segment: Segment) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a segment and its plain values, by name; optional ones that it has not are left out."""
    values = {name: getattr(segment, name) for name in FIELDS}
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    return tensors, {name: value for name, value in values.items() if value is not None and name not in tensors}


def content(segment: Segment, provenance: Mapping[str, Any]) -> str:
    """Return the hash of a segment and of what is recorded with it (without `content` itself)."""
    tensors, plain = parts(segment)
    recorded = {name: value for name, value in provenance.items() if name != "content"}
    return fingerprint([plain, recorded], tensors)


def fingerprint(plain: object, tensors: Mapping[str, Tensor]) -> str:
    """Return a hash of plain values and named tensors, wherever these lie."""
    whole = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        whole.update(tensor.detach().cpu().contiguous().numpy().data)
    return whole.hexdigest()


def verify(chain: Iterable[tuple[str, Segment, Mapping[str, Any]]]) -> None:
    """Check that segments are what they were when they were made, and that each follows the one before it.

    Args:
        chain: name for messages, segment and provenance of every segment of a set, the first one first.

    Raises:
        ConfigError: anything else; the message names the segment.
    """
    before: str | None = None
    for name, segment, provenance in chain:
        if content(segment, provenance) != provenance.get("content"):
            raise ConfigError(f"{name}: must hold what its hash was taken of, got something else (changed since?)")
        wanted = provenance.get("parent")
        if wanted != before:
            raise ConfigError(
                f"{name}: must follow {_short(wanted)}, got {_short(before)} before it (segments of different sets?)"
            )
        before = provenance["content"]


@contextmanager
def naming(where: object) -> Iterator[None]:
    """Let errors in what a file holds name the file: `ConfigError`, whatever they were."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    except (LookupError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"{where}: must hold segments of a distilled set ({reason})") from error


def _short(digest: str | None) -> str:
    return "no segment" if digest is None else f"segment {digest[:_SHOWN]}"
