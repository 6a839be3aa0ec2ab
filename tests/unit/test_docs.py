"""The documents do what they say: their code is run."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import griffe
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
WRITE = re.compile(r"^# write (\S+)\n")
APPEND = re.compile(r"^# append (\S+)\n")
MADE = re.compile(r"^# (\S+) \(as made\)\n")
site = importlib.util.module_from_spec(
    _found := importlib.util.spec_from_file_location("site_pages", ROOT / "docs" / "tools" / "site.py")
)
_found.loader.exec_module(site)


@pytest.mark.timeout(300)  # it starts several processes, beside whatever else runs
def test_write_a_service_in_ten_minutes(tmp_path: Path) -> None:
    """Following docs/write-a-service.md word by word leads to a service whose tests pass."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, command in (("band", f'"{sys.executable}" -m band_cli "$@"'), ("python", f'"{sys.executable}" "$@"')):
        (tools / name).write_text(f"#!/bin/sh\nexec {command}\n")
        (tools / name).chmod(0o755)
    env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "PYTEST_ADDOPTS": "-p no:cacheprovider"}
    here = tmp_path
    ran = []
    for language, text in BLOCK.findall((ROOT / "docs" / "write-a-service.md").read_text(encoding="utf-8")):
        if target := WRITE.match(text):
            (here / target.group(1)).write_text(text[target.end() :], encoding="utf-8")
        if more := APPEND.match(text):
            file = here / more.group(1)
            file.write_text(f"{file.read_text(encoding='utf-8')}\n\n{text[more.end() :]}", encoding="utf-8")
        if made := MADE.match(text):
            assert (here / made.group(1)).read_text(encoding="utf-8") == text[made.end() :]
        if language != "bash":
            continue
        done = subprocess.run(
            ["bash", "-ec", f"{text}\npwd"], cwd=here, env=env, capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        here = Path(done.stdout.splitlines()[-1])
        ran.append(done.stdout)
    assert "2 passed" in ran[0]
    assert "1 passed" in ran[-2]
    assert "3 passed" in ran[-1]


def test_the_pictures_of_the_terminal_are_todays() -> None:
    """docs/tools/terminal.py makes the pictures that are there."""
    command = [sys.executable, "docs/tools/terminal.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_guides_service_is_the_one_that_type_checkers_see() -> None:
    """bin/test lint has mypy and pyright look at docs/examples/visits.py, which the guide writes block by block."""
    page = (ROOT / "docs" / "write-a-service.md").read_text(encoding="utf-8")
    blocks = [text for _, text in BLOCK.findall(page)]
    written = next(text for text in blocks if text.startswith("# write visits/handlers.py\n")).split("\n", 1)[1]
    more = [text.split("\n", 1)[1] for text in blocks if text.startswith("# append visits/handlers.py\n")]
    assert "\n\n".join([written, *more]) == (ROOT / "docs" / "examples" / "visits.py").read_text(encoding="utf-8")


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    titles = [re.sub(r"\[(.*?)\]\(.*?\)", r"\1", title) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_of_the_documents_lead_somewhere() -> None:
    """Each link to a file of the repository names one that is there, and a heading that is in it."""
    tops = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
    for page in [*tops, *sorted((ROOT / "docs").rglob("*.md"))]:
        for link in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf-8")):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), f"{page.name} links to {link}"
            assert not anchor or anchor in anchors_of(target), f"{page.name} links to {link}"


def test_readme_lists_every_page() -> None:
    """No page is found by chance only: the end of README has a link to each."""
    more = (ROOT / "README.md").read_text(encoding="utf-8").split("## More")[1]
    listed = re.findall(r"\]\(docs/([^)#]+)\)", more)
    pages = [path.name for path in (ROOT / "docs").glob("*.md")]
    assert sorted(listed) == sorted([*pages, "decisions/index.md", "families/index.md"])
    for folder in (ROOT / "docs" / "decisions", ROOT / "docs" / "families"):
        index = (folder / "index.md").read_text(encoding="utf-8")
        linked = re.findall(r"^(?:\||- ).*?\]\(([\w-]+\.md)\)", index, re.MULTILINE)
        assert sorted([*linked, "index.md"]) == sorted(path.name for path in folder.glob("*.md"))


def test_the_api_reference_has_every_public_name() -> None:
    """Names of band and band.testing have a heading; those of band.platform a line and a place in their own page."""
    import band
    from band import platform, testing

    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    titles = {word for line in re.findall(r"^## (.+)$", text, re.MULTILINE) for word in line.split(", ")}
    assert {*band.__all__, *(f"testing.{name}" for name in testing.__all__)} - titles == set()
    assert [name for name in platform.__all__ if f"`{name}`" not in text] == []
    page = site.platform_page()
    assert [name for name in platform.__all__ if f"::: band.platform.{name}\n" not in page] == []
    errors = [name for name in band.__all__ if name.endswith("Error")]
    assert [name for name in errors if f"        - {name}\n" not in text] == []


def public_objects() -> dict[str, Any]:
    """Return what the reference describes: path → object, the methods that the pages show among them."""
    band = griffe.load("band", search_paths=[ROOT / "service_src" / "band" / "src"])
    assert isinstance(band, griffe.Module)
    pages = (ROOT / "docs" / "api.md").read_text(encoding="utf-8") + site.platform_page()
    found: dict[str, Any] = {}
    for path, options in re.findall(r"^::: band\.(\S+)\n((?: {4}.*\n)*)", pages, re.MULTILINE):
        one = band[path]
        found[one.canonical_path] = one
        listed = re.findall(r"members: \[(.*)\]|^ +- (\w+)$", options, re.MULTILINE)
        names = [name for inline, line in listed for name in (inline.split(", ") if inline else [line])]
        shown = one.members if one.is_class and "members:" not in options else {name: one[name] for name in names}
        found |= {
            member.canonical_path: member
            for name, member in shown.items()
            if name in names or (not name.startswith("_") and (member.is_function or member.has_docstring))
        }
    return found


def test_the_api_reference_is_complete() -> None:
    """Each object says what it is; each parameter has a type; each error that a function raises itself is named."""
    objects = public_objects()
    assert len(objects) > 150
    assert [path for path, one in objects.items() if not one.has_docstring] == []
    functions = {path: one for path, one in objects.items() if one.is_function}
    untyped = [
        f"{path}({parameter.name})"
        for path, one in functions.items()
        for parameter in one.parameters
        if parameter.annotation is None and parameter.name not in {"self", "cls"}
    ]
    assert untyped == []
    assert [path for path, one in functions.items() if one.returns is None] == []
    unnamed = [
        f"{path} raises {name}"
        for path, one in functions.items()
        for name in re.findall(r"^ +raise (\w+)\(", one.source, re.MULTILINE)
        if name not in one.docstring.value and not re.search(rf"except .*\b{name}\b", one.source)
    ]
    assert unnamed == []


def test_the_site_has_every_page_in_its_navigation() -> None:
    """Whoever reads the site finds what README links."""
    listed = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    generated = {"service-settings.md", "platform-api.md", "glossary.md"}
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert sorted(listed) == sorted(pages | generated)


def test_no_link_names_a_home_that_does_not_exist() -> None:
    """The repository has no public address yet: galaxy.yml and the documents name none."""
    pages = [ROOT / "galaxy.yml", ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        assert "github.com/rockstat" not in page.read_text(encoding="utf-8"), page.name


def test_the_directors_page_lists_its_endpoints() -> None:
    """docs/director.md has one row for each endpoint, with its parameters."""
    import msgspec

    from director.api.handlers import ENDPOINTS

    text = (ROOT / "docs" / "director.md").read_text(encoding="utf-8")
    rows = {row.split("`")[1]: row for row in re.findall(r"^\| `/.*$", text, re.MULTILINE)}
    assert set(rows) == {endpoint.path for endpoint in ENDPOINTS}
    for endpoint in ENDPOINTS:
        for field in msgspec.structs.fields(endpoint.params):
            assert f"{{{field.encode_name}}}" in endpoint.path or f"`{field.encode_name}`" in rows[endpoint.path]


documented = importlib.util.module_from_spec(
    spec := importlib.util.spec_from_file_location("documented", Path(__file__).with_name("documented.py"))
)
spec.loader.exec_module(documented)
# What a command of somebody else's tools is about is not ours to check; that these tools are the only ones is.
OTHER_TOOLS = {"curl", "http", "cp", "docker", "systemctl", "ansible-galaxy", "ansible-playbook", "head", "tar"}
OUR_TOOLS = documented.OUR_TOOLS
COMMANDS = sorted({(page, command) for page in documented.PAGES for command in documented.commands_of(page)})


def known_settings() -> set[str]:
    """Return the names of all variables that roles know."""
    import yaml

    specs = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in ROOT.glob("roles/*/meta/argument_specs.yml")]
    return {name for spec in specs for entry in spec["argument_specs"].values() for name in entry.get("options") or {}}


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_command_of_the_documents_has_a_target(page: str, command: str) -> None:
    """A script, a playbook, a variable, a path of the director that a page speaks of is there."""
    words = shlex.split(command)
    tool = words[0].rsplit("/", 1)[-1]
    if words[0] == "rockstat-band/bin/setup":  # as the bundle unpacks it
        words[0] = "bin/setup"
    if OUR_TOOLS.match(words[0]) and not words[0].startswith(".venv"):
        assert os.access(ROOT / words[0], os.X_OK), f"{page}: {words[0]}"
    elif not words[0].startswith(".venv"):
        assert tool in OTHER_TOOLS, f"{page}: {tool} is a tool that no test knows"
    for word in words[1:]:
        if word.startswith("playbooks/") or (word.startswith("docs/tools/") and word.endswith(".py")):
            assert (ROOT / word).is_file(), f"{page}: {word}"
        if word.startswith("rockstat.band."):
            assert (ROOT / "playbooks" / f"{word.rsplit('.', 1)[-1]}.yml").is_file(), f"{page}: {word}"
    for name in re.findall(r"\bband_[a-z0-9_]+(?==|\":)", command):
        assert name in known_settings(), f"{page}: {name}"
    for path in re.findall(r"127\.0\.0\.1:10000(/[a-z_]*)", command):
        from director.api.handlers import ENDPOINTS

        assert any(endpoint.path.startswith(path) for endpoint in ENDPOINTS) or path == "/", f"{page}: {path}"


def test_every_command_of_the_documents_is_run_by_a_test() -> None:
    """molecule's `default` types what is not run elsewhere, and each other test that is named is there."""
    assert len(documented.typed()) > 30
    for _page, command in COMMANDS:
        if path := documented.elsewhere(command):
            assert (ROOT / path).is_file(), f"{command}: {path}"
        else:
            tool = shlex.split(command)[0].rsplit("/", 1)[-1]
            assert tool in {"ansible-playbook", "setup", "curl", "http", "docker", "systemctl"}, command
    for pattern in documented.ELSEWHERE:
        assert any(re.match(pattern, command) for _page, command in COMMANDS), f"no document says {pattern} any more"


def test_the_options_of_our_scripts_are_those_of_their_help() -> None:
    """What pages pass to bin/setup and bin/test is either in their help or an option of Ansible's."""
    helps = {
        name: subprocess.run([ROOT / "bin" / name, "--help"], capture_output=True, text=True, check=True).stdout
        for name in ("setup", "test")
    }
    ansible = {"-i", "-K", "-e", "--check", "--diff", "--ask-vault-pass"}
    for page, command in COMMANDS:
        words = shlex.split(command)
        if words[0] in ("bin/setup", "bin/test"):
            for word in words[1:]:
                if word.startswith("-") and word not in ansible:
                    assert word in helps[words[0][4:]], f"{page}: {command}"


def test_every_playbook_can_be_read_and_the_operators_page_names_it() -> None:
    """Each verb passes Ansible's syntax check and has its place in docs/operate.md."""
    playbooks = sorted((ROOT / "playbooks").glob("*.yml"))
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "--syntax-check", *map(str, playbooks)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=55, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
    for path in playbooks:
        assert f"{path.stem}.yml" in text, path.name


def test_prune_gives_the_command_of_fronts_page() -> None:
    """What it leaves in the stream holds trimming back: the way to remove it is the same in both places."""
    told = yaml.safe_load((ROOT / "roles/operate/vars/main.yml").read_text(encoding="utf-8"))["_band_operate_forget"]
    told = re.sub(r"\{\{.*?\}\}", "redis", told)
    assert told in (ROOT / "docs/front.md").read_text(encoding="utf-8").splitlines()


def test_errors_of_the_troubleshooting_page_are_those_of_the_code() -> None:
    """Each quoted text of its first table is printed somewhere."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^\| `([^`]+)` \|", page.split("## Running")[0], re.MULTILINE)
    sources = [*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("plugins/*/*.py")]
    code = " ".join(" ".join(re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8")).split()) for path in sources)
    assert len(quoted) > 8
    for text in quoted:
        assert text in code, text
