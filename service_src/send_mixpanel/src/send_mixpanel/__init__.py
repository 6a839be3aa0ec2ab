"""Listener that delivers every event of the durable stream to Mixpanel, where each is counted once."""
