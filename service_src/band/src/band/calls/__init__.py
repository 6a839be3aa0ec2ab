"""Calls of a service's functions: parameters and events typed, the hook around each, where a listener begins."""
