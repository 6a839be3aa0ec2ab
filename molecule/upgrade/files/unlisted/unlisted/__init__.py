"""A service of the operator's own, which his inventory does not name."""
