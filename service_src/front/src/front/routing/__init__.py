"""Compiled registrations of services: which handler an event goes to, which enrichers are asked."""
