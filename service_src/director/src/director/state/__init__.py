"""What is remembered in Redis: desired state, config, releases, crash log, event stream."""
