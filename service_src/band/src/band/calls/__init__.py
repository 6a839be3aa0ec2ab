"""Calls of a service's functions: typed parameters and events, middleware, positions in the stream."""
