"""Calls of the functions that a service offers: their parameters and events typed, and the hook around each."""
