"""Dataclasses to JSON and back, checked against their types.

A field is named as its key, or has the key in its metadata. A field whose default is None is left
out where it is None. Keys that no field has are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def to_json(value: object) -> Any:
    """Return what `json.dumps` takes for a dataclass, and for what its fields hold."""
    if is_dataclass(value):
        values = {each: getattr(value, each.name) for each in fields(value)}
        return {
            _key(each): to_json(content)
            for each, content in values.items()
            if content is not None or each.default is not None
        }
    if isinstance(value, Mapping):
        return {key: to_json(content) for key, content in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(content) for content in value]
    return value


def from_json(kind: type[T], value: Any) -> T:
    """Return a dataclass, given what `json.loads` returned for it.

    Raises:
        ValueError: a key is missing, or a value is of another type than its field.
    """
    result: T = _read(kind, value)
    return result


def _read(kind: Any, value: Any) -> Any:
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, UnionType):
        return None if value is None else _read(_one_of(arguments, value), value)
    if _is_object(origin):
        _check(value, dict)
        missing = _required(origin) - set(value)
        if missing:
            raise ValueError(f"{', '.join(sorted(missing))} is missing")
        hints, present = _hints(origin), [each for each in fields(origin) if _key(each) in value]
        return origin(**{each.name: _read(hints[each.name], value[_key(each)]) for each in present})
    if origin in (Mapping, dict):
        _check(value, dict)
        return {key: _read(arguments[1], content) for key, content in value.items()}
    if origin in (Sequence, list, tuple):
        _check(value, list)
        if origin is tuple and len(value) != len(arguments):
            raise ValueError(f"{value!r:.40} does not hold {len(arguments)} values")
        return (tuple if origin is tuple else list)(_read(arguments[0], each) for each in value)
    _check(value, (int, float) if kind is float else kind)
    return value


def _is_object(kind: Any) -> bool:
    return is_dataclass(kind)


def _one_of(kinds: Sequence[Any], value: Any) -> Any:
    """Return the kind that a value is of; of dataclasses the first whose keys are all there."""
    kinds = [each for each in kinds if each is not NoneType]
    keys = set(value) if isinstance(value, dict) else set()
    return next((each for each in kinds if _is_object(each) and _required(each) <= keys), kinds[-1])


def _check(value: Any, kind: Any) -> None:
    if not isinstance(value, kind):
        raise ValueError(f"{value!r:.40} is not of the expected type")


def _key(field: Field[Any]) -> str:
    key: str = field.metadata.get("key", field.name)
    return key


@cache
def _required(kind: Any) -> frozenset[str]:
    return frozenset(
        _key(each)
        for each in fields(kind)
        if each.default is MISSING and each.default_factory is MISSING
    )


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
