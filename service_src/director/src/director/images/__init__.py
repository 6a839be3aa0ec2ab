"""From an image folder to an image: build contexts, BuildKit, and what may be pruned."""
