"""The director's care for Redis: a user for each service, its health, scripts that block it."""
