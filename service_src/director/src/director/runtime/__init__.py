"""Where services run. `face` is the small interface; `docker` is the one engine there is now."""
