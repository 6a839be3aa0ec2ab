"""What Mixpanel's answer means. Pure: an answer in, a verdict out."""

from enum import Enum
from typing import Any

import msgspec


class Meaning(Enum):
    """What is to be done with the records that were sent."""

    TAKEN = "taken"
    """All are counted."""
    SOME_FAILED = "some failed"
    """Those in `failed` never will be; the others are counted."""
    ALL_IN_DOUBT = "all in doubt"
    """Refused as a whole without saying which: send them in halves."""
    TOO_LARGE = "too large"
    """Send them in halves."""
    LATER = "later"
    """Send them again after a pause."""
    CREDENTIALS = "credentials"
    """Nothing will be taken until somebody mends the credentials."""
    REQUEST = "request"
    """Everything is refused as a whole: it is not about the records, and sending other ones does not help."""
    ADDRESS = "address"
    """Whoever answered is not Mixpanel: the address is wrong, or a proxy stands in between."""


class Failure(msgspec.Struct, frozen=True):
    """Why one record was refused, in Mixpanel's words."""

    index: int
    field: str
    message: str


class Verdict(msgspec.Struct, frozen=True):
    """The meaning of one answer. `imported` is what Mixpanel says that it took, None when it did not say."""

    meaning: Meaning
    status: int
    text: str
    failed: tuple[Failure, ...] = ()
    imported: int | None = None

    @property
    def reason(self) -> str:
        """Status and words; only the words when there was no answer at all."""
        return said(self.status, self.text)


def said(status: int, text: str) -> str:
    """The HTTP status and what was said; status 0 stands for no answer and is not shown."""
    return f"{status}: {text}" if status else text


_LATER = frozenset({408, 425, 429})


def judge(status: int, body: bytes, sent: int) -> Verdict:
    """Judge the answer to a request with `sent` records."""
    answer = _json(body)
    text = _words(answer, body)
    if status == 200:
        return _judge_ok(answer, text, sent)
    if status == 400:
        return _judge_bad(answer, text, sent)
    if status in {401, 403}:
        return Verdict(Meaning.CREDENTIALS, status, text)
    if status == 413:
        return Verdict(Meaning.TOO_LARGE, status, text)
    if status in _LATER or status >= 500:
        return Verdict(Meaning.LATER, status, text)
    return Verdict(Meaning.ADDRESS, status, text)


def judge_change(status: int, body: bytes, sent: int) -> Verdict:
    """Judge the answer to a request with `sent` changes of profiles, which may be 200 although they are refused.

    It has a `code` as that of `/import`, or a `status` of 1 or 0, or is no more than that number.
    """
    answer = _json(body)
    if status == 200 and not (isinstance(answer, dict) and "code" in answer):
        taken = answer.get("status") if isinstance(answer, dict) else answer
        text = _words(answer, body)
        if taken == 1:
            return Verdict(Meaning.TAKEN, status, "OK", imported=sent)
        if taken == 0:
            return Verdict(Meaning.ALL_IN_DOUBT, status, text)
        return Verdict(Meaning.ADDRESS, status, f"the response is not one of Mixpanel's: {text}")
    verdict = judge(status, body, sent)
    if verdict.failed and all("token" in failure.field for failure in verdict.failed):
        return Verdict(Meaning.CREDENTIALS, status, verdict.failed[0].message)  # the token is the same in all
    return verdict


def _judge_ok(answer: Any, text: str, sent: int) -> Verdict:
    # A page of a proxy or a captive portal is 200 too. Believe only what speaks as /import does.
    if not isinstance(answer, dict) or "code" not in answer:
        return Verdict(Meaning.ADDRESS, 200, f"the response is not one of Mixpanel's /import: {text}")
    imported = answer.get("num_records_imported")
    if isinstance(imported, int) and imported < sent and not _failures(answer, sent):
        # Mixpanel took fewer and names none: sending all again costs nothing, they are counted once.
        return Verdict(Meaning.LATER, 200, f"{imported} of {sent} records were accepted", imported=imported)
    return Verdict(Meaning.TAKEN, 200, text, imported=imported if isinstance(imported, int) else sent)


def _judge_bad(answer: Any, text: str, sent: int) -> Verdict:
    failed = _failures(answer, sent)
    if not failed:
        return Verdict(Meaning.ALL_IN_DOUBT, 400, text)
    imported = answer.get("num_records_imported")
    return Verdict(Meaning.SOME_FAILED, 400, text, failed, imported if isinstance(imported, int) else None)


def _failures(answer: Any, sent: int) -> tuple[Failure, ...]:
    """Failed records by index: the only field whose name is the same in all of Mixpanel's documents."""
    rows = answer.get("failed_records") if isinstance(answer, dict) else None
    found: dict[int, Failure] = {}
    for row in rows if isinstance(rows, list) else []:
        index = row.get("index") if isinstance(row, dict) else None
        if isinstance(index, int | float) and 0 <= index < sent:
            found[int(index)] = Failure(
                int(index), str(row.get("field") or ""), str(row.get("message") or "no reason given")
            )
    return tuple(found[index] for index in sorted(found))


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _words(answer: Any, body: bytes) -> str:
    if isinstance(answer, dict):
        said = answer.get("error") or answer.get("status") or ""
    else:
        said = body[:200].decode("utf-8", "replace")
    return str(said)[:300]
