"""The life of a service: start and stop, HTTP port, health, background jobs."""
