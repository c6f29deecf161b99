"""The empty state that an arm starts from."""

from dasm.errors import ConfigError
from dasm.storage.files import write_json
from pipeline import layout, params


def main(arm: str) -> None:
    """Make `data/distilled/<arm>/0`; for a scored arm `data/evaluators/<arm>/0` and `data/experts/<arm>/0` too.

    No network lies in these: at state 0 an arm uses those trained on real images, which all arms share.

    Raises:
        ConfigError: the study has no such arm.
    """
    study = params.read()
    names = [*params.value(study, "arms"), *params.value(study, "controls")]
    if arm not in names:
        raise ConfigError(f"arm: must be one of {', '.join(names)}, got {arm!r}")
    write_json(layout.distilled(arm, 0) / "state.json", {"segments": 0, "images_per_class": 0, "iterations": 0})
    if arm in params.value(study, "arms"):
        write_json(layout.evaluators(arm, 0) / "state.json", {"networks": 0})
        write_json(layout.experts(arm, 0) / "state.json", {"experts": 0})
