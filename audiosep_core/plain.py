"""From plain data, as JSON and TOML hold it, to dataclasses: every error names its field."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import reprlib
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

_T = TypeVar("_T")
_WORDS = {bool: "true or false", int: "an integer", float: "a number", str: "a text"}
#: Integers beyond this have no exact float.
_EXACT = 1 << 53


class FieldError(ValueError):
    """Plain data does not fit a dataclass; the message is a sentence that names the field."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """How plain data are read.

    Attributes:
        ignore_unknown: Pass over fields that the dataclass lacks, instead of refusing them.
        natural: Refuse integers that are not from 0 to 2^53, whatever the field.
        bare: Dataclasses for which a bare value may stand, and the field that it is.
    """

    ignore_unknown: bool = False
    natural: bool = False
    bare: Mapping[type, str] = dataclasses.field(default_factory=dict)


_STRICT = Reading()


def from_plain(kind: type[_T], data: Any, where: str = "", reading: Reading = _STRICT) -> _T:
    """A dataclass from plain data.

    Fields may be booleans, integers, floats, texts, literals, dataclasses, lists, tuples and
    dictionaries of these, unions with None, and a union of a dataclass with something else.

    Args:
        kind: The dataclass.
        data: What a parser of JSON or TOML gave.
        where: What the data are called in errors; fields follow after a dot.
        reading: How strictly.

    Raises:
        FieldError: A field is missing, unknown or of another type.
        ValueError: The dataclass itself refuses the values.
    """
    if not isinstance(data, Mapping):
        raise FieldError(f"{where or 'the whole'} must hold fields, not {reprlib.repr(data)}")
    hints: dict[str, Any] = _hints(kind)  # type: ignore[arg-type]
    prefix = f"{where}." if where else ""
    found = {}
    for name, value in data.items():
        if name in hints:
            found[name] = _convert(hints[name], value, prefix + name, reading)
        elif not reading.ignore_unknown:
            near = difflib.get_close_matches(str(name), hints, 1)
            remedy = f"did you mean {prefix}{near[0]}?" if near else f"known: {', '.join(hints)}"
            raise FieldError(f"{prefix}{name} is no known field; {remedy}")
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        optional = (field.default, field.default_factory) != (dataclasses.MISSING,) * 2
        if not optional and field.name not in found:
            raise FieldError(f"{prefix}{field.name} is missing")
    return kind(**found)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    fields = {field.name for field in dataclasses.fields(kind) if field.init}
    return {name: hint for name, hint in typing.get_type_hints(kind).items() if name in fields}


def _convert(hint: Any, value: Any, where: str, reading: Reading) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        choices = [choice for choice in arguments if choice is not type(None)]
        # Fields stand for the dataclass, anything else for the other.
        holds_fields = isinstance(value, Mapping)
        fitting = [choice for choice in choices if dataclasses.is_dataclass(choice) == holds_fields]
        return _convert((fitting or choices)[0], value, where, reading)
    if origin in (list, tuple):
        return _sequence(origin, arguments, value, where, reading)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise FieldError(f"{where} must be a table, not {reprlib.repr(value)}")
        item = arguments[1]
        return {key: _convert(item, each, f"{where}.{key}", reading) for key, each in value.items()}
    if origin is Literal:
        if not any(value == choice and type(value) is type(choice) for choice in arguments):
            raise FieldError(f"{where} must be one of {', '.join(map(str, arguments))}")
        return value
    if dataclasses.is_dataclass(hint):
        kind = typing.cast(type, hint)
        if kind in reading.bare and not isinstance(value, Mapping):
            value = {reading.bare[kind]: value}
        return from_plain(kind, value, where, reading)
    return _scalar(hint, value, where, reading)


def _sequence(
    origin: Any, arguments: tuple[Any, ...], value: Any, where: str, reading: Reading
) -> Any:
    if not isinstance(value, list | tuple):
        raise FieldError(f"{where} must be a list, not {reprlib.repr(value)}")
    fixed = origin is tuple and arguments[-1] is not Ellipsis
    if fixed and len(value) != len(arguments):
        raise FieldError(f"{where} must be a list of {len(arguments)}, not of {len(value)}")
    items = arguments if fixed else arguments[:1] * len(value)
    converted = (
        _convert(item, each, f"{where}[{at}]", reading)
        for at, (item, each) in enumerate(zip(items, value, strict=True))
    )
    return origin(converted)


def _scalar(hint: Any, value: Any, where: str, reading: Reading) -> Any:
    if hint is float and type(value) is int:
        # A whole number may have more digits than a float holds.
        value = float(value) if abs(value) < _EXACT else math.inf
    if type(value) is not hint:
        raise FieldError(f"{where} must be {_WORDS[hint]}, not {reprlib.repr(value)}")
    if hint is float and not math.isfinite(value):
        raise FieldError(f"{where} must be a finite number")
    if reading.natural and hint is int and not 0 <= value < _EXACT:
        raise FieldError(f"{where} must be from 0 to 2^53")
    return value
