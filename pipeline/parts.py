"""`python -m pipeline parts [KIND|NAME]`: what there is to name in params.yaml, with every option and its default."""

import dataclasses
import importlib
import inspect
import re
import textwrap
from typing import Any, Literal, get_args, get_origin, get_type_hints

from dasm.errors import ConfigError
from dasm.plugins import available, find, name_of

#: By the folder in `dasm/`, which is what this command takes: the abstract class, and where it stands in params.yaml.
KINDS = {
    "data": ("Dataset", "data"),
    "networks": ("Network", "benchmark.networks, and trainer.network of matching and evaluator"),
    "scores": ("Score", "selection.score"),
    "windows": ("Window", "selection.window"),
    "objectives": ("Objective", "matching.objective"),
    "coresets": ("Coreset", "coresets"),
}
_WIDTH = 110


def main(kind: str = "") -> None:
    """List all parts, or those of one kind with their options.

    Args:
        kind: data, networks, scores, windows, objectives or coresets; a name of one part will do as well.

    Raises:
        ConfigError: neither of them; a file that is no part.
    """
    if not kind:
        for folder, (_, place) in KINDS.items():
            print(f"{folder} ({place})\n{textwrap.indent(_short(folder), '  ')}\n")
        print(f"python -m pipeline parts {'|'.join(KINDS)} says which options they have")
        return
    wanted = [(folder, name) for folder in KINDS for name in available(_class(folder)) if kind in (folder, name)]
    if not wanted:
        raise ConfigError(f"parts: must be one of {', '.join(KINDS)} or the name of a part, got {kind!r}")
    print("\n\n".join(_long(folder, name) for folder, name in wanted))


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


def _short(folder: str) -> str:
    kind = _class(folder)
    names = available(kind)
    width = max(map(len, names))
    # Without papers, which the long form has.
    said = [re.sub(r" \([^()]*\)", "", _what(find(kind, name, folder))) for name in names]
    rows = [textwrap.shorten(words, _WIDTH - width, placeholder=" …") for words in said]
    return "\n".join(f"{name:{width}}  {row}" for name, row in zip(names, rows, strict=True))


def _long(folder: str, name: str) -> str:
    part: type = find(_class(folder), name, folder)
    rows = [(f"{option}: {default}", what) for option, default, what in options(part)]
    width = max((len(left) for left, _ in rows), default=0)
    lines = [f"{name} ({folder})", *textwrap.wrap(_what(part), _WIDTH, initial_indent="  ", subsequent_indent="  ")]
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
