"""Import paths that services of the original platform use."""
