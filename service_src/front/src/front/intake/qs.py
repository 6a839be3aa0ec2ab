"""Query strings and urlencoded forms, with the nesting rules of JavaScript's `qs` package that clients rely on.

`a[b]=1` nests, `a[]=1&a[]=2` and `a=1&a=2` are lists, and anything deeper than the limit stays a literal key.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Any

from front.event.coercion import percent_decoded

QUERY_DEPTH = 5
FORM_DEPTH = 2
MAX_PARAMETERS = 1000
MAX_LIST_INDEX = 20

_BRACKETS = re.compile(r"\[[^\[\]]*\]")

Tree = dict[str, Any]


class _Sparse(dict[int, Any]):
    """A list under construction: index -> value, closed up at the end as JavaScript's sparse arrays are."""

    def append(self, value: Any) -> None:
        self[max(self, default=-1) + 1] = value


def parse_query(text: str) -> Tree:
    """Parse the query of a URL (without `?`): depth 5, lists understood."""
    return _parse(text, QUERY_DEPTH, lists=True)


def parse_form(text: str) -> Tree:
    """Parse an urlencoded body: depth 2, `a[]` is not a list but `{"a": {"0": …}}`."""
    return _parse(text, FORM_DEPTH, lists=False)


def _parse(text: str, depth: int, *, lists: bool) -> Tree:
    if not text:
        return {}
    flat, nested = _pairs(text)
    if not nested:
        return flat
    tree: Tree = {}
    for key, value in flat.items():
        if "[" in key:
            tree = _merge(tree, _unfold(key, value, depth, lists=lists))
        elif key:
            tree = _merge(tree, {key: value})
    return {key: _closed(value) for key, value in tree.items()}


def _pairs(text: str) -> tuple[Tree, bool]:
    """Split into decoded pairs, repeated keys gathered into a list; and whether any key nests."""
    flat: Tree = {}
    nested = False
    for part in text.split("&", MAX_PARAMETERS)[:MAX_PARAMETERS]:
        if not part:
            continue
        split = part.find("]=")
        split = part.find("=") if split < 0 else split + 1
        key, value = (_decode(part), "") if split < 0 else (_decode(part[:split]), _decode(part[split + 1 :]))
        if "[" in key:
            nested = True
        elif not key:
            continue
        if key in flat:
            known = flat[key]
            if isinstance(known, list):
                known.append(value)
            else:
                flat[key] = [known, value]
        else:
            flat[key] = value
    return flat, nested


def _decode(text: str) -> str:
    """Decode `+` and `%XX`."""
    if "+" in text:
        text = text.replace("+", " ")
    return percent_decoded(text) if "%" in text else text


def _unfold(key: str, value: Any, depth: int, *, lists: bool) -> Any:
    """`a[b][c]` with a value to `{"a": {"b": {"c": value}}}`."""
    found = list(islice(_BRACKETS.finditer(key), depth + 1))
    if not found:
        return {key: value}
    chain = [key[: found[0].start()]] if found[0].start() else []
    chain += [bracket.group() for bracket in found[:depth]]
    if len(found) > depth:
        chain.append(f"[{key[found[depth].start() :]}]")
    leaf = value
    for link in reversed(chain):
        leaf = _wrap(link, leaf, lists=lists)
    return leaf


def _wrap(link: str, leaf: Any, *, lists: bool) -> Any:
    bracketed = link.startswith("[") and link.endswith("]")
    name = link[1:-1] if bracketed else link
    if link == "[]" and lists:
        return _Sparse(enumerate(leaf if isinstance(leaf, list) else [leaf]))
    if not name and not lists:
        return {"0": leaf}
    if bracketed and lists and name.isascii() and name.isdigit() and str(int(name[:4])) == name:
        index = int(name)
        if index <= MAX_LIST_INDEX:
            return _Sparse({index: leaf})
    return {name: leaf}


def _merge(target: Any, source: Any) -> Any:
    if not isinstance(source, dict):
        return _merge_leaf(target, source)
    if isinstance(target, list):
        target = _Sparse(enumerate(target))
    if not isinstance(target, dict):
        values = source.values() if isinstance(source, _Sparse) else [source]
        return _Sparse(enumerate([target, *values]))
    if isinstance(target, _Sparse):
        if isinstance(source, _Sparse):
            return _merge_lists(target, source)
        target = {str(index): value for index, value in target.items()}
    for name, value in source.items():
        name = str(name)
        target[name] = _merge(target[name], value) if name in target else value
    return target


def _merge_leaf(target: Any, source: Any) -> Any:
    values = source if isinstance(source, list) else [source]
    if isinstance(target, _Sparse):
        for value in values:
            target.append(value)
        return target
    if isinstance(target, dict):
        for value in values:
            target[str(value)] = True
        return target
    return [*(target if isinstance(target, list) else [target]), *values]


def _merge_lists(target: _Sparse, source: _Sparse) -> _Sparse:
    for index, value in source.items():
        if index not in target:
            target[index] = value
        elif isinstance(target[index], dict) and isinstance(value, dict):
            target[index] = _merge(target[index], value)
        else:
            target.append(value)
    return target


def _closed(value: Any) -> Any:
    """Sparse lists become lists, all the way down."""
    if isinstance(value, _Sparse):
        return [_closed(value[index]) for index in sorted(value)]
    if isinstance(value, dict):
        return {key: _closed(inner) for key, inner in value.items()}
    return [_closed(inner) for inner in value] if isinstance(value, list) else value
