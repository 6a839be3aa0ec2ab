"""Check a new database in a child process, which reads all of its records: damage may end that process, no other.

maxminddb's C reader (3.2.0) ends the process on some damaged files, with SIGSEGV or SIGABRT
(``benchmarks/studies/mmdb_readers.py`` counts them). A file whose records were all read once is safe to ask.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import maxminddb

from mmgeo.tree import Tree

_TYPES = {"City or Country": r"city|country|enterprise", "ASN or ISP": r"asn|isp|enterprise"}
_MARKER = b"\xab\xcd\xefMaxMind.com"
_MARKER_WITHIN = 128 * 1024
_SECONDS = 600.0
_LOOK_SECONDS = 0.2
"""Between two looks whether the service stops."""
_NICENESS = 10
_COMMAND = (sys.executable, "-m", "mmgeo.check")
_FAULTS = {
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE),
    signal.SIGKILL,  # the kernel's, for what takes more memory than there is
}
"""Signals by which damage ends a reader; any other one comes from somebody, and says nothing of the file."""
_MAX_MEMORY = 256 << 20
"""What a child may take; the file itself, which is mapped, does not count."""
_EARLIEST = datetime(2005, 1, 1, tzinfo=UTC)
_turn = threading.Lock()
"""Held by the check that runs: two children take more memory than the container has beside the service."""
_stopping = threading.Event()


class Refused(Exception):
    """The file is no usable database; the text says why."""


async def end_with_service() -> AsyncIterator[None]:
    """End the check that runs when the service stops: the process waits for the thread that waits for the child."""
    _stopping.clear()
    try:
        yield
    finally:
        _stopping.set()


def check_city(path: Path) -> None:
    """Read a whole database of places once.

    Raises:
        BadData: it is no such database, is damaged, or has another schema; the text says which.
        NotChecked: the child took too long, or was ended by somebody.
    """
    _check_in_child(path, "City or Country")


def check_asn(path: Path) -> None:
    """Read a whole database of networks (autonomous systems) once; raises as ``check_city`` does."""
    _check_in_child(path, "ASN or ISP")


def _check_in_child(path: Path, kind: str) -> None:
    from geo.dataset import BadData, NotChecked  # not for the child, which would wait for it

    with path.open("rb") as file:  # before the child: the cheapest look refuses most of what is no database
        file.seek(max(0, path.stat().st_size - _MARKER_WITHIN))
        if _MARKER not in file.read():
            raise BadData("not a MaxMind DB, or truncated: it has no metadata at its end")
    done = _run(*_COMMAND, str(path), kind)
    if done is None:
        why = "the service stops" if _stopping.is_set() else f"its records could not be read within {_SECONDS:g} s"
        raise NotChecked(f"{path.name} is not checked yet: {why}; it is retried later")
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        if -done.returncode not in _FAULTS:
            raise NotChecked(f"{path.name} is not checked yet: {name} ended the check; it is retried later")
        raise BadData(f"damaged: reading it killed a process with {name}")
    if done.returncode:
        raise BadData(done.stdout.strip() or f"its records could not be read: {done.stderr.strip()[-200:]}")


def _run(*argv: str) -> subprocess.CompletedProcess[str] | None:
    """Run a child when it is its turn; None when it took too long, or when the service stops."""
    with (
        _turn,
        subprocess.Popen(  # noqa: S603 - a session of its own: Ctrl-C is for the service, which ends its child
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        ) as child,
    ):
        until = time.monotonic() + _SECONDS
        try:
            while not _stopping.is_set() and time.monotonic() < until:
                with suppress(subprocess.TimeoutExpired):
                    out, err = child.communicate(timeout=_LOOK_SECONDS)
                    return subprocess.CompletedProcess(argv, child.returncode, out, err)
        finally:
            child.kill()
    return None


def read_all(path: str, kind: str) -> None:
    """Read the metadata and every record of a file.

    Raises:
        Refused: it is not a sound database of this kind. Whatever maxminddb raises means the same.
    """
    with maxminddb.open_database(path) as reader, open(path, "rb") as file:  # noqa: PTH123 - one path for both
        facts = reader.metadata()
        if not re.search(_TYPES[kind], facts.database_type, re.IGNORECASE):
            raise Refused(f"a database of type {facts.database_type[:80]!r}; one with {kind} in its type is needed")
        built = datetime.fromtimestamp(facts.build_epoch, UTC)
        if not _EARLIEST < built < datetime.now(UTC) + timedelta(days=2):
            raise Refused(f"its build date is {built:%Y-%m-%d}")
        tree = Tree(mmap(file.fileno(), 0, access=ACCESS_READ), facts.node_count, facts.record_size, facts.ip_version)
        as_address = IPv4Address if facts.ip_version == 4 else IPv6Address
        useful = sum(_is_useful(reader.get(as_address(number)), kind) for number in tree.one_of_each())
    if not useful:
        has = "a country with iso_code and names" if "City" in kind else "an autonomous_system_number"
        raise Refused(f"{facts.database_type}: no record has {has}")


def _is_useful(record: Any, kind: str) -> bool:
    """Tell whether a record has what is asked for; raise when it is of another schema."""
    if not isinstance(record, dict):
        raise Refused(f"a record is of type {type(record).__name__}, not a map")
    if kind == "ASN or ISP":
        return type(record.get("autonomous_system_number")) is int
    country = record.get("country", {})
    if "country_code" in record or "country_name" in record:
        raise Refused("records are flat (country_code); only MaxMind's nested City schema is supported")
    if not isinstance(country, dict):
        raise Refused(f"country is of type {type(country).__name__}, not a map as in MaxMind's City schema")
    return isinstance(country.get("iso_code"), str) and isinstance(country.get("names"), dict)


def main() -> int:
    """Read the file named on the command line; print why it is refused."""
    resource.setrlimit(resource.RLIMIT_DATA, (_MAX_MEMORY, _MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(_NICENESS)
    try:
        read_all(*sys.argv[1:])
    except Refused as error:
        print(error)
    except Exception as error:  # noqa: BLE001 - whatever happens on the way, the file is not used
        print(f"damaged: {error or type(error).__name__}")
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
