#!/usr/bin/python
"""Documentation of band_sources; the work is done by the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: band_sources
short_description: Copy the build sources of the images to a host
version_added: 0.1.0
description:
  - Compares the contents of folders on the controller with what was laid on the host before, by one hash.
  - Sends one archive when they differ. Tests, caches and files named .env are not part of it.
options:
  src:
    description: Folder on the controller that holds I(folders).
    type: path
    required: true
  folders:
    description: Names of the folders in I(src) to lay on the host.
    type: list
    elements: str
    required: true
  dest:
    description: Folder on the host. What it held before is replaced.
    type: path
    required: true
attributes:
  check_mode:
    support: full
    description: Says whether the sources differ.
author: The Rockstat Band founders (@rockstat)
"""

EXAMPLES = r"""
- name: Copy the build sources to the host
  rockstat.band.band_sources:
    src: "{{ role_path }}/../.."
    folders: [band_images, service_src]
    dest: /srv/rockstat/source
"""

RETURN = r"""
contents:
  description: SHA-256 of the sources, by names, modes and bytes.
  type: str
  returned: always
changed_folders:
  description:
    - Folders in O(folders), such as V(band_images/front), that differ from what was on the host. In check mode the
      host keeps its old sources, so a build has to be told (O(rockstat.band.band_image#module:sources_changed)).
  type: list
  elements: str
  returned: always
files:
  description: How many files there are.
  type: int
  returned: always
"""
