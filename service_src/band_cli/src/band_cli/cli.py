"""The command line: options, verbs and their help. What a verb does is in `band_cli.verbs`, imported when it is run."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from band_cli import __version__
from band_cli.client import Director
from band_cli.errors import BadInput, CliError, NoDirector
from band_cli.output import Output
from band_cli.target import find_target

INTERRUPTED = 130
_COMPLETION_SECONDS = 1.0
_NAME = re.compile("[a-z0-9][a-z0-9_-]{0,63}")
"""The form of a service's name, and of a project's id."""
_KEY = re.compile("[A-Za-z0-9:._-]{1,128}")
"""The form of a project's key, or of its fingerprint."""
_OF_AUTHORS = frozenset({"new", "tail", "requirements"})
"""Verbs of authors that are unambiguous without `dev`; aliases for one release."""


@dataclass
class Options:
    """The common options, and the director that was asked."""

    host: str | None = None
    token_file: str | None = None
    ca_file: str | None = None
    as_json: bool = False
    asked: Director | None = None

    def director(self) -> Director:
        """Return the director to ask."""
        found = find_target(os.environ, host=self.host, token_file=self.token_file, ca_file=self.ca_file)
        self.asked = Director(found)
        return self.asked

    def output(self) -> Output:
        """Return the output."""
        return Output(as_json=self.as_json)


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value:
        setattr(ctx.ensure_object(Options), str(param.name), value)


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    """Write the version of this command; click's own option would read the environment when it is imported."""
    if value and not ctx.resilient_parsing:
        click.echo(f"band {__version__}")
        ctx.exit()


def _common() -> list[click.Parameter]:
    """Return the options that stand before or after the verb."""
    return [
        click.Option(["--host"], metavar="URL", help="URL of the director.", callback=_keep, expose_value=False),
        click.Option(["--token-file"], metavar="FILE", help="File with the token.", callback=_keep, expose_value=False),
        click.Option(["--ca-file"], metavar="FILE", help="File of a CA to trust.", callback=_keep, expose_value=False),
        click.Option(["--json", "as_json"], is_flag=True, help="Print JSON.", callback=_keep, expose_value=False),
    ]


class Verb(click.Command):
    """A verb, with the options that all have."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.params += _common()


class Noun(click.Group):
    """A noun with verbs of its own."""

    command_class = Verb


class Verbs(Noun):
    """All verbs, and for one release the old spelling of the verbs of authors."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the verb that is meant; `band new` and `band run FOLDER` are `band dev new` and `band dev run`."""
        if args[0] in _OF_AUTHORS or (args[0] == "run" and _names_a_folder(args[1:])):
            Output().note(f"band: `band {args[0]}` is now `band dev {args[0]}`; the next release removes the old form")
            return "dev", self.commands["dev"], args
        return super().resolve_command(ctx, args)


def _names_a_folder(words: Sequence[str]) -> bool:
    """Return whether the words after `run` mean the verb of authors: there is no name, or a path."""
    return not words or words == ["--no-reload"] or words[0] in {".", ".."} or "/" in words[0]


def _services(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the services for completion."""
    return _complete(ctx, "/list", _names, incomplete)


def _folders(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the image folders that can be run."""
    return _complete(ctx, "/list_images", _names, incomplete)


def _methods(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the methods of the service that is typed."""
    service = str(ctx.params.get("service"))
    if not _NAME.fullmatch(service):
        return []
    return _complete(ctx, f"/ask_state/{service}", lambda answer: answer["methods"], incomplete)


def _names(rows: Any) -> list[str]:
    return [row["name"] for row in rows if row.get("runnable", True)]


def _complete(
    ctx: click.Context, path: str, names: Callable[[Any], list[str]], incomplete: str, form: re.Pattern[str] = _NAME
) -> list[CompletionItem]:
    """Return the names in a response of the director; none if it does not respond at once."""
    try:
        answer = ctx.ensure_object(Options).director().get(path, timeout=_COMPLETION_SECONDS)
        found = [name for name in names(answer) if form.fullmatch(name)]
    except (CliError, LookupError, TypeError, AttributeError):
        return []
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


def _projects(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the projects."""
    return _complete(ctx, "/projects", lambda rows: [row["id"] for row in rows], incomplete)


def _project_keys(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the keys of the project that is typed; secret ones by their fingerprints."""
    # click does not assign arguments where an option still lacks its value.
    project = str(ctx.params.get("project_id") or next(iter(ctx.args), ""))
    if not _NAME.fullmatch(project):
        return []
    return _complete(
        ctx, f"/projects/{project}", lambda row: [*row["public_keys"], *row["secret_keys"]], incomplete, _KEY
    )


_name = click.argument("name", shell_complete=_services)
_key = click.option(
    "--key", default="", metavar="PREFIX", callback=lambda _ctx, _param, value: value.rstrip("."),
    help="Only events with this key or one below it, e.g. in.gen.track.",
)  # fmt: skip


@click.group(
    cls=Verbs, params=_common(), context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def band() -> None:
    """See and operate a Rockstat Band platform from a terminal.

    Without --host it asks the director of this machine. The address, the token and a CA file
    can also be set as BAND_HOST, BAND_TOKEN (or BAND_TOKEN_FILE) and BAND_CA_FILE, or as host,
    token_file and ca_file in ~/.config/band/config.

    Exit codes: 0 success, 1 refused or failed, 2 wrong usage, 3 no director or no access,
    4 something is wrong (status, doctor), 130 interrupted.
    """


@band.command()
@click.pass_obj
def ps(options: Options) -> None:
    """List the services: state, health, memory, ports."""
    from band_cli.verbs import services

    services.ps(options.director(), options.output())


@band.command()
@click.pass_obj
def status(options: Options) -> int:
    """Show the state of the platform; exit code 4 if something is wrong."""
    from band_cli.verbs import health

    return health.status(options.director(), options.output())


@band.command()
@click.pass_obj
def doctor(options: Options) -> int:
    """Say what is wrong and what to do; exit code 4 if something is wrong."""
    from band_cli.verbs import health

    return health.doctor(options.director(), options.output())


@band.command()
@click.argument("name", shell_complete=_folders)
@click.option("--env", multiple=True, metavar="KEY=VALUE", help="Environment; replaces that of an earlier --env.")
@click.option("--nocache", is_flag=True, help="Build without the build cache.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@click.option("-v", "--verbose", is_flag=True, help="Show every line of the build.")
@click.pass_obj
def run(options: Options, name: str, env: tuple[str, ...], nocache: bool, dry_run: bool, verbose: bool) -> None:
    """Build a service if its folder changed, (re)start it, and wait until it is ready."""
    from band_cli.verbs import services

    services.run(
        options.director(), options.output(), name, env, nocache=nocache, dry_run=dry_run, verbose=verbose
    )  # fmt: skip


@band.command()
@_name
@click.pass_obj
def start(options: Options, name: str) -> None:
    """Start a stopped service."""
    _change(options, "start", name)


@band.command()
@_name
@click.pass_obj
def stop(options: Options, name: str) -> None:
    """Stop a service until it is started again."""
    _change(options, "stop", name)


@band.command()
@_name
@click.pass_obj
def restart(options: Options, name: str) -> None:
    """Replace a service's container with a fresh one of the same image."""
    _change(options, "restart", name)


@band.command()
@_name
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.pass_obj
def rm(options: Options, name: str, yes: bool) -> None:
    """Remove a service with its config and releases; its volumes are kept."""
    _confirm(f"{name} with its config and its releases", "they cannot be restored", yes=yes)
    _change(options, "rm", name)


def _confirm(what: str, then: str, *, yes: bool) -> None:
    """Ask before something is removed; without a terminal only `--yes` confirms."""
    if not yes:
        if not sys.stdin.isatty():
            raise BadInput(f"this removes {what}: {then}", "add --yes to confirm")
        click.confirm(f"Remove {what}?", abort=True, err=True)


def _change(options: Options, verb: str, name: str) -> None:
    from band_cli.verbs import services

    services.change(options.director(), options.output(), verb, name)


@band.command()
@_name
@click.pass_obj
def releases(options: Options, name: str) -> None:
    """List the releases of a service, newest first."""
    from band_cli.verbs import services

    services.releases(options.director(), options.output(), name)


@band.command()
@_name
@click.option("--to", metavar="RELEASE", help="ID or spec hash of the release; by default the last good one.")
@click.option("--dry-run", is_flag=True, help="Say which release that would be.")
@click.pass_obj
def rollback(options: Options, name: str, to: str | None, dry_run: bool) -> None:
    """Return to an earlier release of a service."""
    from band_cli.verbs import services

    services.rollback(options.director(), options.output(), name, to, dry_run=dry_run)


@band.command()
@_name
@click.option("-f", "--follow", is_flag=True, help="Keep printing new lines.")
@click.option("-n", "--tail", default=100, show_default=True, type=click.IntRange(0, 10_000), help="How many lines.")
@click.pass_obj
def logs(options: Options, name: str, follow: bool, tail: int) -> None:
    """Show the output of a service, of `director` or of `redis`."""
    from band_cli.verbs import services

    services.logs(options.director(), options.output(), name, follow=follow, tail=tail)


@band.command()
@click.argument("service", shell_complete=_services)
@click.argument("method", shell_complete=_methods)
@click.argument("params", nargs=-1, metavar="[key=text|key:=json]...")
@click.option("--timeout", type=click.FloatRange(0.01, 60), help="Time limit in seconds; 2 by default.")
@click.pass_obj
def call(options: Options, service: str, method: str, params: tuple[str, ...], timeout: float | None) -> None:
    """Call a method of a service and show its result as JSON."""
    from band_cli.verbs import events as verbs

    verbs.call(options.director(), options.output(), service, method, params, timeout)


@band.command()
@click.option("-f", "--follow", is_flag=True, help="Keep printing new events.")
@_key
@click.option("--uid", metavar="ID", help="Only events of this visitor.")
@click.option("--from", "start", metavar="TIME", help="From this time or entry on.")
@click.option("--to", "end", metavar="TIME", help="Up to this time or entry.")
@click.option("-n", "--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="How many events.")
@click.pass_obj
def events(
    options: Options, follow: bool, key: str, uid: str | None, start: str | None, end: str | None, limit: int
) -> None:
    """Show the newest events, newest last. A TIME is written as in 2026-11-27T09:30 (UTC)."""
    from band_cli.verbs import events as verbs

    wanted = {"key": key, "uid": uid, "from": start, "to": end}
    verbs.events(options.director(), options.output(), wanted, follow=follow, limit=limit)


@band.command()
@_name
@click.option("--from", "start", metavar="TIME", help="Start at this time or entry; `beginning` for all.")
@click.option("--to", "end", metavar="TIME", help="End at this time or entry; by default now.")
@_key
@click.option("--resume", is_flag=True, help="Continue a stopped replay.")
@click.option("--stop", is_flag=True, help="Stop the running replay.")
@click.option("--group", metavar="GROUP", help="The listener's group, if the service has several.")
@click.pass_obj
def replay(
    options: Options, name: str, start: str | None, end: str | None, key: str, resume: bool, stop: bool,
    group: str | None,
) -> int:  # fmt: skip
    """Deliver stored events to a listener again; without options, show the progress."""
    from band_cli.verbs import events as verbs

    asked = {"from": start, "to": end, "key": key, "resume": resume, "stop": stop, "group": group}
    return verbs.replay(options.director(), options.output(), name, asked)


@band.command()
@click.argument("event_id", metavar="ID")
@click.pass_obj
def trace(options: Options, event_id: str) -> None:
    """Show the path of an event: its enrichers, its listeners and what they reported."""
    from band_cli.verbs import events as verbs

    verbs.trace(options.director(), options.output(), event_id)


@band.command()
@click.argument("statement", metavar="SELECT")
@click.option("--service", default="store", show_default=True, metavar="NAME", help="The store to ask.")
@click.option("--csv", "as_csv", is_flag=True, help="Write CSV instead of a table.")
@click.pass_obj
def sql(options: Options, statement: str, service: str, as_csv: bool) -> None:
    """Query the stored events in SQL; `-` reads the statement from standard input (docs/store.md)."""
    from band_cli.verbs import sql as verbs

    verbs.sql(options.director(), options.output(), statement, service, as_csv=as_csv)


@band.group(cls=Noun, params=_common())
def project() -> None:
    """Keys, limits and origins of those who send events (docs/projects.md)."""


_project_id = click.argument("project_id", metavar="ID", shell_complete=_projects)
_rate = click.IntRange(0, 1_000_000)


@project.command("list")
@click.pass_obj
def project_list(options: Options) -> None:
    """List the projects."""
    from band_cli.verbs import projects

    projects.list_projects(options.director(), options.output())


@project.command("show")
@_project_id
@click.pass_obj
def project_show(options: Options, project_id: str) -> None:
    """Show a project; of secret keys only fingerprints."""
    from band_cli.verbs import projects

    projects.show(options.director(), options.output(), project_id)


@project.command("set")
@_project_id
@click.option("--origin", "origins", multiple=True, metavar="URL", help="Site that may send; '' for every site.")
@click.option("--timezone", metavar="ZONE", help="Time zone, e.g. Europe/Berlin.")
@click.option("--events-per-second", type=_rate, help="Limit of one key; 0 for none.")
@click.option("--burst", type=_rate, help="How many may come at once.")
@click.option("--visitor-events-per-second", type=_rate, help="Limit of one visitor's address; 0 for none.")
@click.option("--visitor-burst", type=_rate, help="How many of one visitor may come at once.")
@click.option("--body-limit", type=click.IntRange(0), metavar="BYTES", help="Largest request; 0: front's own limit.")
@click.option("--bots", type=click.Choice(["mark", "aside", "drop"]), help="What happens to events of bots.")
@click.option("--project-id", "project_ids", multiple=True, metavar="ID", help="A projectId that means this project.")
@click.option("--ignore", "ignored_addresses", multiple=True, metavar="NETWORK", help="Addresses not to store.")
@click.option("--consent", type=click.Choice(["off", "opt-out", "opt-in", "cookieless"]), help="Default of the SDK.")
@click.option("--public-key", "public_keys", multiple=True, metavar="KEY", help="Instead of a generated key.")
@click.pass_obj
def project_set(options: Options, /, project_id: str, **fields: Any) -> None:
    """Create a project, or change what is given. Options that may be repeated replace the whole list."""
    from band_cli.verbs import projects

    projects.set_project(options.director(), options.output(), project_id, fields)


@project.command("key")
@_project_id
@click.argument("kind", required=False, type=click.Choice(["public", "secret"]))
@click.option("--remove", metavar="KEY", shell_complete=_project_keys, help="End a key; also by its fingerprint.")
@click.pass_obj
def project_key(options: Options, project_id: str, kind: str | None, remove: str | None) -> None:
    """Print a second key for a rotation, or end the old one. A secret key is printed only once."""
    from band_cli.verbs import projects

    projects.change_key(options.director(), options.output(), project_id, kind, remove)


@project.command("rm")
@_project_id
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.pass_obj
def project_rm(options: Options, project_id: str, yes: bool) -> None:
    """Remove a project with its keys; its events stay."""
    from band_cli.verbs import projects

    _confirm(f"project {project_id} with its keys", "they are no longer valid", yes=yes)
    projects.remove(options.director(), options.output(), project_id)


@band.command()
@click.pass_obj
def version(options: Options) -> None:
    """Show the versions of this command and of the director."""
    from band_cli.verbs import health

    health.version(options.director(), options.output())


@band.command(
    cls=click.Command, add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)  # fmt: skip
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="new|run|call|tail|requirements ...")
def dev(words: tuple[str, ...]) -> int:
    """For service authors: new, run, call, tail, requirements (needs the framework)."""
    from band_cli.verbs import dev as verbs

    return verbs.dev(words)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = Options()
    try:
        code: int | None = band.main(
            args=None if argv is None else list(argv), prog_name="band", standalone_mode=False, obj=options
        )
    except click.exceptions.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except CliError as error:
        options.output().error(error)
        return error.exit_code
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError) as error:
        if options.asked is None or not options.asked.answered or isinstance(error, UnicodeEncodeError):
            raise
        unexpected = NoDirector(
            f"the response of {options.asked.target.url} is not what this command expects ({_reason(error)})",
            "is it the address of a director? `band version` shows whether it is of another version than this command",
            "response_unexpected",
        )
        options.output().error(unexpected)
        return unexpected.exit_code
    except SystemExit:  # `band events | head`: the reader left, for which click and Rich exit with 1
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    return code or 0


def _reason(error: Exception) -> str:
    """Return an exception in words, and where it was raised."""
    at = error.__traceback__
    while at and at.tb_next:
        at = at.tb_next
    place = f", {Path(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno}" if at else ""
    return f"{type(error).__name__}: {str(error)[:200]}{place}"
