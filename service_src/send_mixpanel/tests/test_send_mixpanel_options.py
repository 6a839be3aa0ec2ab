"""Settings: credentials in all their forms, and errors that say what to write without showing a secret."""

import base64
from datetime import date
from typing import Any

import pytest

from band.errors import SettingsError
from send_mixpanel.condition import dead_letter_facts, sender_health
from send_mixpanel.options import Options, Project, read_options
from send_mixpanel.project_sender import ProjectSender
from send_mixpanel.verdict import Meaning

CANARY = "c4n4ry-53cr3t"


def signed_in(options: Options, project: str = "default") -> str:
    found = options.default if project == "default" else options.projects[project]
    return base64.b64decode((found.auth.reveal() if found.auth else "").removeprefix("Basic ")).decode()


def test_send_mixpanel_token_is_the_user_name() -> None:
    """A project token signs in as the user name with an empty password, and wins over an API secret."""
    options = read_options({"mixpanel_token": "tok", "mixpanel_api_secret": "sec"})
    assert signed_in(options) == "tok:"
    assert options.default.url == "https://api.mixpanel.com"


def test_send_mixpanel_service_account() -> None:
    """A service account signs in with name and secret, and needs the project's id."""
    values = {"mixpanel_service_account": "robot", "mixpanel_service_secret": CANARY}
    with pytest.raises(SettingsError, match="MIXPANEL_PROJECT_ID") as caught:
        read_options(values)
    assert CANARY not in str(caught.value)
    options = read_options({**values, "mixpanel_project_id": 17, "mixpanel_region": "EU"})
    assert signed_in(options) == f"robot:{CANARY}"
    assert (options.default.project_id, options.default.url) == ("17", "https://api-eu.mixpanel.com")


def test_send_mixpanel_api_secret_works_and_warns() -> None:
    """The API secret alone still signs in; health is well and names the day on which it ends."""
    options = read_options({"mixpanel_api_secret": "sec"})
    assert signed_in(options) == "sec:"
    health = sender_health(ProjectSender(options.default, None, options))  # type: ignore[arg-type]
    assert health["status"] == "ok"
    assert "3 March 2027" in health["warning"]


def test_send_mixpanel_says_that_the_api_secret_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the day the warning changes its tense, and a refusal is told with the cure."""
    monkeypatch.setattr("send_mixpanel.condition.SECRET_RETIRED", date(2020, 3, 3))
    sender = ProjectSender(read_options({"mixpanel_api_secret": "sec"}).default, None, Options(Project("x", "")))  # type: ignore[arg-type]
    assert "has not worked since 3 March 2020; set MIXPANEL_TOKEN" in sender_health(sender)["warning"]
    sender.state.trouble, sender.state.trouble_status = Meaning.CREDENTIALS, 401
    assert "set MIXPANEL_TOKEN" in sender_health(sender)["hint"]


@pytest.mark.parametrize(("count", "status"), [(0, "ok"), (79, "ok"), (80, "degraded"), (100, "degraded")])
def test_send_mixpanel_dead_letters_are_alarmed_before_the_oldest_go(count: int, status: str) -> None:
    """At 80 % of DEAD_LETTERS_MAX health is degraded and says what to do; a worse trouble keeps its own words."""
    facts = {"status": "ok"} | dead_letter_facts({"status": "ok"}, count, 100)
    assert (facts["status"], facts["dead_letters"]) == (status, count)
    assert ("hint" in facts) == (status == "degraded")
    worse = {"status": "failing", "reason": "x"}
    assert (worse | dead_letter_facts(worse, 90, 100))["reason"] == "x"


def test_send_mixpanel_without_credentials_says_what_to_set() -> None:
    """No credentials is not an error of the settings: health fails with a hint, events wait."""
    options = read_options({"mixpanel_token": ""})
    health = sender_health(ProjectSender(options.default, None, options))  # type: ignore[arg-type]
    assert health["status"] == "failing"
    assert "MIXPANEL_TOKEN" in health["hint"]


def test_send_mixpanel_several_projects() -> None:
    """The table of projects takes tokens or objects, as JSON text or as YAML; region and address are inherited."""
    table = '{"17": "tok17", "18": {"token": "tok18", "region": "in"}}'
    options = read_options({"mixpanel_region": "eu", "mixpanel_projects": table})
    assert signed_in(options, "17") == "tok17:"
    assert options.projects["17"].url == "https://api-eu.mixpanel.com"
    assert options.projects["18"].url == "https://api-in.mixpanel.com"
    assert options.default.auth is None


@pytest.mark.parametrize(
    "values",
    [
        {"mixpanel_region": "mars"},
        {"mixpanel_url": "api.mixpanel.com"},
        {"mixpanel_url": f"https://robot:{CANARY}@proxy.example"},
        {"mixpanel_url": f"https://{CANARY}@proxy.example/x"},
        {"mixpanel_url": f"https://robot:{CANARY}@[proxy"},
        {"mixpanel_url": "https://"},
        {"mixpanel_projects": {"17": {"token": "t", "url": f"https://:{CANARY}@proxy.example"}}},
        {"mixpanel_projects": "{" + CANARY},
        {"mixpanel_projects": [1]},
        {"mixpanel_projects": {"17": 3}},
        {"mixpanel_projects": {"default": CANARY}},
        {"mixpanel_projects": {"17": {"tokn": CANARY}}},
        {"mixpanel_projects": {"17": {CANARY: "token"}}},
        {"batch_events": 2001},
        {"linger": "soon"},
    ],
)
def test_send_mixpanel_refuses_what_cannot_work(values: dict[str, Any]) -> None:
    """A setting that cannot work is refused at start; the text never holds a secret."""
    with pytest.raises(SettingsError) as caught:
        read_options(values)
    assert CANARY not in str(caught.value)


def test_send_mixpanel_withholds_events_of_those_who_object() -> None:
    """By default; sending them must be asked for, and nothing but the two words is understood."""
    assert read_options({"mixpanel_token": "t"}).withhold_objected
    assert not read_options({"mixpanel_token": "t", "mixpanel_objected": "send"}).withhold_objected
    with pytest.raises(SettingsError, match="MIXPANEL_OBJECTED"):
        read_options({"mixpanel_token": "t", "mixpanel_objected": "yes"})


def test_send_mixpanel_options_show_no_secret() -> None:
    """No repr of the options shows a credential, packed or plain."""
    options = read_options({"mixpanel_token": CANARY, "mixpanel_projects": {"17": CANARY}})
    packed = base64.b64encode(f"{CANARY}:".encode()).decode()
    assert CANARY not in repr(options)
    assert packed not in repr(options)
