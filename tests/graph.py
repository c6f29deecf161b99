"""Which files of the project a module imports, directly and indirectly, read from the source."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent


def sources(module: str) -> set[str]:
    """Return the paths (relative to the root) of a module and of all project modules that it imports."""
    found: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        for part in _packages(name):
            path = _path(part)
            if path is not None and path not in found:
                found.add(path)
                todo += _imports(part)
    return found


def _packages(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _path(module: str) -> str | None:
    base = ROOT / Path(*module.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return str(candidate.relative_to(ROOT))
    return None


@cache
def _imports(module: str) -> list[str]:
    path = _path(module)
    assert path is not None
    names = []
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.split(".")[0] in ("dasm", "pipeline")]
