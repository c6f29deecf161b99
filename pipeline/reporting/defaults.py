"""What an option is where a study does not name it, read off the source: building it would cost the import of torch."""

import ast
from functools import cache
from pathlib import Path
from typing import Any

import dasm

#: Where the blocks of an arm are dataclasses.
_FILES = {"matching": "matching.py", "evaluator": "evaluators.py", "selection": "selection.py"}


def default(path: str) -> Any:  # noqa: ANN401 - plain values
    """Return the default of an option of an arm's blocks.

    Args:
        path: block and option, such as `matching.windowed`.

    Returns:
        A plain value; None where the option has no such default, or belongs to a part of the block.
    """
    block, _, option = path.partition(".")
    return _written(_FILES[block]).get(option) if block in _FILES else None


@cache
def _written(file: str) -> dict[str, Any]:
    tree = ast.parse((Path(dasm.__file__).parent / file).read_text(encoding="utf-8"))
    fields = [line for node in tree.body if isinstance(node, ast.ClassDef) for line in node.body]
    return {
        field.target.id: field.value.value
        for field in fields
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(field.value, ast.Constant)
    }
