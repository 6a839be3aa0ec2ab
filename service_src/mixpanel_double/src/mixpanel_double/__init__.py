"""A double of Mixpanel's ingestion API: keeps its rules, fails on command, shows what it counted."""

from mixpanel_double.app import Double, add_routes, make_app
from mixpanel_double.store import Store

__all__ = ["Double", "Store", "add_routes", "make_app"]
