"""Find a plug-in by its file name, and build a frozen dataclass from plain values with errors that teach.

A plug-in's file name is its name: `{name: gradient}` under a field of type `Objective` is the one final class in
`dasm/objectives/gradient.py`. There is no registry.
"""

import dataclasses
import difflib
import importlib
import importlib.util
import inspect
import math
import pkgutil
import sys
import traceback
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from dasm.errors import ConfigError

T = TypeVar("T")

# What numbers are good for. Of anything that is counted, so many fill every memory or never end; a seed counts nothing.
# Larger floats are infinite where torch computes, on 32 bits.
_MOST: dict[type, float] = {int: 1e9, float: (2 - 2**-23) * 2.0**127}

# What a file that somebody is writing does when it is read.
_FAULTS = (AssertionError, AttributeError, ImportError, LookupError, NameError, SyntaxError, TypeError, ValueError)


def build(kind: type[T], values: Any, where: str) -> T:  # noqa: ANN401 - plain values of any shape
    """Build a dataclass, or a plug-in of an abstract kind, from plain values.

    Args:
        kind: the dataclass, or the abstract class of a plug-in folder; the latter takes its plug-in from `name`.
        values: a mapping whose keys are the fields; nested dataclasses take nested mappings.
        where: dotted path of `values`, for messages.

    Returns:
        The instance; fields that are not given take their defaults.

    Raises:
        ConfigError: unknown or missing key, wrong type, value out of range, or unknown plug-in.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: must be a mapping of options, got {values!r}")
    options = dict(values)
    owner: Any = kind
    if inspect.isabstract(kind):
        if "name" not in options:
            raise ConfigError(f"{where}: needs a 'name', one of {', '.join(available(kind))}")
        owner = find(kind, options.pop("name"), where)
    return _construct(owner, options, where)


def check_known(options: Iterable[object], known: Sequence[str], where: str) -> None:
    """Refuse an option that there is not; the message lists those there are and suggests the nearest."""
    for key in options:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"{where}: no option called {key!r} (have {', '.join(known) or 'none'}){hint}")


def available(kind: type) -> list[str]:
    """Return the names of the plug-ins of an abstract kind: the file names in its folder, sorted."""
    package = importlib.import_module(kind.__module__)
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_"))


def name_of(part: object) -> str:
    """Return the name of a plug-in: that of the file in which its class is."""
    return type(part).__module__.rpartition(".")[2]


def modules_of(built: object) -> Iterator[str]:
    """Yield the modules of the dataclasses that a value consists of, plug-ins among them, field by field."""
    if dataclasses.is_dataclass(built):
        yield type(built).__module__
        for field in dataclasses.fields(built):
            yield from modules_of(getattr(built, field.name))
    elif isinstance(built, tuple | list):
        for item in built:
            yield from modules_of(item)


def spelled(built: object) -> str:
    """Return all that tells a value from another: its options, and the files of its plug-ins, who are their names.

    Classes of two files may be called alike, which is all that `repr` says of them.
    """
    return f"{built!r} of {', '.join(modules_of(built))}"


def find(kind: type[T], name: object, where: str) -> type[T]:
    """Return the final class in the plug-in file `name` of an abstract kind.

    Raises:
        ConfigError: no such file (the message lists those there are and suggests the nearest), one that cannot be
            imported, or that does not define one complete class.
    """
    names = available(kind)
    if name not in names:
        near = difflib.get_close_matches(str(name), names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"{where}: no {kind.__name__.lower()} called {name!r} (have {', '.join(names)}){hint}")
    full = f"{kind.__module__}.{name}"
    try:
        module = importlib.import_module(full)
    except ConfigError:
        raise
    except _FAULTS as error:
        raise ConfigError(_unreadable(error, full)) from error
    return _final_class(module, kind)


def _unreadable(error: Exception, module: str) -> str:
    spec = importlib.util.find_spec(module)
    origin = str(spec.origin) if spec else ""
    if isinstance(error, SyntaxError) and error.filename:
        origin, line, said = error.filename, error.lineno, error.msg
    else:
        # The last line of this file on the way there: what it calls is right for others.
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == origin]
        line, said = lines[-1] if lines else None, " ".join(str(error).split())
    where = f"{module.rpartition('.')[0].replace('.', '/')}/{Path(origin).name}" + (f", line {line}" if line else "")
    return f"{where}: must be a file that Python can import, got {type(error).__name__}: {said}"


def _final_class(module: types.ModuleType, kind: type[T]) -> type[T]:
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, kind) and value.__module__ == module.__name__
    ]
    file = Path(str(module.__file__)).name
    if len(found) != 1:
        raise ConfigError(f"{file}: must define exactly one {kind.__name__}, got {[f.__name__ for f in found]}")
    if missing := sorted(getattr(found[0], "__abstractmethods__", ())):
        raise ConfigError(f"{file}: {found[0].__name__} must define {', '.join(missing)}, got none")
    if "__dataclass_fields__" not in vars(found[0]):
        raise ConfigError(f"{file}: {found[0].__name__} must be a dataclass, got a class without @dataclass")
    return found[0]


def _construct(owner: Any, options: dict[str, Any], where: str) -> Any:  # noqa: ANN401 - any dataclass
    fields = {field.name: field for field in dataclasses.fields(owner) if field.init}
    check_known(options, [*fields], where)
    missing = [
        name
        for name, field in fields.items()
        if name not in options and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"{where}: needs {', '.join(missing)}")
    hints = typing.get_type_hints(owner)
    prefix = "" if where.endswith(".yaml") else f"{where}."
    converted = {name: _convert(hints[name], value, prefix + name) for name, value in options.items()}
    try:
        return owner(**converted)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _convert(kind: Any, value: Any, where: str) -> Any:  # noqa: ANN401 - one branch per kind of annotation
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        # By its type too: 10.0 and True are equal to 10 and 1.
        if not any(type(value) is type(allowed) and value == allowed for allowed in arguments):
            raise ConfigError(f"{where}: must be one of {', '.join(map(str, arguments))}, got {value!r}")
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _convert(next(a for a in arguments if a is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise ConfigError(f"{where}: must be a list, got {value!r}")
        return tuple(_convert(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where}: must be a mapping, got {value!r}")
        return {str(key): _convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(kind) or inspect.isabstract(kind):
        return build(kind, value, where)
    if kind in _MOST and isinstance(value, int | kind) and not isinstance(value, bool):
        value = _measured(kind, value, where)
    kind = getattr(kind, "__supertype__", kind)  # a number of a type of its own, such as a seed, has no such bound
    if type(value) is not kind and not (isinstance(value, kind) and not isinstance(value, bool)):
        raise ConfigError(f"{where}: must be {kind.__name__}, got {value!r}")
    return kind(value)


def _measured(kind: type, value: int | float, where: str) -> int | float:
    """Return a number within bounds, a whole one as a float if one is wanted."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where}: must be finite, got {value!r}")
    most = _MOST[kind]
    if abs(value) > most:
        got = f"{value:.3g}" if abs(value) <= sys.float_info.max else "more"
        raise ConfigError(f"{where}: must be in [-{most:.3g}, {most:.3g}], got {got}")
    return float(value) if kind is float else value
