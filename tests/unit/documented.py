#!/usr/bin/env python3
"""The commands of the operator's documents: which there are, where each is run, what molecule's `default` types.

As a script, on the machine that runs molecule: documented.py HOST INVENTORY types them against a host that is set up.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", *(f"docs/{name}.md" for name in (
    "put-it-on-your-site", "install", "operate", "backup", "offline", "tls", "uninstall", "troubleshooting",
))]  # fmt: skip
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
OUR_TOOLS = re.compile(r"(?:\.venv(?:-dev)?/bin/|docs/tools/|bin/|\./)")
INLINE = re.compile(
    r"`((?:curl|http|systemctl stop|docker start|cp|ansible-playbook) [^`\n]+"
    r"|(?:\.venv(?:-dev)?/)?bin/[^`\n]+ [^`\n]+)`"
)

# What is not typed on the host of `default`, with the test that runs it (or a like of it).
ELSEWHERE = {
    r"bin/test\b|\.venv-dev/bin/(mkdocs|pytest|pre-commit)\b": ".ci/run",
    r"bin/setup( -i inventory/mine.yml)?$|.*playbooks/setup.yml$": "molecule/default/tasks/typed.yml",
    r"bin/setup -e band_redis_password=": "tests/integration/test_redis_password_docker.py",
    r"bin/setup --demo": "tests/unit/test_settings.py",
    r"bin/setup -i inventory/mine.yml --ask-vault-pass": "molecule/ssh/molecule.yml",
    r".*ansible-vault create": "tests/unit/test_settings.py",
    r"cp inventory/sample.yml": "tests/unit/test_settings.py",
    r"ansible-galaxy|.*ansible-playbook rockstat\.band\.": "tests/unit/test_collection.py",
    r".*docs/tools/variables.py": "tests/unit/test_collection.py",
    r".*docs/tools/terminal.py": "tests/unit/test_docs.py",
    r"docker run -d --name=band": "tests/integration/test_plain_docker_run.py",
    r"(curl|http) .*(send_mixpanel|mixpanel_double)": "molecule/alternative/molecule.yml",
    r".*playbooks/uninstall.yml -e": "molecule/uninstall/side_effect.yml",
    r".*playbooks/restore.yml": "molecule/backup_restore/side_effect.yml",
    r"head --bytes=-32": "molecule/backup_restore/tasks/refusals.yml",
    r".*playbooks/bundle.yml": "molecule/offline/prepare.yml",
    r".*band_offline_bundle=": "molecule/offline/molecule.yml",
    r"tar --extract --file rockstat-bundle.tar|rockstat-band/bin/setup": "molecule/offline/side_effect.yml",
    r"ansible-playbook setup.yml --tags proxy": "molecule/ssh/molecule.yml",
}  # fmt: skip
# What stands for something of the reader's.
PLACES = {
    "call/NAME/METHOD?key=value": "call/mmgeo/get?ip=77.88.8.8",
    "NAME": "uaparser",
    "band_rollback_service=front": "band_rollback_service=uaparser",
    '{"KEY": "value"}': '{"LOG_LEVEL": "DEBUG"}',
    " -e @vault.yml": "",
    " -i inventory/mine.yml": "",
}
REFUSES = {"playbooks/uninstall.yml": "Nothing was removed"}
LAST = ("systemctl stop", "docker stop")


def commands_of(page: str) -> list[str]:
    """Return every command of a page: lines of its shell blocks, and code in running text that begins with a tool."""
    text = (ROOT / page).read_text(encoding="utf-8")
    lines = []
    for language, block in BLOCK.findall(text):
        joined = block.replace("\\\n", " ").splitlines()
        if language == "bash":
            lines += joined
        elif language == "console":
            lines += [line[2:] for line in joined if line.startswith("$ ")]
    lines += INLINE.findall(BLOCK.sub("", text))
    plain = [re.split(r"\s\s+#", line)[0].strip() for line in lines]
    return [" ".join(line.split()) for line in plain if line and not line.startswith("#")]


def elsewhere(command: str) -> str:
    """Return the test that runs a command, or nothing for one that is typed on the host."""
    return next((path for pattern, path in ELSEWHERE.items() if re.match(pattern, command)), "")


def typed(inventory: str = "INVENTORY") -> list[str]:
    """Return what is typed, each once, in the documents' order; what stops the platform comes at the end."""
    found: dict[str, None] = {}
    for page in PAGES:
        for command in commands_of(page):
            if elsewhere(command):
                continue
            for word, place in PLACES.items():
                command = command.replace(word, place)
            command = re.sub(
                r"^(\.venv/bin/)?ansible-playbook (?=\S+\.yml)", f"ansible-playbook -i {inventory} ", command
            )
            command = re.sub(r"^bin/setup", f"ansible-playbook -i {inventory} setup.yml", command)
            found[command] = None
    return sorted(found, key=lambda command: command.startswith(LAST))


def blocks_for_the_host() -> dict[str, str]:
    """Return the files that README says to lay on a host, by path."""
    blocks = [text for _language, text in BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))]
    pattern = re.compile(r"# (/srv/rockstat/images/user/\S+)\n")
    return {found.group(1): text[found.end() :] for text in blocks if (found := pattern.match(text))}


class Host:
    """A host in a container, on whose loopback the platform listens."""

    def __init__(self, name: str, inventory: str, home: str) -> None:
        self._name = name
        self._inventory = inventory
        inspected = subprocess.run(["docker", "inspect", name], capture_output=True, text=True, check=True)
        pid = json.loads(inspected.stdout)[0]["State"]["Pid"]
        self._inside = [*(["sudo"] if os.geteuid() else []), "nsenter", f"--net=/proc/{pid}/ns/net", "--"]
        (Path(home) / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\nmax-time = 300\n")
        options = ["--ignore-stdin", "--check-status"]
        (Path(home) / "config.json").write_text(json.dumps({"default_options": options}))
        quiet = {"CURL_HOME": home, "HTTPIE_CONFIG_DIR": home, "NO_PROXY": "*", "no_proxy": "*"}
        self._env = {**os.environ, **quiet}

    def lay(self, path: str, text: str) -> None:
        """Write a file on the host."""
        script = f"mkdir -p {shlex.quote(str(Path(path).parent))}; cat > {shlex.quote(path)}"
        subprocess.run(["docker", "exec", "-i", self._name, "sh", "-c", script], input=text, text=True, check=True)

    def type(self, command: str) -> tuple[str, str]:
        """Run a command as it stands; what is wrong, and its output."""
        inside = self._inside
        if command.startswith("ansible-playbook"):
            inside = []
        elif command.startswith(("docker", "systemctl")):
            inside = ["docker", "exec", self._name]
        done = subprocess.run(
            [*inside, "bash", "-o", "pipefail", "-c", command],
            cwd=ROOT, env=self._env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        said = done.stdout + done.stderr
        refusal = next((text for playbook, text in REFUSES.items() if playbook in command), "")
        if refusal and "--check" not in command:
            return ("" if done.returncode and refusal in said else f"was to be refused with: {refusal}"), said
        return (f"exit code {done.returncode}" if done.returncode else ""), said

    def another_release(self) -> None:
        """Give uaparser a release to go back from."""
        body = json.dumps({"env": {"TYPED": str(time.time())}})
        address = "http://127.0.0.1:10000/run/uaparser"
        self.type(f"curl -X POST -H 'Content-Type: application/json' -d '{body}' {address}")


def main(name: str, inventory: str) -> int:
    """Type everything, say how long each took; the number of those that did not work."""
    wrong = 0
    with tempfile.TemporaryDirectory() as home:
        host = Host(name, inventory, home)
        for path, text in blocks_for_the_host().items():
            host.lay(path, text)
        for command in typed(inventory):
            if "rollback" in command:
                host.another_release()
            begun = time.monotonic()
            problem, said = host.type(command)
            print(f"{time.monotonic() - begun:6.1f} s  {command}", flush=True)
            if "rollback" in command:
                # What was rolled back would come again with the next /run; other settings, and setup.yml ends it.
                host.another_release()
            if problem:
                wrong += 1
                print(f"    {problem}\n    " + "\n    ".join(said.splitlines()[-30:]), flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
