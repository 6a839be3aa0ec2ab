"""Services on the bus: registrations, status probes, health, calls over RPC."""
