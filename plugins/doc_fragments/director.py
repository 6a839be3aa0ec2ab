"""Documentation of the arguments in ``plugins/module_utils/director.py``: how the director is reached."""

from __future__ import annotations


class ModuleDocFragment:
    """`extends_documentation_fragment: rockstat.band.director`."""

    DOCUMENTATION = """
options:
  url:
    description: URL of the director.
    type: str
    default: http://127.0.0.1:10000
  token:
    description: Token of the director, if it has one.
    type: str
    default: ""
"""
