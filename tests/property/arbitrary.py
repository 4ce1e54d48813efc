"""Any event of any type, built from the annotations of its fields."""

import enum
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st

from runtime.events import ALL_TYPES, Event, looks_like_phone
from runtime.events.types import Name, Pseudonym

INT64 = st.integers(-(2**63), 2**63 - 1)


def hints_of(event_type: type[Event]) -> dict[str, Any]:
    hints = get_type_hints(event_type, include_extras=True)
    return {name: hints[name] for name in event_type.__struct_fields__}


def free_fields(event_type: type[Event]) -> list[str]:
    """Fields in which anybody may write any text: told by their alias, not by what the codec looks at."""
    return [name for name, hint in hints_of(event_type).items() if hint in (Name, Pseudonym)]


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Every value that the annotation allows, except phone shapes where they are refused."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        meta = next(m for m in args[1:] if isinstance(m, msgspec.Meta))
        return _bounded(args[0], meta, refuses=hint in (Name, Pseudonym))
    if origin is Literal:
        return st.sampled_from(args)
    if origin in (Union, UnionType):
        return st.one_of(*(values(arg) for arg in args))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return st.sampled_from(list(hint))
    return {int: INT64, float: st.floats(allow_infinity=False, allow_nan=False), type(None): st.none()}[hint]


def _bounded(base: Any, meta: msgspec.Meta, refuses: bool) -> st.SearchStrategy[Any]:
    if base is str:
        alphabet = st.characters(exclude_categories=["Cs"])  # half a surrogate pair is no text
        text = st.text(alphabet, min_size=meta.min_length or 0, max_size=min(meta.max_length or 64, 40))
        return text.filter(lambda t: not looks_like_phone(t)) if refuses else text
    if base is int:
        return st.integers(meta.ge, meta.le)
    if base is float:
        return st.floats(min_value=meta.ge, allow_infinity=False, allow_nan=False)
    assert get_origin(base) is dict, base
    key, value = get_args(base)
    return st.dictionaries(values(key), values(value), max_size=meta.max_length)


@cache
def events_of(event_type: type[Event]) -> st.SearchStrategy[Event]:
    return st.builds(event_type, **{name: values(hint) for name, hint in hints_of(event_type).items()})


events: st.SearchStrategy[Event] = st.one_of(*(events_of(t) for t in ALL_TYPES))
