"""Services as they were written for the original's base image, from their own folders, on a real Docker Engine."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from director_host import Director, containers, docker

# The first of them builds what they stand on, out of Debian's mirror and the package index.
pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

NAMESPACE = "t-dir-orig"
PORTS = "8750-8779"
DOCKERFILE = """\
ARG BASE_CONTAINER=rockstat/band-base-py:3.7
FROM $BASE_CONTAINER
LABEL band.service.version="0.3.1" band.service.title="Of 2018" band.service.def_position="4x0"
ENV HOST=0.0.0.0 PORT=8080
WORKDIR /usr/src/services
RUN for tool in wget curl nano make; do $tool --version | head -1 >> /tools.txt; done \\
 && printf 'int main(void) { return 0; }' > /tmp/a.c && gcc -o /tmp/a /tmp/a.c && g++ -o /tmp/b /tmp/a.c
ADD requirements.txt .
RUN pip install -r requirements.txt
ADD . .
RUN python -m zipfile -c /tmp/data.zip config.yaml && unzip -t /tmp/data.zip && git init --quiet /tmp/repo
CMD ["python", "-m", "of2018"]
"""
REQUIREMENTS = """\
# aiohttp, structlog, ujson: in band deps
aiohttp==3.4.4
humanize==0.5.1
"""
START = """\
from band import settings, start_server
from {name} import main
start_server(**settings)
"""
MAIN = """\
# in band deps: nearly all of these
import os
import arrow
import async_timeout
import inflection
import requests
import simplech
import ujson
import xxhash
import aiocache, aioconsole, aiofiles, base58, colorama, coloredlogs, cryptography
import jsonrpcserver, pydantic, pythonjsonlogger
from async_lru import alru_cache
from band import expose, settings, logger, response


class Visit(pydantic.BaseModel):
    page: str = '/'


@alru_cache(maxsize=10)
async def remembered(value):
    return xxhash.xxh64(value).intdigest()


@expose.handler()
async def what(value='x', **params):
    async with async_timeout.timeout(1):
        return {
            'hash': str(await remembered(value)), 'json': ujson.dumps({'a': '/'}), 'year': arrow.get(1546300800).year,
            'seconds': arrow.get('2019-01-01').timestamp, 'name': inflection.camelize('store_debug'),
            'requests': requests.__version__.split('.')[0], 'visit': Visit(page='/a').dict(),
            'files': sorted(os.listdir('.')), 'setting': settings.some, 'env': os.environ.get('A_DEV_TOKEN'),
        }
"""


@pytest.fixture(scope="module")
def director(running: Director) -> Director:
    return running


def write(director: Director, name: str) -> None:
    """Write the folder of a service as its author kept it: no band.yml, local secrets and data beside it."""
    folder = director.images / name
    (folder / name).mkdir(parents=True)
    (folder / "data").mkdir()
    files = {
        "Dockerfile": DOCKERFILE.replace("of2018", name),
        "requirements.txt": REQUIREMENTS,
        "config.yaml": f"name: {name}\nsome: {{{{ SOME|default('thing') }}}}\n",
        ".dockerignore": "# local\n.env*\ndata/*\n!data/keep.txt\n",
        ".env": "A_DEV_TOKEN=1\n",
        "data/local.db": "x",
        "data/keep.txt": "x",
        f"{name}/__init__.py": "",
        f"{name}/__main__.py": START.format(name=name),
        f"{name}/main.py": MAIN,
    }
    for path, text in files.items():
        (folder / path).write_text(text)


def below(director: Director) -> list[str]:
    """Return the tags of the image that such services stand on."""
    return docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"{NAMESPACE}/base_original").split()


def test_services_of_the_original_find_what_its_base_image_brought(director: Director) -> None:
    """Modules that nobody listed, tools of the Dockerfile, pins of 2018, `.dockerignore`, a place that begins with 0.

    Two at once build what they stand on once, and the log shows it while it goes on.
    """
    for name in ("of2018", "of2019"):
        write(director, name)
    assert below(director) == []
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(director.ok, f"/run/{name}") for name in ("of2018", "of2019")]
        assert [run.result()["state"] for run in runs] == ["running", "running"]
    assert len(below(director)) == 1
    assert director.log.read_text().count(f"image={below(director)[0]}") == 2, "begun once, done once"
    told = director.ok("/call/of2018/what?value=x")
    assert told == {
        "hash": "6665539201184043299", "json": '{"a":"\\/"}', "year": 2019, "seconds": 1546300800, "name": "StoreDebug",
        "requests": "2", "visit": {"page": "/a"}, "setting": "thing", "env": None,
        "files": [".dockerignore", "Dockerfile", "config.yaml", "data", "of2018", "requirements.txt"],
    }  # fmt: skip
    assert docker("exec", f"{NAMESPACE}-of2018", "ls", "data") == "keep.txt"
    assert "nano" in docker("exec", f"{NAMESPACE}-of2018", "cat", "/tools.txt")
    assert director.ok("/show/of2018")["pos"] == "4x0"
    assert containers(NAMESPACE, "base_original") == [""]


def test_nothing_of_it_is_built_again_and_nothing_is_thrown_away(director: Director) -> None:
    """The tag holds what it is made of; it is no service, and stays for the next one."""
    before = below(director)
    assert director.ok("/run/of2018?dry_run=1")["would"] == "nothing"
    director.ok("/run/of2018")
    director.ok("/prune?apply=1")
    assert below(director) == before
    assert director.ask("/run/base_original")[0] == 409
    row = next(row for row in director.ok("/list_images") if row["name"] == "base_original")
    assert (row["runnable"], [image["tag"] for image in row["images"]]) == (False, before)


def test_what_cannot_be_built_below_is_told(director: Director) -> None:
    """With the last lines, and what to do on a host without a network; the service that ran goes on."""
    folder = director.images / "base_original"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM {band-base-py-image}\nRUN echo no mirror here && false\n")
    status, body = director.ask("/run/of2019")
    assert (status, body["error"]["code"]) == (502, "build_failed")
    assert "the base image of services without a band.yml" in body["error"]["message"]
    assert any("no mirror here" in line for line in body["error"]["log"])
    assert "bundle" in body["error"]["hint"]
    assert json.dumps(director.ok("/call/of2019/what")).startswith("{")
    (folder / "Dockerfile").unlink()
    folder.rmdir()
    assert director.ok("/run/of2019?dry_run=1")["would"] == "nothing"
