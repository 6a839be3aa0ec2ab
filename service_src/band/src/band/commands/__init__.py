"""The commands of ``python -m band`` and ``band dev``."""
