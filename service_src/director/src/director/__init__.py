"""The director: builds images from folders, runs them as services, supervises and restarts them."""

__version__ = "0.1.0"
