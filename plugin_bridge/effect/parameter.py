"""What of a processor can be set, in a list."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter as it is now; the attribute of the processor with its name sets it.

    Attributes:
        name: Name of the attribute.
        value: Its value.
        min_value: The least, or None where it is no number.
        max_value: The most, or None.
        units: Of the value; empty if it has none.
        valid_values: All possible values, where they can be listed.
    """

    name: str
    value: object
    min_value: float | None = None
    max_value: float | None = None
    units: str = ""
    valid_values: tuple[object, ...] = ()
