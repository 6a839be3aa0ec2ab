"""Registrations of services, compiled: which handler answers an event, which enrichers are asked."""
