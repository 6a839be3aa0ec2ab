"""Logs, metrics and failures of a process."""
