"""`.dockerignore` as Docker reads it."""

from __future__ import annotations

import pytest

from director.errors import InvalidValue
from director.images.context import DockerIgnore

# (patterns, path, ignored): the rules of moby's own table, in our words.
RULES = [
    ("**", "file", True),
    ("**", "dir/file", True),
    ("**/", "file", True),
    ("**/", "dir/file", True),
    ("**/**", "dir/dir/file", True),
    ("dir/**", "dir/file", True),
    ("dir/**", "dir/dir2/file", True),
    ("dir/**", "file", False),
    ("**/dir2/*", "dir/dir2/file", True),
    ("**/dir2/*", "dir/dir2/dir2/file", True),
    ("**/dir2/**", "dir/dir2/dir2/file", True),
    ("**file", "file", True),
    ("**file", "dir/file", True),
    ("**/file", "dir/dir/file", True),
    ("**/file*", "dir/dir/file.txt", True),
    ("**/file*txt", "dir/dir/file.txt", True),
    ("**/**/*.txt", "dir/dir/file.txt", True),
    ("**/*.txt2", "dir/dir/file.txt", False),
    ("a**/*.txt", "a/dir/file.txt", True),
    ("a/*.txt", "a/file.txt", True),
    ("a/*.txt", "a/dir/file.txt", False),
    ("a[b-d]e", "ace", True),
    ("a[b-d]e", "aae", False),
    ("a[^b-d]e", "aze", True),
    (".*", ".env", True),
    (".*", "foo", False),
    ("abc.def", "abcZdef", False),
    ("abc?def", "abcZdef", True),
    ("abc?def", "abcdef", False),
    ("a\\*b", "a*b", True),
    ("a\\*b", "axb", False),
    ("a+b(c)", "a+b(c)", True),
    ("*", "file", True),
    ("*", "dir/file", True),  # the folder matches, and with it what is in it
    (".env", ".env", True),
    (".env", "config/.env", False),  # patterns begin at the root, unlike those of git
    ("/.env", ".env", True),
    ("./data/", "data/a.db", True),
    ("data/*", "data/a.db", True),
    ("data/*", "data", False),
    ("a/../data", "data/a.db", True),
    ("#.env", "#.env", False),
    ("  .env  ", ".env", True),
    ("  #x", "#x", True),  # a comment begins a line
    ("", ".env", False),
    ("\ufeff.env", ".env", True),
    (".env\r\ndata", "data", True),
    ("*\n!main.py", "main.py", False),
    ("*\n!main.py", "other.py", True),
    ("!main.py\n*", "main.py", True),  # the last one decides
    ("data\n!data/keep", "data/keep/a", False),
    ("data\n!data/keep\ndata/keep/secret", "data/keep/secret", True),
    ("data\n!data/keep", "data/other", True),
    ("*\n! main.py", "main.py", False),
    ("*", "Dockerfile", False),
    ("**", ".dockerignore", False),
    ("*", "sub/Dockerfile", True),
]


@pytest.mark.parametrize(("patterns", "path", "ignored"), RULES)
def test_patterns_mean_what_they_mean_to_docker(patterns: str, path: str, ignored: bool) -> None:
    """Anchored at the root, `**` over folders, `!` and order, comments, odd spacing; the Dockerfile goes along."""
    assert DockerIgnore(patterns).ignores(path) is ignored


def test_folders_are_looked_into_only_when_something_may_come_back() -> None:
    """A large ignored folder costs nothing, unless a `!` could take a file of it in."""
    assert DockerIgnore("data").skips("data")
    assert not DockerIgnore("data/*").skips("data")
    assert not DockerIgnore("data\n!data/keep").skips("data")
    assert not DockerIgnore().skips("data")


@pytest.mark.parametrize(("patterns", "line"), [("ok\na[b", 2), ("!", 1), ("a[z-a]", 1)])
def test_what_is_no_pattern_is_named_with_its_line(patterns: str, line: int) -> None:
    """Docker refuses such a file too; a pattern that is passed over could send a secret along."""
    with pytest.raises(InvalidValue, match=f"line {line}"):
        DockerIgnore(patterns)
