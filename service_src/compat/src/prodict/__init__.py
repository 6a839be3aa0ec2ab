"""A dict whose keys are attributes, as prodict 0.8.3 made it: a missing attribute is None.

Of the original only what its services use, without methods whose names hide keys (``init``, ``set_order`` …).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, get_args, get_origin, get_type_hints


class Prodict(dict[str, Any]):
    """A mapping with attributes. Annotations of a subclass say what nested mappings and lists of them become."""

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__()
        for name in self._fields():
            if hasattr(type(self), name):
                self[name] = getattr(type(self), name)
        self.set_attributes(**dict(*args, **values))
        init = getattr(type(self), "init", None)
        if callable(init):
            init(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return a Prodict of ``values``, nested mappings included."""
        return cls(values)

    @classmethod
    def _fields(cls) -> dict[str, Any]:
        if cls is Prodict:
            return {}
        try:
            return get_type_hints(cls)
        except (NameError, TypeError):
            return dict(cls.__annotations__)

    def set_attributes(self, **values: Any) -> None:
        """Set several keys."""
        for name, value in values.items():
            self.set_attribute(name, value)

    def set_attribute(self, name: str, value: Any) -> None:
        """Set one key; a mapping becomes a Prodict, or what the annotation says."""
        super().__setitem__(name, _convert(value, self._fields().get(name)))

    def to_dict(self, *, exclude_none: bool = False) -> dict[str, Any]:
        """Return plain dicts, nested ones included."""
        return {
            key: _plain(value, exclude_none=exclude_none)
            for key, value in self.items()
            if not (exclude_none and value is None)
        }

    def __setitem__(self, name: str, value: Any) -> None:
        self.set_attribute(name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        self.set_attribute(name, value)

    def __getattribute__(self, name: str) -> Any:
        # A declared field with a default is a class attribute too: the value of this object wins.
        if not name.startswith("_") and dict.__contains__(self, name) and not hasattr(dict, name):
            return dict.__getitem__(self, name)
        return super().__getattribute__(name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None

    def __delattr__(self, name: str) -> None:
        self.pop(name, None)


def _convert(value: Any, hint: Any) -> Any:
    kind = hint if isinstance(hint, type) and issubclass(hint, Prodict) else Prodict
    if isinstance(value, Mapping) and not isinstance(value, kind):
        return kind(value)
    if isinstance(value, list):
        of = next(iter(get_args(hint)), None) if get_origin(hint) is list else None
        return [_convert(item, of) for item in value]
    return value


def _plain(value: Any, *, exclude_none: bool) -> Any:
    if isinstance(value, Prodict):
        return value.to_dict(exclude_none=exclude_none)
    return [_plain(item, exclude_none=exclude_none) for item in value] if isinstance(value, list) else value


__all__ = ["Prodict"]
