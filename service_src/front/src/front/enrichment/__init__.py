"""Asking enrichers, caching their responses, and not waiting for those that are silent."""
