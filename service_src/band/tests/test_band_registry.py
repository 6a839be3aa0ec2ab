"""What expose, worker, cleanup and health record, and how it is announced (wire protocol, section 3)."""

from __future__ import annotations

import pytest

import band
from band import json_codec
from band.errors import RegistrationError
from band.service.lifecycle import Service


def test_announced_rows_are_those_of_the_protocol():
    """Only functions with a role are listed, with only those options that were given."""
    service = Service()
    expose = service.expose

    @expose.enricher(keys=["in.gen.track"], props={"ua": "td.ua"})
    def enrich(ua=None):
        return ua

    @expose.handler(alias="track", timeout=500)
    def page():
        return 1

    @expose.handler(name="*")
    def anything():
        return 1

    @expose.listener()
    def broadcast(**event):
        return event

    @expose()
    def private():
        return 1

    @expose.handler(name="__own")
    def own():
        return 1

    assert json_codec.encode(service.registry.rows()) == (
        b'[{"method":"enrich","role":"enricher","options":{"keys":["in.gen.track"],"props":{"ua":"td.ua"}}},'
        b'{"method":"page","role":"handler","options":{"alias":"track","timeout":500}},'
        b'{"method":"*","role":"handler","options":{}},'
        b'{"method":"broadcast","role":"listener","options":{}}]'
    )
    assert (enrich("x"), page(), private()) == ("x", 1, 1)


@pytest.mark.parametrize("keys", [None, []])
def test_enricher_without_keys_is_refused(keys):
    """An enricher that wants nothing is a mistake, told as the ValueError that the original raised."""
    with pytest.raises(ValueError, match="keys") as caught:
        Service().expose.enricher(keys=keys)
    assert isinstance(caught.value, RegistrationError)


@pytest.mark.parametrize("role", ["enricher", "listener"])
def test_keys_that_are_one_string_are_refused(role):
    """As a list of letters they would fit no event, and a listener would acknowledge all of them unseen."""
    with pytest.raises(RegistrationError, match=r'keys=\["in\.gen\.track"\]'):
        getattr(Service().expose, role)(keys="in.gen.track")


def test_answers_that_may_be_kept_say_so():
    """The row names the props, the seconds and the version of the data, read each time; none while there is none."""
    service = Service()
    version = ["dbip 2026-11-01"]

    @service.expose.enricher(keys=["*"], props={"ip": "td.ip"}, cache=300, cache_version=lambda: version[0])
    def enrich(ip):
        return ip

    def told():
        return service.registry.rows()[0]["options"].get("cache")

    assert told() == {"props": ["ip"], "ttl": 300, "version": "dbip 2026-11-01"}
    version[0] = "dbip 2026-12-01"
    assert told()["version"] == "dbip 2026-12-01"
    version[0] = ""
    assert told() is None


@pytest.mark.parametrize("wrong", [{"cache": 0, "props": {"ip": "td.ip"}}, {"cache": 300}])
def test_answers_kept_for_nothing_are_refused(wrong):
    """Without props every event would get the first answer; not above 0 seconds means not at all."""
    with pytest.raises(RegistrationError, match="props"):
        Service().expose.enricher(keys=["*"], **wrong)


def test_only_functions_can_be_exposed():
    """`expose()(None)` is told at once, not at the first call."""
    with pytest.raises(RegistrationError, match="not a function"):
        Service().expose()(None)  # type: ignore[type-var]


def test_worker_and_cleanup_with_and_without_parentheses():
    """Both forms record the function and return it unchanged."""
    service = Service()

    @service.worker
    async def one():
        return 1

    @service.worker()
    async def two():
        return 2

    @service.cleanup()
    def three():
        return 3

    assert service.registry.workers == [one, two]
    assert service.registry.cleanups == [three]


def test_health_is_recorded_under_its_own_or_the_functions_name():
    """@health, @health() and @health("name")."""
    service = Service()
    service.health(lambda: None)
    service.health()(lambda: None)

    @service.health("database")
    def check():
        return None

    assert [check.name for check in service.registry.health_checks] == ["<lambda>", "<lambda>", "database"]
    assert check() is None


def test_public_names_are_sorted_complete_and_there():
    """Every name of `__all__` can be imported; the list is in order."""
    assert band.__all__ == sorted(band.__all__)
    missing = [name for name in band.__all__ if name not in ("loop", "settings") and getattr(band, name, None) is None]
    assert missing == []
    with pytest.raises(AttributeError, match="nonsense"):
        _ = band.nonsense


def test_a_path_without_http_is_a_contradiction():
    """`http=False` has no path; every decorator knows it."""
    service = Service()
    expose = service.expose
    for decorate in (expose, expose.handler, expose.listener):
        with pytest.raises(RegistrationError, match="http=False has no path"):
            decorate(path="/x", http=False)
    for decorate in (expose, expose.handler, expose.listener):
        decorate(name=f"f{decorate!r}", http=False)(lambda: None)
    expose.enricher(keys=["in"], http=False)(lambda **event: None)
    assert {exposed.path for exposed in service.registry.methods.values()} == {""}
