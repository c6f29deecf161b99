"""Every network of a study: `check` writes them down for `prepare`, which knows what size the images are."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any

from dasm.networks import Network
from pipeline import methods
from pipeline.study import KINDS, SHARED, Study


def networks(whole: Study, study: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return of every network its `options` and `where` params.yaml names it; of equal ones, where it does so first.

    Networks are looked for in what the blocks of every arm come to, because an arm may change one option of a network
    that a shared block names.

    Args:
        whole: the study.
        study: what params.yaml says of it.
    """
    blocks: dict[str, object] = {name: getattr(whole, name) for name in (*SHARED, "selection", "matching")}
    for group, names in methods.BLOCKS.items():
        for arm in study[group]:
            for name in names:
                blocks.setdefault(methods.place(study, arm, name), methods.section(study, arm, name, KINDS[name]))
    found: dict[Network, str] = {}
    for name, block in blocks.items():
        for where, network in _inside(block, name):
            found.setdefault(network, where)
    return [{"where": where, "options": _options(network)} for network, where in found.items()]


def _inside(value: object, where: str) -> Iterator[tuple[str, Network]]:
    if isinstance(value, Network):
        yield where, value
    elif is_dataclass(value):
        for field in fields(value):
            yield from _inside(getattr(value, field.name), f"{where}.{field.name}")
    elif isinstance(value, tuple | list):
        for number, item in enumerate(value):
            yield from _inside(item, f"{where}[{number}]")


def _options(network: Network) -> dict[str, Any]:
    assert is_dataclass(network)
    return {"name": type(network).__module__.rpartition(".")[2], **asdict(network)}
