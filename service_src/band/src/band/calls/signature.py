"""Calling a function according to its annotations: parameters are converted and checked, unknown ones dropped.

A function without annotations is called with all parameters, as in the original platform.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Sequence
from typing import Any, Final, Union, get_args, get_origin

import msgspec

from band.calls.event import Event
from band.errors import InvalidParams, RegistrationError
from band.telemetry.logs import logger

Caller = Callable[[Any], Any]
_EMPTY: Final = inspect.Parameter.empty
_WHERE = re.compile(r" - at `(?P<path>\$[^`]*)`$")
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.KEYWORD_ONLY)


class Handler:
    """Calls a function with data from the wire: ``call(params)``, or ``call_batch(events)``.

    The annotations are read once: when the service starts, because only then all names of its modules and the values of
    ``lifespan`` exist; or at an earlier first call.

    Attributes:
        typed: whether it has annotations, so that its parameters are converted.
        params: the Struct of its parameters; None if there are none to convert.
        event: the type of its event (``Event[Purchase]``); None if it has no event parameter.
        batch: whether it is a listener that gets a list of events.
        returns: the return annotation; ``Any`` without one.
        lists: the parameters that are lists.
        name: the name under which it is exposed.
        read: False: its annotations are ignored.
    """

    def __init__(self, func: Callable[..., Any], name: str = "", *, read: bool = True, batch: bool = False) -> None:
        self.func = func
        self.name = name or self._name
        self.batch = batch
        self.call: Caller = self._first if read else _plain(func)
        self.call_batch: Caller = self._first_batch if read else func
        self.read = read
        self.typed = False
        self.params: type[msgspec.Struct] | None = None
        self.event: Any = None
        self.returns: Any = Any
        self.lists: frozenset[str] = frozenset()
        self._fixed: dict[str, Any] = {}
        self._rest = self._keywords = False

    def prepare(self, values: Sequence[object] = ()) -> None:
        """Read the annotations; parameters can request ``values`` by type.

        Raises:
            RegistrationError: an annotation is not a data type, or requests a value that no lifespan yields.
        """
        if not self.read:
            return
        signature = _signature(self.func)
        self.call, self.call_batch, self.typed = _plain(self.func), self.func, _is_typed(signature)
        if signature is not None and self.typed:
            self._read(signature, values)

    def _first(self, params: dict[str, Any]) -> Any:
        self.prepare()
        return self.call(params)

    def _first_batch(self, events: list[Any]) -> Any:
        self.prepare()
        return self.call_batch(events)

    # --- reading

    def _read(self, signature: inspect.Signature, values: Sequence[object]) -> None:
        fields, self._fixed, events = [], {}, {}
        self._rest = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
        for parameter in [p for p in signature.parameters.values() if p.kind in _NAMED]:
            if parameter.kind is parameter.POSITIONAL_ONLY:
                raise RegistrationError(f"{self._name}: {parameter.name} is positional-only; parameters come by name")
            kind = Any if parameter.annotation is _EMPTY else parameter.annotation
            found = _provided(kind, values)
            if found is not None:
                self._fixed[parameter.name] = found
            elif _is_event(event := _without_none(kind)) and not self.batch:
                events[parameter.name] = event
            else:
                self._check_events(parameter.name, event)
                fields.append(self._field(parameter, kind, asked=bool(values)))
        if len(events) > 1:
            raise RegistrationError(f"{self._name} has several event parameters ({', '.join(events)}); keep one")
        self.returns = Any if signature.return_annotation is _EMPTY else signature.return_annotation
        self.event = next(iter(events.values()), None)
        self._keywords = bool(self._fixed) or any(
            p.kind is p.KEYWORD_ONLY for p in signature.parameters.values()
        )  # fmt: skip
        self.params = self._struct(fields) if fields else None
        self.lists = frozenset(name for name, kind, *_ in fields if _is_list(kind))
        self._choose(next(iter(events), ""), fields)

    def _check_events(self, name: str, kind: Any) -> None:
        """Refuse annotations of events that would be ignored, or never filled."""
        if _is_event(_item(kind)) or not (_mentions_event(kind) or (self.batch and _is_struct(_item(kind)))):
            return
        raise RegistrationError(
            f"{self._name}: {name} is {_named(kind)}; write list[Event[…]] for the events of a batch, else Event[…]"
        )

    def _field(self, parameter: inspect.Parameter, kind: Any, *, asked: bool) -> tuple[Any, ...]:
        if _is_custom(kind):
            if asked and parameter.default is _EMPTY:
                raise RegistrationError(
                    f"{self._name}: {parameter.name} asks for {_named(kind)}, which no lifespan yields; "
                    "yield one, or use a type of data (int, str, a msgspec.Struct …)"
                )
            kind = Any  # in services of the original, such annotations are only comments
        if parameter.default is _EMPTY:
            return parameter.name, kind
        if parameter.default is None and kind is not Any:
            kind = Union[kind, None]  # noqa: UP007 - `kind` may be anything; and `x: int = None` means it
        if isinstance(parameter.default, str | int | float | bool | tuple | frozenset | None):
            return parameter.name, kind, parameter.default  # it appears in the schema
        return parameter.name, kind, msgspec.field(default_factory=lambda: parameter.default)

    def _struct(self, fields: list[tuple[Any, ...]]) -> type[msgspec.Struct]:
        title = "".join(part.capitalize() for part in self.name.split("_")) + "Params"
        # Of two types with the same name and module msgspec writes no schema.
        module = f"{getattr(self.func, '__module__', __name__)}.{self.name}"
        struct = msgspec.defstruct(title, fields, kw_only=True, module=module)
        try:
            msgspec.convert({}, struct, strict=False)
        except msgspec.ValidationError:
            pass  # what is required is missing: all types are known
        except TypeError as error:
            raise RegistrationError(f"{self._name}: its annotations are not data types: {error}") from None
        return struct

    @property
    def _name(self) -> str:
        return str(getattr(self.func, "__name__", type(self.func).__name__))

    # --- calling

    def _choose(self, event: str, fields: list[tuple[Any, ...]]) -> None:
        """Choose the cheapest way of calling this function."""
        names = [name for name, *_ in fields]
        if self._rest and not event and not self._fixed and all(kind is Any for _, kind, *_ in fields):
            return  # there is nothing to convert, and nothing to leave out
        if event and not (fields or self._rest or self._keywords):
            self.call = self._with_event
        elif self._rest and self.params is not None and not event and not self._fixed:
            self.call = self._with_rest
        elif event or self._rest or self._keywords:
            self.call = lambda params: self.func(**self._filled(event, params))
        elif self.params is not None:
            self.call = self._positionally
        else:
            self.call = lambda _params: self.func()
        required = [name for name, _, *default in fields if not default] or names
        if self.params is not None and len(required) == 1:
            self.call_batch = self._batch(required[0], self.params)

    def _positionally(self, params: dict[str, Any]) -> Any:
        return self.func(*msgspec.structs.astuple(_convert(params, self.params)))

    def _with_rest(self, params: dict[str, Any]) -> Any:
        return self.func(**(params | msgspec.structs.asdict(_convert(params, self.params))))

    def _with_event(self, params: dict[str, Any]) -> Any:
        return self.func(_convert(params, self.event))

    def _filled(self, event: str, params: dict[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments of a call."""
        filled = params.copy() if self._rest else {}
        if self.params is not None:
            filled.update(msgspec.structs.asdict(_convert(params, self.params)))
        if event:
            filled[event] = _convert(params, self.event)
        filled.update(self._fixed)
        return filled

    def _batch(self, name: str, struct: type[msgspec.Struct]) -> Caller:
        """Return the call with a list of events as the parameter ``name``."""
        kind = next(field.type for field in msgspec.structs.fields(struct) if field.name == name)
        item = _item(_without_none(kind))
        if not _is_event(item):
            return lambda events: self.func(**{name: events}, **self._fixed)

        self.event = item
        return lambda events: self.func(**{name: _convert(events, kind)}, **self._fixed)


def _plain(func: Callable[..., Any]) -> Caller:
    """Return the call of a function with all parameters."""

    def call(params: dict[str, Any]) -> Any:
        try:
            return func(**params)
        except TypeError as error:
            raise misfit(func, params, error) from None

    return call


def misfit(func: Callable[..., Any], params: dict[str, Any], error: TypeError) -> Exception:
    """Return InvalidParams if a call's parameters do not match, else the TypeError from inside the function."""
    try:
        inspect.signature(func).bind(**params)
    except TypeError as unfit:
        return InvalidParams(str(unfit))
    except ValueError:
        return InvalidParams(str(error))
    return error


def _convert(value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _refusal(error) from None


def _refusal(error: msgspec.ValidationError) -> InvalidParams:
    """Return msgspec's error in the caller's terms: ``limit: expected `int` <= 100``."""
    text = str(error)
    found = _WHERE.search(text)
    what = text[: found.start()] if found else text
    what = what.replace("Object missing required field", "missing the required field")
    path = found["path"] if found else "$"
    where = path.removeprefix("$").removeprefix(".")
    return InvalidParams(f"{where}: {what[:1].lower()}{what[1:]}" if where else what, path=path)


def _signature(func: Callable[..., Any]) -> inspect.Signature | None:
    try:
        inspect.signature(func)
    except (TypeError, ValueError):
        return None  # functions in C may have no signature
    try:
        return inspect.signature(func, eval_str=True)
    except Exception as error:  # noqa: BLE001 - in services of the original it may be any expression
        logger.warning(
            "annotations_unreadable",
            function=str(getattr(func, "__qualname__", func)),
            reason=repr(error),
            effect="its parameters are neither converted nor checked; "
            "import or define names in the module itself, not in a function or under TYPE_CHECKING",
        )
        return None


def _is_typed(signature: inspect.Signature | None) -> bool:
    return signature is not None and (
        signature.return_annotation is not _EMPTY
        or any(p.annotation is not _EMPTY for p in signature.parameters.values())
    )


def _is_event(kind: Any) -> bool:
    return kind is Event or get_origin(kind) is Event


def _mentions_event(kind: Any) -> bool:
    return _is_event(kind) or any(_mentions_event(part) for part in get_args(kind))


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _item(kind: Any) -> Any:
    """Return the type of a list's items; None if it is not a list, or has no item type."""
    return next(iter(get_args(kind)), None) if get_origin(kind) is list else None


def _without_none(kind: Any) -> Any:
    """Return ``X`` of ``X | None``, else the type itself."""
    left = [part for part in get_args(kind) if part is not type(None)] if _is_union(kind) else []
    return left[0] if len(left) == 1 else kind


def _is_custom(kind: Any) -> bool:
    """Return whether an annotation is, or contains, a class that JSON cannot be converted to."""
    try:
        return _has_custom(msgspec.inspect.type_info(kind))
    except TypeError:
        return False  # reported when the Struct is created


def _has_custom(info: msgspec.inspect.Type) -> bool:
    inner = [getattr(info, name, None) for name in ("item_type", "key_type", "value_type")]
    inner += [*getattr(info, "item_types", ()), *getattr(info, "types", ())]
    return isinstance(info, msgspec.inspect.CustomType) or any(_has_custom(one) for one in inner if one is not None)


def _provided(kind: Any, values: Sequence[object]) -> object | None:
    """Return the value for a parameter of type ``kind``; None if there is none of that type."""
    kind = _without_none(kind)
    kind = get_origin(kind) or kind
    if not isinstance(kind, type) or kind in (object, int, str, float, bool, bytes, list, dict, tuple, set):
        return None
    return next((value for value in values if kind in type(value).__mro__), None)


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _is_list(kind: Any) -> bool:
    options = get_args(kind) if _is_union(kind) else (kind,)
    return any((get_origin(option) or option) in (list, tuple, set, frozenset) for option in options)


def _named(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))
