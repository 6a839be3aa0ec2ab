"""The endpoints by resource: each is a method that takes typed parameters and returns its response."""
