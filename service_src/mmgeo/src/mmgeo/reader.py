"""A database in MaxMind's format, of places or of networks: opened on a private copy, and asked."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import maxminddb

from geo.address import Address
from geo.dataset import BadData, Loaded
from mmgeo.tree import Tree


class Database:
    """An open database; give it up and it closes itself."""

    def __init__(self, tree: Tree, reader: maxminddb.Reader) -> None:
        self._tree, self._reader = tree, reader

    def find(self, address: Address) -> int | None:
        """Return the key of an address's record; many addresses share one.

        Raises:
            LookupError: the database has no IPv6 addresses.
        """
        return self._tree.find(address.number, address.version)

    def record(self, address: Address) -> dict[str, Any]:
        """Return the record of an address that has one.

        Raises:
            BadData: the database is damaged at this place.
        """
        try:
            found = self._reader.get(address.text)
        except (ValueError, maxminddb.InvalidDatabaseError) as error:  # also a text that is not UTF-8
            raise BadData(f"damaged record: {error}") from error
        if not isinstance(found, dict):
            raise BadData(f"a record is of type {type(found).__name__}, not a map")
        return found


def open_database(path: Path) -> Loaded[Database]:
    """Open a file that :mod:`mmgeo.check` has accepted: a damaged one may end the process."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.map-") as copy:
        # A private copy, soon without a name: nobody can cut it short under the reader, which would kill the process.
        with path.open("rb") as source:
            shutil.copyfileobj(source, copy, 1 << 20)
        copy.flush()
        reader = maxminddb.open_database(copy.name)
        buffer = mmap(copy.fileno(), 0, access=ACCESS_READ)
    facts = reader.metadata()
    tree = Tree(buffer, facts.node_count, facts.record_size, facts.ip_version)
    about = {"database": facts.database_type, "ip_version": facts.ip_version, "tree_nodes": facts.node_count}
    return Loaded(Database(tree, reader), datetime.fromtimestamp(facts.build_epoch, UTC), about)
