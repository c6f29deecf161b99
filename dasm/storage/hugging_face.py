"""What the footer of a table tells the library of Hugging Face, which then shows images and class names."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa


def features(columns: Mapping[str, pa.Array | pa.ChunkedArray], class_names: Sequence[str]) -> dict[str, Any]:
    """Return the features of a table by column: `image` holds encoded images, `label` classes, the rest what it is."""
    found: dict[str, Any] = {}
    for name, array in columns.items():
        if name == "image":
            found[name] = {"_type": "Image"}
        elif name == "label":
            found[name] = {"names": list(class_names), "_type": "ClassLabel"}
        else:
            found[name] = _feature(array.type)
    return found


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "Sequence"}
    names = {"float": "float32", "double": "float64"}
    return {"dtype": names.get(str(kind), str(kind)), "_type": "Value"}
