#!/usr/bin/python
"""Documentation of band_settings; the work is done by the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: band_settings
short_description: Refuse variables that no role knows
version_added: 0.1.0
description:
  - Compares the host's variables that begin with C(band_) with the options of all roles of this collection, and fails
    with all findings at once. Runs on the controller and touches no host.
  - Of other variables those are refused that are nearly called as one of ours that is not set, as C(mixpanel_tokn) is.
  - Entries of a list may have only the keys that its role knows, as those of C(band_projects).
  - Values have to be of their kind; ports, sizes, time-outs and addresses are known by their names.
options:
  renamed:
    description: Previous names, each with the name that took its place.
    type: dict
    default: {}
  refused_secrets:
    description: Values that no token or password may have.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: Changes nothing.
author: The Rockstat Band founders (@rockstat)
"""

EXAMPLES = r"""
- name: Every setting is one that a role knows
  rockstat.band.band_settings:
    renamed: {band_redis_port: band_redis_host_port}
"""

RETURN = r"""
known:
  description: How many settings the roles know.
  type: int
  returned: always
"""
