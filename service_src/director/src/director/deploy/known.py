"""What should run under a name; where nothing should, what whoever asked can do about it."""

from __future__ import annotations

from director.errors import Conflict, NotFound, did_you_mean
from director.images.images import Images
from director.state.desired import Desired, Wanted

CORE = frozenset({"director", "redis"})
"""Containers of the platform itself, which stand beside the services."""


def check_not_core(name: str) -> None:
    """Return unless the name is that of a container of the platform itself.

    Raises:
        Conflict: it is.
    """
    if name in CORE:
        hint = "its container is Ansible's: setup.yml puts it in place, uninstall.yml takes it away"
        raise Conflict(f"{name} is a part of the platform itself, not a service", hint, service=name)


async def what_runs(name: str, desired: Desired, images: Images) -> Wanted:
    """Return what should be of a service that was run and not removed.

    Raises:
        Conflict: it is a part of the platform itself, or Redis could not be asked yet.
        NotFound: it was never run; the hint says how to run it, or that there is nothing to run.
    """
    check_not_core(name)
    wanted = desired.get(name)
    if wanted is not None and wanted.state != "removed":
        return wanted
    if not desired.loaded:
        raise Conflict("what should run could not be read from Redis yet", "is Redis up? GET /health tells")
    if await images.has_folder(name):
        raise NotFound(f"service {name!r} was never run", f"GET /run/{name} runs it", service=name)
    near = did_you_mean(name, {*desired.all(), *await images.names()})
    hint = f"{near}GET /list shows the services there are, GET /list_images what can be run"
    raise NotFound(f"there is no service {name!r}, nor a folder to run one from", hint, service=name)
