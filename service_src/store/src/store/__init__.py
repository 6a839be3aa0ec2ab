"""Keeps every event exactly once in files on this host, and answers SQL about them."""
