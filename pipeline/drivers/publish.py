"""What a run leaves in Prefect's UI besides its tasks: a table of verdicts, and the study's table and figures."""

import base64
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from prefect import get_client
from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact
from prefect.settings import PREFECT_API_URL

from dasm.errors import ConfigError, require
from pipeline import params

_SERVER = "start one with `prefect server start`, then `export PREFECT_API_URL=http://127.0.0.1:4200/api`"


def find_server(*, lasting: bool) -> None:
    """Connect to Prefect's server; where none is set, a temporary one is started, which ends with this process.

    Args:
        lasting: refuse a temporary one, which shows nobody anything.

    Raises:
        ConfigError: no server there, or one of another version.
    """
    if lasting:
        require(bool(PREFECT_API_URL.value()), "PREFECT_API_URL must name a server with a UI", "", _SERVER)
    try:
        with get_client(sync_client=True) as client:
            client.raise_for_api_version_mismatch()
    except RuntimeError as error:
        raise ConfigError(f"Prefect: {error} ({_SERVER})") from error


def publish_stages(ended: Mapping[str, tuple[str, float]]) -> None:
    """Publish every stage's verdict and seconds."""
    rows = [
        {"stage": stage, "verdict": verdict, "seconds": round(seconds, 1)}
        for stage, (verdict, seconds) in ended.items()
    ]
    create_table_artifact(rows, key="stages", description="What became of each stage")


def run_name() -> str:
    """Name a run by its study and root seed."""
    study: Mapping[str, Any] = {}
    with suppress(ConfigError):  # which the run itself then fails of
        study = params.read()
    return f"{study.get('study', 'no-study')}-seed{study.get('seed', '')}"


def without_tracebacks_of(kind: type[BaseException]) -> None:
    """Let a run that such an error stops be logged by its message: where in our code it was raised helps nobody."""

    def shorten(record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], kind):
            record.exc_info = None
        return True

    logging.getLogger("prefect.flow_runs").addFilter(shorten)


def publish_report() -> None:
    """Show the study's table and figures, if it has any, where Prefect shows artifacts."""
    study = str(params.read().get("study", ""))
    folder = Path("reports", study)
    if (table := folder / "table.md").is_file():
        create_markdown_artifact(table.read_text(encoding="utf-8"), key=_key(study, "table"), description=str(table))
    for figure in sorted(folder.glob("*.png")):
        url = f"data:image/png;base64,{base64.b64encode(figure.read_bytes()).decode()}"
        create_image_artifact(url, key=_key(study, figure.stem), description=str(figure))


def _key(*words: str) -> str:
    """Make an artifact key: lower case, digits and dashes."""
    return re.sub("[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")
