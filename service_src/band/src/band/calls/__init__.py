"""Calls of the functions that a service offers: their parameters and events typed, the hook around each, and where a listener begins."""
