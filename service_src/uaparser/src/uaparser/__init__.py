"""Enricher that says which system, browser, device and kind of visitor a User-Agent names."""

from uaparser.parser import MAX_UA_LENGTH, UaParser

__all__ = ["MAX_UA_LENGTH", "UaParser"]
