"""What ``python -m band`` and ``band dev`` do, one module a verb."""
