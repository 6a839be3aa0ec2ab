"""The director: builds images from folders, runs them as services, watches them, puts them back when they die."""

__version__ = "0.1.0"
