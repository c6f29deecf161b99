"""Which source files a module is made of, and a digest of each that comments and layout do not change.

DVC does not follow imports. `check` writes these digests to files that the stages depend on, so that a stage runs again
exactly when a line that it can execute has changed.
"""

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

#: Packages whose modules are followed.
OURS = ("dasm", "pipeline")
# Fields of Python's trees that follow from others, or say how a string was spelled.
_SILENT = ("ctx", "kind")


def closure(modules: Iterable[str], root: Path = Path(), packages: Sequence[str] = OURS) -> set[Path]:
    """Return the files of some modules and of all modules of ours that they import, directly or not.

    Args:
        modules: dotted names; names that are no modules of ours are passed over.
        root: folder that holds our packages.
        packages: of these only.

    Returns:
        Paths relative to `root`, those of the packages around each module included.
    """
    found: set[Path] = set()
    asked: set[str] = set()
    todo = list(modules)
    while todo:
        name = todo.pop()
        package, _, _ = name.rpartition(".")
        if name in asked or name.partition(".")[0] not in packages:
            continue
        asked.add(name)
        todo += [package] if package else []
        path = _file(name.split("."), root)
        if path is not None and path not in found:
            found.add(path)
            todo += _said((root / path).read_bytes()).imports
    return found


def digests(files: Iterable[Path], root: Path = Path()) -> dict[str, str]:
    """Return a digest of what each file says, by path; of Python without comments, docstrings and layout."""
    return {str(path): _digest((root / path).read_bytes(), path.suffix) for path in sorted(files)}


def _file(parts: list[str], root: Path) -> Path | None:
    base = Path(*parts)
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in candidates if (root / path).is_file()), None)


class _Said(NamedTuple):
    imports: tuple[str, ...]
    digest: str


# By content, because the same file is part of most stages, and parsing it is what a blueprint takes.
@lru_cache(maxsize=1024)
def _said(content: bytes) -> _Said:
    tree = ast.parse(content)
    imports = tuple(_imported(tree))  # before the tree loses its docstrings
    return _Said(imports, _hash(json.dumps(_plain(_without_docstrings(tree))).encode()))


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # `from a import b` may name a module or what is in it.
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _digest(content: bytes, suffix: str) -> str:
    return _said(content).digest if suffix == ".py" else _hash(content)


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _plain(node: object) -> object:
    # What the tree says, in the same words under every version of Python: neither source text made from it (`unparse`)
    # nor a dump with all its fields is.
    if isinstance(node, ast.AST):
        said = {name: _plain(value) for name, value in ast.iter_fields(node) if value is not None and value != []}
        return [type(node).__name__, {name: value for name, value in said.items() if name not in _SILENT}]
    return [_plain(item) for item in node] if isinstance(node, list) else repr(node)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree
