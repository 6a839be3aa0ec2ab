"""Settings as one typed Struct: read once, all that is wrong with them told together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from band.config import first, parse_bool, words
from band.errors import SettingsError
from band.telemetry.logs import MASK, is_secret_name

S = TypeVar("S", bound=msgspec.Struct)


def load(kind: type[S], *sources: Mapping[str, Any], problems: Iterable[str] = (), **ready: Any) -> S:
    """Return a Struct of settings: each field has the first value in ``sources`` that is neither None nor empty.

    A text becomes the field's type: a number within ``msgspec.Meta(ge=…, le=…)``, yes and no, a list of words. A field
    named ``a.b`` (``msgspec.field(name="a.b")``) is looked for in the mapping ``a``. When the Struct has a method
    ``problems``, what that yields is wrong too.

    Args:
        kind: what to fill.
        sources: the strongest first, e.g. config.yaml before the environment.
        problems: what is known to be wrong already.
        ready: fields that are taken as they are.

    Raises:
        SettingsError: all that is wrong, with what to write; values of secret names are not shown.
    """
    wrong = list(problems)
    found: dict[str, Any] = {}
    for field in [field for field in msgspec.structs.fields(kind) if field.name not in ready]:
        name = field.encode_name
        value = first(*(_look(source, name) for source in sources))
        if value is not None:
            shown = f"{name}={MASK if is_secret_name(name) else repr(value)}"
            try:
                found[field.name] = _convert(msgspec.inspect.type_info(field.type), field.type, value)
            except ValueError as error:
                wrong.append(f"{shown} {error}")
    settings = kind(**found, **ready)
    wrong += getattr(settings, "problems", list)()
    if wrong:
        raise SettingsError("; ".join(wrong))
    return settings


def _look(source: Any, name: str) -> Any:
    for part in name.split("."):
        source = source.get(part) if isinstance(source, Mapping) else None
    return source


def _convert(info: msgspec.inspect.Type, kind: Any, value: Any) -> Any:
    if isinstance(info, msgspec.inspect.BoolType):
        return parse_bool(value)
    if isinstance(info, msgspec.inspect.StrType):
        return str(value)
    if isinstance(info, msgspec.inspect.CollectionType | msgspec.inspect.VarTupleType):
        if not isinstance(value, str | list):
            raise ValueError("is neither a text nor a list")  # noqa: TRY004 - told like the others
        return msgspec.convert(words(value), kind)
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(_wanted(info) or f"cannot be used: {error}") from None


def _wanted(info: msgspec.inspect.Type) -> str:
    if not isinstance(info, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        return ""
    what = "a whole number" if isinstance(info, msgspec.inspect.IntType) else "a number"
    bounds = "" if info.ge is None or info.le is None else f" from {info.ge:g} to {info.le:g}"
    return f"is not {what}{bounds}"
