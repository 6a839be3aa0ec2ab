"""The stages of one event: enrich it, mask its address, have it handled, store it."""
