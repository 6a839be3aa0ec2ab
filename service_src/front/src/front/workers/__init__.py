"""Many processes on one port: the supervisor, and the communication between workers."""
