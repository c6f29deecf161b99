"""Errors that a person can mend. This module imports nothing, so that command lines start fast."""


class ConfigError(ValueError):
    """Input that a person can mend; the message is one line: *where: rule, got value (hint)*."""


def require(condition: bool, rule: str, value: object, hint: str = "") -> None:
    """Raise `ConfigError` with "rule, got value (hint)" unless the condition holds."""
    if not condition:
        raise ConfigError(f"{rule}, got {value!r}" + (f" ({hint})" if hint else ""))
