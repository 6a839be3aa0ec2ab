"""ujson where it is installed, as the requirements ask; the tests run on the standard library."""

try:
    from ujson import dumps, loads
except ImportError:
    from json import dumps, loads

__all__ = ["dumps", "loads"]
