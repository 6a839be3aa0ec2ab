#!/usr/bin/python
"""Make a list of projects those of the inventory."""

from __future__ import annotations

DOCUMENTATION = r"""
module: band_projects
short_description: Projects with their keys, origins and limits
version_added: 0.1.0
description:
  - Gives the director the whole list. Front follows within a second, without a restart.
  - What an entry does not name has its default; keys that it does not name stay, and a new project gets a public key.
  - A project that is not in O(projects) is removed only if it came from an inventory; one that was made by hand stays.
  - If one entry is wrong, nothing is changed, and all mistakes are reported.
options:
  projects:
    description: The projects.
    type: list
    elements: dict
    required: true
    suboptions:
      id:
        description: Id of the project.
        type: str
        required: true
      public_keys:
        description: Keys for browsers and apps, at most two. By default one is generated.
        type: list
        elements: str
      secret_keys:
        description: Keys for servers, at most two. The director keeps their hashes only.
        type: list
        elements: str
      origins:
        description: Sites that may send. By default every site may.
        type: list
        elements: str
      events_per_second:
        description: Limit of one key; 0 for none.
        type: int
      burst:
        description: How many events of one key may come at once.
        type: int
      visitor_events_per_second:
        description: Limit of one visitor's address; 0 for none.
        type: int
      visitor_burst:
        description: How many events of one visitor's address may come at once.
        type: int
      body_limit:
        description: Bytes of a request; 0 for front's own limits.
        type: int
      bots:
        description: What happens to events of bots.
        type: str
        choices: [mark, aside, drop]
      project_ids:
        description: Values of the native field C(projectId) that belong to the project.
        type: list
        elements: str
      ignored_addresses:
        description: Addresses and networks whose visits are not stored.
        type: list
        elements: str
      consent:
        description: What the browser SDK does by default.
        type: str
        choices: ["off", opt-out, opt-in, cookieless]
      timezone:
        description: Time zone, for example C(Europe/Berlin).
        type: str
extends_documentation_fragment: [rockstat.band.director]
attributes:
  check_mode:
    support: full
    description: Says which projects would be created, changed and removed.
  diff_mode:
    support: full
    description: Lists these projects, without their fields.
author: The Rockstat Band founders (@rockstat)
"""

EXAMPLES = r"""
- name: A shop, and a blog with a key of its own for its server
  rockstat.band.band_projects:
    projects:
      - id: shop
        origins: [https://shop.example, https://*.shop.example]
        timezone: Europe/Berlin
        events_per_second: 200
      - id: blog
        secret_keys: ["sk_{{ mixpanel_token }}"]
"""

RETURN = r"""
created:
  description: Projects that are new.
  type: list
  elements: str
  returned: always
changed_projects:
  description: Projects that were changed.
  type: list
  elements: str
  returned: always
removed:
  description: Projects that left the inventory.
  type: list
  elements: str
  returned: always
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rockstat.band.plugins.module_utils.director import Director, DirectorError, connection_spec

# No response: a host that was never set up. Not found: a director that is about to be upgraded.
NO_PROJECTS_YET = (0, 404)


def project_spec() -> dict[str, dict[str, Any]]:
    """Return the arguments that describe one project."""
    texts = {"type": "list", "elements": "str"}
    number = {"type": "int"}
    return {
        "id": {"type": "str", "required": True},
        "public_keys": {**texts, "no_log": False},
        "secret_keys": {**texts, "no_log": True},
        "origins": texts,
        "events_per_second": number,
        "burst": number,
        "visitor_events_per_second": number,
        "visitor_burst": number,
        "body_limit": number,
        "bots": {"type": "str", "choices": ["mark", "aside", "drop"]},
        "project_ids": texts,
        "ignored_addresses": texts,
        "consent": {"type": "str", "choices": ["off", "opt-out", "opt-in", "cookieless"]},
        "timezone": {"type": "str"},
    }


def apply(module: AnsibleModule) -> dict[str, Any]:
    """Return what the director changed, or would in check mode; raises DirectorError."""
    args = module.params
    wanted = [{key: value for key, value in entry.items() if value is not None} for entry in args["projects"]]
    body = {"projects": wanted, "dry_run": module.check_mode}
    try:
        answer: dict[str, Any] = Director(args["url"], args["token"]).post("/projects", body, timeout=30.0)
        return answer
    except DirectorError as error:
        if module.check_mode and error.status in NO_PROJECTS_YET:
            return {"created": [entry["id"] for entry in wanted], "changed": [], "removed": []}
        raise


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **connection_spec(),
            "projects": {"type": "list", "elements": "dict", "required": True, "options": project_spec()},
        },
        supports_check_mode=True,
    )
    try:
        done = apply(module)
    except DirectorError as error:
        module.fail_json(msg=f"band_projects cannot be applied, and nothing was changed. {error}", status=error.status)
    words = {"created": "create", "changed": "change", "removed": "remove"}
    lines = [f"{verb} project {name}\n" for what, verb in words.items() for name in done[what]]
    shown = {"diff": {"before": "", "after": "".join(lines)}} if module._diff and lines else {}
    module.exit_json(
        changed=bool(lines),
        created=done["created"],
        changed_projects=done["changed"],
        removed=done["removed"],
        **shown,
    )


if __name__ == "__main__":
    main()
