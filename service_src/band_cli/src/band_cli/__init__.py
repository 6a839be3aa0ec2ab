"""The command `band`: see and operate the platform from a terminal, over the director's HTTP API."""

__version__ = "0.1.0"
