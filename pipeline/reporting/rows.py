"""Tables that a report has written, read again with every fault named in one line."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from dasm.errors import ConfigError, require


def read(path: Path, name: str, keys: Sequence[str], types: Mapping[str, type]) -> pd.DataFrame:
    """Read a table of a report, such as table.csv.

    Args:
        path: of the table, whatever it is called now.
        name: that a report gives it.
        keys: columns that together name a row.
        types: of columns, `keys` among them or not; all of both must be there.

    Raises:
        ConfigError: it cannot be read as such, lacks a column, or has two rows of one name.
    """
    rule = f"{path}: must be the {name} of a report"
    try:
        table = pd.read_csv(path, dtype=dict(types))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{rule} ({' '.join(str(error).split())})") from error
    columns = list(dict.fromkeys([*keys, *types]))
    require({*columns} <= {*table.columns}, f"{rule}, with {', '.join(columns)}", [*table.columns])
    twice = [*table[table.duplicated([*keys])][[*keys]].itertuples(index=False, name=None)]
    require(not twice, f"{path}: must have one row per {', '.join(keys)}", twice)
    return table
