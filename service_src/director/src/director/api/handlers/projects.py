"""Projects: who may send events, with which keys, origins and limits. GET reads them, POST changes them."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import UNSET

from director.api.params import Nothing
from director.api.projects import ApplyParams, KeyParams, NewKey, ProjectIdParams, ProjectParams, RemovedProject
from director.api.routes import route
from director.errors import InvalidValue
from director.state.projects import Applied, Project, Projects


@dataclass(kw_only=True, eq=False)
class ProjectHandlers:
    """The endpoints about projects."""

    projects: Projects

    @route("/projects", "All projects; of secret keys only fingerprints", 502, verbs=("get",))
    async def list_projects(self, _given: Nothing) -> list[Project]:
        return [project.shown() for project in await self.projects.listed()]

    @route(
        "/projects",
        "Make these the projects of the inventory: one that left it is removed, and others stay as they are",
        409, 422, 502, verbs=("post",),
    )  # fmt: skip
    async def apply_projects(self, given: ApplyParams) -> Applied:
        wanted = {project.id: project.fields() for project in given.projects}
        return await self.projects.apply(wanted, dry_run=given.dry_run)

    @route("/projects/{id}", "A project; of secret keys only fingerprints", 404, 422, 502, verbs=("get",))
    async def show_project(self, given: ProjectIdParams) -> Project:
        return (await self.projects.one(given.id)).shown()

    @route(
        "/projects/{id}",
        "Create a project, or change the given fields of one; a new one gets a public key",
        409, 422, 502, verbs=("post",),
    )  # fmt: skip
    async def set_project(self, given: ProjectParams) -> Project:
        project, _ = await self.projects.change(given.id, given.fields())
        return project.shown()

    @route(
        "/projects/{id}/keys",
        "Add a second key for a rotation, which a response shows once, or remove the old one",
        404, 409, 422, 502, verbs=("post",),
    )  # fmt: skip
    async def change_key(self, given: KeyParams) -> NewKey | Project:
        if given.kind is not UNSET and given.remove is UNSET:
            return NewKey(given.id, given.kind, await self.projects.add_key(given.id, given.kind))
        if given.remove is not UNSET and given.kind is UNSET:
            return (await self.projects.remove_key(given.id, given.remove)).shown()
        raise InvalidValue("give either `kind` or `remove`", 'send {"kind": "public"} or {"remove": "pk_…"}')

    @route("/projects/{id}/remove", "Remove a project with its keys", 404, 422, 502, verbs=("post",))
    async def remove_project(self, given: ProjectIdParams) -> RemovedProject:
        await self.projects.remove(given.id)
        return RemovedProject(given.id)
