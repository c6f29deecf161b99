"""Errors that a person can mend. This module imports nothing, so that command lines start fast."""


class ConfigError(ValueError):
    """Input that a person can mend; the message is one line: *where: rule, got value (hint)*."""


class DamageError(ConfigError):
    """Images that cannot be read, as many as are named in one line.

    Attributes:
        found: what is to be said of each of them.
    """

    #: Whoever has to mend pictures wants to know of more than the first one; a line has an end.
    most = 10

    def __init__(self, found: list[str]) -> None:
        """Say it of the first `most`."""
        self.found = found[: self.most]
        more = f" (these are the first {self.most})" if len(found) >= self.most else ""
        super().__init__("; ".join(self.found) + more)


def require(condition: bool, rule: str, value: object, hint: str = "") -> None:
    """Raise `ConfigError` with "rule, got value (hint)" unless the condition holds."""
    if not condition:
        raise ConfigError(f"{rule}, got {value!r}" + (f" ({hint})" if hint else ""))
