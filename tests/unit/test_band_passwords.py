"""band_passwords: generated once, private, and never told."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from ansible_modules import run


def kept(folder: Path, given: str = "", *, check: bool = False) -> dict[str, Any]:
    """Run the module for two files."""
    owners = dict.fromkeys(("one", "two"), os.getuid())
    return run("band_passwords", {"folder": str(folder), "owners": owners, "given": {"one": given}}, check=check)


def test_passwords_are_generated_once(tmp_path: Path) -> None:
    """Check mode writes nothing, the hashes are those of the files, and a second run finds nothing to do."""
    assert kept(tmp_path, check=True)["written"] == ["one", "two"] and not list(tmp_path.iterdir())
    assert kept(tmp_path / "missing", check=True)["changed"] is True
    done = kept(tmp_path)
    words = {path.name: path.read_text().strip() for path in tmp_path.iterdir()}
    assert done["hashes"] == {name: hashlib.sha256(word.encode()).hexdigest() for name, word in words.items()}
    assert {len(word) for word in words.values()} == {40} and words["one"] != words["two"]
    again = kept(tmp_path)
    assert (again["changed"], again["hashes"]) == (False, done["hashes"])
    assert not [word for word in words.values() if word in done["_text"] + again["_text"]]


def test_a_given_password_replaces_the_one_that_is_there(tmp_path: Path) -> None:
    """Only its own, and it is not told."""
    kept(tmp_path)
    two = (tmp_path / "two").read_text()
    done = kept(tmp_path, "canary-password-4711")
    assert done["written"] == ["one"] and "canary" not in done["_text"]
    assert (tmp_path / "one").read_text() == "canary-password-4711\n" and (tmp_path / "two").read_text() == two
    assert kept(tmp_path, "canary-password-4711")["changed"] is False


def test_a_file_that_others_can_read_is_closed(tmp_path: Path) -> None:
    """The password stays; an empty file gets one."""
    kept(tmp_path)
    word = (tmp_path / "one").read_text()
    (tmp_path / "one").chmod(0o644)
    (tmp_path / "two").write_text("\n")
    assert kept(tmp_path, check=True)["written"] == ["one", "two"]
    assert kept(tmp_path)["written"] == ["one", "two"]
    assert (tmp_path / "one").read_text() == word and len((tmp_path / "two").read_text()) == 41
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
