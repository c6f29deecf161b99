"""Where the project lies, and which of its modules a module really imports: a fresh interpreter says it."""

import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent

_SAY = """
import sys, {}
print(*[module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] in ("dasm", "pipeline")])
"""


@cache
def loaded(module: str) -> set[str]:
    """Return the paths (relative to the root) of our modules that are loaded once `module` is."""
    said = subprocess.run(
        [sys.executable, "-c", _SAY.format(module)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {str(Path(file).relative_to(ROOT)) for file in said.stdout.split()}
