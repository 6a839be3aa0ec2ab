"""Add the generated pages to the site: packages, settings of each service, the names of band.platform, the glossary."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
SETTING = re.compile(
    r"\{\{ (?P<jinja>\w+)\|default\((?P<jinja_default>.*?)\) *(?:\|tojson *)?\}\}"
    r"|<%= .*?\benv\.(?P<ejs>\w+) \|\| '(?P<ejs_default>.*?)'.*?%>"
)
"""A variable with its default, as services in Python and in TypeScript write it."""
OF_EVERY_SERVICE = {"NAME", "HOST", "PORT", "REDIS_DSN"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Append a page for each distribution to the navigation's section Architecture."""
    section = next(entry["Architecture"] for entry in config.nav or [] if "Architecture" in entry)
    section.append({"Packages": [{name: f"packages/{name}.md"} for name in distributions()]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages themselves."""
    pages = {f"packages/{name}.md": packages_page(name) for name in distributions()}
    pages |= {
        "service-settings.md": settings_page(), "platform-api.md": platform_page(), "glossary.md": glossary_page(),
    }  # fmt: skip
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_content(html: str, **_: object) -> str:
    """Drop the roles of Sphinx (``:class:``), which docstrings have and Markdown does not know."""
    return re.sub(r":(?:class|func|meth|mod|data|attr):(?=<code>)", "", html)


def distributions() -> list[str]:
    """Return the names of the Python distributions, the framework first."""
    names = sorted(path.parent.name for path in ROOT.glob("service_src/*/pyproject.toml"))
    return sorted(names, key=lambda name: name != "band")


# --- packages


def packages_page(distribution: str) -> str:
    """Return the page of a distribution: each package with its docstring and a table of its modules."""
    top = ROOT / "service_src" / distribution / "src" / distribution
    folders = sorted(path.parent for path in top.rglob("__init__.py") if "templates" not in path.parts)
    return f"# Packages of {distribution}\n\n" + "\n".join(package_section(folder, top.parent) for folder in folders)


def package_section(folder: Path, root: Path) -> str:
    """Return the section of one package."""
    name = ".".join(folder.relative_to(root).parts)
    modules = [path for path in sorted(folder.glob("*.py")) if path.stem not in ("__init__", "__main__")]
    rows = [f"| `{path.stem}` | {summary(path).replace('|', chr(92) + '|')} |" for path in modules]
    table = ["| module | purpose |", "|---|---|", *rows, ""] if rows else []
    return "\n".join([f"## {name}", "", docstring(folder / "__init__.py"), "", *table])


def docstring(path: Path) -> str:
    """Return a module's docstring as Markdown."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    text = re.sub(r":(?:class|func|meth|mod|data|attr):(?=`)", "", text.replace("``", "`"))
    return re.sub(r"::$", ":", text, flags=re.MULTILINE)


def summary(path: Path) -> str:
    """Return the first paragraph of a module's docstring as one line."""
    return " ".join(docstring(path).partition("\n\n")[0].split())


# --- settings


def settings_page() -> str:
    """Return the settings of all services, from the templates that read them."""
    images = sorted((ROOT / "band_images").glob("*/config.y*ml"))
    sections = [section for path in images if (section := settings_section(path))]
    head = "# Service settings\n\nSet them in `env` of `band_services`, or of `/run`. Generated from `band_images/*/config.yaml` (`config.yml`) and, for the director, `docs/director.env.sample`.\n\n"
    sample = (ROOT / "docs" / "director.env.sample").read_text(encoding="utf-8")
    return head + "\n".join(sections) + f"\n## director\n\n```ini\n{sample}```\n"


def settings_section(path: Path) -> str:
    """Return one service's table; nothing for a service without settings."""
    rows: list[str] = []
    comment: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            comment.append(line.lstrip("# "))
        elif not line.strip():
            comment = []
        elif (found := SETTING.search(line)) and (name := found["jinja"] or found["ejs"]) not in OF_EVERY_SERVICE:
            said = line[found.end() :].partition("# ")[2] or " ".join(comment)
            default = (found["jinja_default"] or found["ejs_default"] or "").strip("'")
            rows.append(f"| `{name}` | {f'`{default}`' if default else ''} | {cell(said)} |")
            comment = []
    table = ["| variable | default | meaning |", "|---|---|---|", *rows, ""]
    return "\n".join([f"## {path.parent.name}", "", *table]) if rows else ""


def cell(text: str) -> str:
    """Return text that may stand in a table, with pages of the documentation as links."""
    return re.sub(r"docs/([\w-]+\.md)", r"[\1](\1)", text.replace("|", "\\|").replace("<", "&lt;"))


# --- band.platform


def platform_page() -> str:
    """Return the reference of band.platform: a directive for each public name."""
    path = ROOT / "service_src" / "band" / "src" / "band" / "platform.py"
    body = ast.parse(path.read_text(encoding="utf-8")).body
    assigned = [node.value for node in body if isinstance(node, ast.Assign) and ast.unparse(node.targets) == "__all__"]
    names = sorted(ast.literal_eval(assigned[0]), key=str.lower)
    directives = [f"::: band.platform.{name}\n    options:\n      heading_level: 2\n" for name in names]
    return "\n".join(["# band.platform", "", docstring(path), "", *directives])


# --- glossary


def glossary_page() -> str:
    """Return README's glossary."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Glossary\n")[2].partition("\n## ")[0]
    return f"# Glossary\n{section}"
