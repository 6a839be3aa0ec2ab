"""A service of the operator's own: keeps a page in its volume, and cannot take events."""
