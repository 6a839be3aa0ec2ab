"""The endpoints by resource: each is a method that takes typed parameters and returns its response."""

from director.api.handlers.events import EventHandlers
from director.api.handlers.projects import ProjectHandlers
from director.api.handlers.releases import ReleaseHandlers
from director.api.handlers.services import ServiceHandlers
from director.api.handlers.settings import SettingsHandlers
from director.api.handlers.system import SystemHandlers
from director.api.routes import endpoints, reading_words

ENDPOINTS = endpoints(
    ServiceHandlers, ReleaseHandlers, SettingsHandlers, ProjectHandlers, EventHandlers, SystemHandlers
)
READING = reading_words(ENDPOINTS)

__all__ = [
    "ENDPOINTS", "READING", "EventHandlers", "ProjectHandlers", "ReleaseHandlers", "ServiceHandlers",
    "SettingsHandlers", "SystemHandlers",
]  # fmt: skip
