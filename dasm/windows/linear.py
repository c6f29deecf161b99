"""A window of fixed width whose place grows with the number of segments, the naive curriculum (Bengio et al., 2009).

The place of `Stepping` is min(1, segments / (planned_segments - 1)), segments being those distilled so far. Unlike with
`budget` the last segment always sees the hard end, however few there are; where segments grow in size, most images then
come from there.
"""

from dataclasses import dataclass
from typing import final

from dasm.windows import Progress, Stepping


@final
@dataclass(frozen=True, kw_only=True)
class Linear(Stepping):
    """From the easy end to the hard end."""

    def place(self, progress: Progress) -> float:
        return min(1.0, progress.segments / max(1, self.planned_segments - 1))
