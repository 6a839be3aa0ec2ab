"""Loads settings into a typed Struct, and reports all problems at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from band.config import first, parse_bool, words
from band.errors import SettingsError
from band.telemetry.logs import MASK, is_secret_name, know_secret

S = TypeVar("S", bound=msgspec.Struct)
NEAR: Final = 0.8
"""Similarity from which an unknown key counts as a misspelt setting."""
_LINK = re.compile(
    r"\w+_(?:PORT=\w+://.*|NAME=/.*|(?:PORT_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?|SERVICE_(?:HOST|PORT)(?:_\w+)?|ENV_\w+)=.*)",
    re.DOTALL,
)
"""Variables that Docker's links and Kubernetes' services add to the environment, for a service of any name."""


class Secret:
    """A string that is never shown by accident: only `reveal` returns it."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    def __repr__(self) -> str:
        return f"Secret({MASK if self._text else ''})"

    __str__ = __repr__

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))


def load(
    kind: type[S],
    *sources: Mapping[str, Any],
    problems: Iterable[str] = (),
    others: Iterable[str] | None = None,
    **ready: Any,
) -> S:
    """Return a Struct of settings: each field has the first value in ``sources`` that is neither None nor empty.

    A text becomes the field's type: a number within ``msgspec.Meta(ge=…, le=…)``, yes and no, a list of words, a path,
    a `Secret` (also read from the file that ``<NAME>_FILE`` names, ``<name>_file`` for a field in lower case, which
    wins; logs mask it from then on). A field named ``a.b`` (``msgspec.field(name="a.b")``) is looked up in the mapping
    ``a``. If the Struct has a method ``problems``, the texts that it yields are reported too.

    Args:
        kind: the type of the Struct.
        sources: in order of precedence, e.g. config.yaml before the environment.
        problems: problems that were found before.
        others: further allowed keys, for sources that contain only our own (a file). If given, every unknown key is a
            problem, except a mapping, which may be the section of an environment.
        ready: fields whose values are final.

    Raises:
        SettingsError: all problems, each with its correction; values of secret names are masked.
    """
    wrong = list(problems)
    found: dict[str, Any] = {}
    files: set[str] = set()
    for field in [field for field in msgspec.structs.fields(kind) if field.name not in ready]:
        name, info = field.encode_name, _without_none(msgspec.inspect.type_info(field.type))
        shown, file = MASK, f"{name}_FILE" if name.isupper() else f"{name}_file"
        if secret := info == _SECRET:
            files.add(file)
        try:
            value = _read_file(sources, file) if secret else None
            value = first(value, *(_look(source, name) for source in sources))
            if value is not None:
                shown = MASK if secret or is_secret_name(name) else repr(value)
                found[field.name] = _convert(info, field.type, value)
                if secret:
                    know_secret(str(value))
        except OSError as error:
            wrong.append(f"{file}={error.filename} cannot be read: {error.strerror}")
        except UnicodeDecodeError:
            wrong.append(f"{file} is not UTF-8")
        except ValueError as error:
            wrong.append(f"{name}={shown} {error}")
    if others is not None:
        known = {field.encode_name.partition(".")[0] for field in msgspec.structs.fields(kind)} | files | set(others)
        keys = [key for source in sources for key, value in source.items() if not isinstance(value, Mapping)]
        wrong += [not_a_setting(key, near) for key, near in unknown_keys(keys, known).items()]
    settings = kind(**found, **ready)
    wrong += getattr(settings, "problems", list)()
    if wrong:
        raise SettingsError("; ".join(wrong))
    return settings


def unknown_keys(keys: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Return each unknown key with the most similar known one, or an empty string."""
    names = sorted(known)
    strange = sorted({key for key in keys if key not in names})
    return {key: next(iter(difflib.get_close_matches(key, names, 1, NEAR)), "") for key in strange}


def not_a_setting(key: str, near: str) -> str:
    """Return the message about an unknown key."""
    return f"{key} is not a setting" + (f"; did you mean {near}?" if near else "")


def is_link(key: str, value: str) -> bool:
    """Return whether Docker or Kubernetes sets a variable for another container or service."""
    return bool(_LINK.fullmatch(f"{key}={value}"))


def _look(source: Any, name: str) -> Any:
    for part in name.split("."):
        source = source.get(part) if isinstance(source, Mapping) else None
    return source.strip() if isinstance(source, str) else source


def _read_file(sources: Iterable[Mapping[str, Any]], key: str) -> str | None:
    path = first(*(_look(source, key) for source in sources))
    return None if path is None else Path(path).read_text(encoding="utf-8").strip()


def _without_none(info: msgspec.inspect.Type) -> msgspec.inspect.Type:
    if not isinstance(info, msgspec.inspect.UnionType):
        return info
    kinds = [kind for kind in info.types if not isinstance(kind, msgspec.inspect.NoneType)]
    return kinds[0] if len(kinds) == 1 else info


_SECRET: Final = msgspec.inspect.type_info(Secret)


def _convert(info: msgspec.inspect.Type, kind: Any, value: Any) -> Any:
    if isinstance(info, msgspec.inspect.CustomType) and info.cls in (Secret, Path):
        return info.cls(str(value))
    if isinstance(info, msgspec.inspect.BoolType):
        return parse_bool(value)
    if isinstance(info, msgspec.inspect.StrType):
        return str(value)
    if isinstance(info, msgspec.inspect.CollectionType | msgspec.inspect.VarTupleType):
        if not isinstance(value, str | list):
            raise ValueError("is neither a string nor a list")  # noqa: TRY004 - told like the others
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
