"""The container engine: its interface, the Docker client, the snapshot of what runs, logs, stats."""
