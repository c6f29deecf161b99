"""`python -m pipeline parts [KIND|NAME]`: what there is to say in params.yaml, with every option and its default.

Parts are what it names, a file each; blocks are what it always has.
"""

import dataclasses
import importlib
import inspect
import re
import textwrap
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

from dasm.errors import ConfigError
from dasm.evaluate import Protocol
from dasm.evaluators import Evaluators
from dasm.experts import Experts
from dasm.matching import Matching
from dasm.plugins import available, find, name_of
from dasm.recipe import Recipe
from dasm.segments import SegmentPlan
from dasm.selection import Selection

#: By the folder in `dasm/`, which is what this command takes: the abstract class, and where it stands in params.yaml.
KINDS = {
    "data": ("Dataset", "data"),
    "networks": ("Network", "benchmark.networks, and trainer.network of matching and evaluator"),
    "scores": ("Score", "selection.score"),
    "windows": ("Window", "selection.window"),
    "objectives": ("Objective", "matching.objective"),
    "coresets": ("Coreset", "coresets"),
}
#: By the name that this command takes: the class, and where it stands in params.yaml.
BLOCKS: dict[str, tuple[type, str]] = {
    "matching": (Matching, "matching"),
    "selection": (Selection, "selection"),
    "evaluator": (Evaluators, "evaluator"),
    "experts": (Experts, "experts"),
    "segment": (SegmentPlan, "segment.s<k>"),
    "protocol": (Protocol, "benchmark.protocol"),
    "recipe": (Recipe, "trainer.recipe of matching, evaluator and experts, and benchmark.protocol.recipe"),
}
_WIDTH = 110


def main(kind: str = "") -> None:
    """List all parts and blocks, or those of one kind with their options.

    Args:
        kind: data, networks, scores, windows, objectives, coresets or blocks; the name of a single one will do as well.

    Raises:
        ConfigError: neither of them; a file that is no part.
    """
    if not kind:
        for folder, (_, place) in KINDS.items():
            print(f"{folder} ({place})\n{textwrap.indent(_short(folder), '  ')}\n")
        print(f"blocks (by their names)\n{textwrap.indent(_shortened(_blocks()), '  ')}\n")
        print(f"python -m pipeline parts {'|'.join(KINDS)}|blocks says which options they have")
        return
    parts = [(folder, name) for folder in KINDS for name in available(_class(folder)) if kind in (folder, name)]
    found = [_long(f"{name} ({folder})", find(_class(folder), name, folder)) for folder, name in parts]
    blocks = [name for name in BLOCKS if kind in ("blocks", name)]
    found += [_long(f"{name} (block: {BLOCKS[name][1]})", BLOCKS[name][0], _blocks()[name]) for name in blocks]
    if not found:
        raise ConfigError(f"parts: must be one of {', '.join(KINDS)}, blocks or the name of one, got {kind!r}")
    print("\n\n".join(found))


def options(part: type) -> list[tuple[str, str, str]]:
    """Return the options of a part: name, default as params.yaml would say it, and choices and meaning in words."""
    described, hints = _attributes(part), get_type_hints(part)
    return [
        (
            field.name,
            _default(field),
            " · ".join(filter(None, (_choices(hints[field.name]), described.get(field.name)))),
        )
        for field in dataclasses.fields(part)
        if field.init
    ]


def _class(folder: str) -> type:
    found: type = getattr(importlib.import_module(f"dasm.{folder}"), KINDS[folder][0])
    return found


def _what(part: type) -> str:
    """Return the first paragraph of the file that a part is in."""
    text = inspect.getdoc(importlib.import_module(part.__module__)) or ""
    return " ".join(text.split("\n\n")[0].split())


def _blocks() -> dict[str, str]:
    """Return what each block is: the first line of its class."""
    return {name: (inspect.getdoc(kind) or "").split("\n")[0] for name, (kind, _) in BLOCKS.items()}


def _short(folder: str) -> str:
    kind = _class(folder)
    # Without papers, which the long form has.
    return _shortened({name: re.sub(r" \([^()]*\)", "", _what(find(kind, name, folder))) for name in available(kind)})


def _shortened(said: Mapping[str, str]) -> str:
    width = max(map(len, said))
    rows = [textwrap.shorten(words, _WIDTH - width, placeholder=" …") for words in said.values()]
    return "\n".join(f"{name:{width}}  {row}" for name, row in zip(said, rows, strict=True))


def _long(title: str, part: type, what: str = "") -> str:
    rows = [(f"{option}: {default}", what) for option, default, what in options(part)]
    width = max((len(left) for left, _ in rows), default=0)
    lines = [title, *textwrap.wrap(what or _what(part), _WIDTH, initial_indent="  ", subsequent_indent="  ")]
    for left, what in rows:
        first = f"    {left:{width}}   "
        lines += textwrap.wrap(first + what, _WIDTH + width, subsequent_indent=" " * len(first)) or [first.rstrip()]
    return "\n".join(lines if rows else [*lines, "    no options"])


def _attributes(part: type) -> dict[str, str]:
    """Return what the docstring of a part and of those that it inherits from say of each option."""
    found: dict[str, str] = {}
    for kind in reversed(part.__mro__):
        _, _, text = (kind.__doc__ or "").partition("Attributes:\n")
        for name, words in re.findall(r"^ {8}(\w+): (.+?)(?=^ {8}\w|\Z|\n\n)", text, re.MULTILINE | re.DOTALL):
            found[name] = " ".join(words.split())
    return found


def _choices(hint: object) -> str:
    """Return the words that an option may be; nothing of those that are numbers or texts."""
    if get_origin(hint) is Literal:
        return " | ".join(map(str, get_args(hint)))
    return next(filter(None, map(_choices, get_args(hint))), "")


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return _written(field.default_factory())
    return "needed" if field.default is dataclasses.MISSING else _written(field.default)


def _written(value: object) -> str:
    """Write a plain value, or a part with its options, as params.yaml would."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_written, value))}]"
    if dataclasses.is_dataclass(value):
        return f"{{name: {name_of(value)}}}"
    return {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))
