"""Errors that a person can mend. This module imports nothing, so that command lines start fast."""

# What ends a line, or tells a terminal something, as Python writes it in a text: names of files may hold it.
_ESCAPED = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}


class ConfigError(ValueError):
    """Input that a person can mend; the message is one line: *where: rule, got value (hint)*."""

    def __str__(self) -> str:
        """Return the message, in one line whatever the names in it."""
        return super().__str__().translate(_ESCAPED)


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


def at_least(owner: object, lowest: int, *names: str) -> None:
    """Raise `ConfigError` unless these options of `owner` are `lowest` or more; what is None by default may be None."""
    for name in names:
        value = getattr(owner, name)
        if value is not None or getattr(type(owner), name, lowest) is not None:
            require(value >= lowest, f"{name} must be >= {lowest}", value)


def within(owner: object, interval: str, *names: str) -> None:
    """Raise `ConfigError` unless these options of `owner` lie in an interval, written as "[0, 1)" for 0 <= x < 1.

    What is None by default may be None.
    """
    lowest, highest = (float(end) for end in interval[1:-1].split(", "))
    for name in names:
        value = getattr(owner, name)
        if value is None and getattr(type(owner), name, lowest) is None:
            continue
        above = value >= lowest if interval[0] == "[" else value > lowest
        below = value <= highest if interval[-1] == "]" else value < highest
        require(above and below, f"{name} must be in {interval}", value)
