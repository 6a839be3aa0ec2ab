"""What the command ``band`` does, one module a verb."""
