"""Templates, and how numbers read on a page."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_MINUS, _NOTHING = "\N{MINUS SIGN}", "\N{EN DASH}"


def render(template: str, content: Mapping[str, Any]) -> str:
    """Fill a template that lies beside this module; in HTML every value is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=template.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": _number, "signed": _signed, "time": _time, "count": _count, "si": _si}
    return environment.get_template(template).render(content)


def _number(value: float, digits: int = 1) -> str:
    return _NOTHING if math.isnan(value) else f"{value:z.{digits}f}".replace("-", _MINUS)


def _signed(value: float, digits: int = 2) -> str:
    return _NOTHING if math.isnan(value) else f"{value:+z.{digits}f}".replace("-", _MINUS)


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _si(value: float) -> str:
    for letter, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.0f} "


def _count(value: float) -> str:
    return f"{value:,.0f}".replace(",", "\u202f")
