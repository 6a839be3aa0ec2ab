"""One port and many processes: their supervisor, and what the workers tell each other."""
