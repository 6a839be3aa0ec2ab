"""The director's own endpoints, called from within: the page shows what the API answers, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from director.api.params import read_params
from director.api.routes import Endpoint
from director.api.server import HandlerFunction, Json


class Inside:
    """Calls endpoints by the first word of their path."""

    def __init__(self, endpoints: Iterable[Endpoint], *handlers: object) -> None:
        self._calls: dict[str, tuple[type[msgspec.Struct], HandlerFunction]] = {
            endpoint.path.split("/")[1]: (endpoint.params, _method(endpoint.handler, handlers))
            for endpoint in endpoints
        }

    async def ask(self, word: str, **given: Any) -> Any:
        """Return what `/<word>` answers to these parameters, as JSON-like values.

        Raises:
            DirectorError: as the endpoint does.
        """
        kind, function = self._calls[word]
        params, rest = read_params(kind, {}, {}, given)
        answer = await function(params, rest)
        return answer.value if isinstance(answer, Json) else answer


def _method(name: str, handlers: Iterable[object]) -> HandlerFunction:
    found: HandlerFunction = next(getattr(one, name) for one in handlers if hasattr(one, name))
    return found
