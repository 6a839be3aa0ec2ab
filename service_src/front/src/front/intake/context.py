"""What both ways in, HTTP and WebSocket, share."""

from __future__ import annotations

from dataclasses import dataclass

from front.errors import BadRequest, NotAccepted, Overloaded
from front.event.client_address import ClientAddresses
from front.event.ids import Snowflakes
from front.intake.admission import Admission
from front.metrics import Counters
from front.pipeline.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Intake:
    """The parts that make an event of what a client sends, and the limits that hold for it."""

    pipeline: Pipeline
    flakes: Snowflakes
    addresses: ClientAddresses
    counters: Counters
    admission: Admission
    body_limit: int
    """Bytes of a body, or of a WebSocket message."""
    require_consent: bool = False

    def count(self, error: BadRequest | NotAccepted) -> None:
        """Count what is refused."""
        if isinstance(error, BadRequest):
            self.counters.add(f"rejected_{error.code}")
        else:
            self.counters.add("overloaded" if isinstance(error, Overloaded) else "not_accepted")

    def objects(self, *said: bool | None) -> bool:
        """Return whether consent was refused, or is required and was not given; `said` is what each source says."""
        return False in said or (self.require_consent and True not in said)
