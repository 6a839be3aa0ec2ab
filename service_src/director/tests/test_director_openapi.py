"""The OpenAPI document against a director that runs: whatever is sent, the answer is one that the document knows."""

from __future__ import annotations

from typing import Any

import openapi_schema_validator
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from director.api.handlers import ENDPOINTS
from director.api.routes import document

contract = schemathesis.openapi.from_dict(document(ENDPOINTS))
# 422 is said of a right type with an impossible value; the gateway's three are documented answers, a 500 never is.
contract.config.checks.positive_data_acceptance.expected_statuses = ["2xx", "404", "409", "422", "5xx"]
contract.config.checks.not_a_server_error.expected_statuses = ["2xx", "3xx", "4xx", "502", "503", "504"]


@contract.parametrize()
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_whatever_is_sent_the_answer_is_one_that_the_document_knows(case: Any, director: Any) -> None:
    """Good, odd and broken requests of every operation: a documented status and body, and never a 500."""
    case.call_and_validate(base_url=director.url)


@contract.include(path_regex="name").parametrize()
@settings(
    max_examples=3, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
def test_what_is_said_of_services_that_there_are_is_as_documented(case: Any, director: Any) -> None:
    """The same for a service that runs, so that the answers are not all 404."""
    case.path_parameters["name"] = "svc000"
    if "method" in case.path_parameters:
        case.path_parameters["method"] = "echo"
    case.call_and_validate(base_url=director.url)


def test_the_document_is_valid_and_every_answer_has_a_shape() -> None:
    """Each shape is a JSON Schema, and no endpoint's answer is left undescribed."""
    found = document(ENDPOINTS)
    for shape in found["components"]["schemas"].values():
        openapi_schema_validator.OAS31Validator.check_schema(shape)
    assert all(endpoint.answer is not None for endpoint in ENDPOINTS)


@pytest.mark.parametrize("verb", ["GET", "POST"])
def test_the_answers_of_what_runs_fit_their_shapes(director: Any, verb: str) -> None:
    """A run, a restart, a list, a health: the answers of success, against the document's own schemas."""
    director.image("shape", 'pos: "7x7"\n')
    found = document(ENDPOINTS)
    for path, template in (
        ("/run/shape", "/run/{name}"), ("/run/shape?dry_run=1", "/run/{name}"), ("/restart/shape", "/restart/{name}"),
        ("/stop/shape", "/stop/{name}"), ("/start/shape", "/start/{name}"), ("/show/shape", "/show/{name}"),
        ("/list", "/list"), ("/state", "/state"), ("/state?name=shape", "/state"), ("/list_images", "/list_images"),
        ("/releases/shape", "/releases/{name}"), ("/health", "/health"), ("/prune", "/prune"),
        ("/rebuild_all", "/rebuild_all"), ("/registrations", "/registrations"), ("/events", "/events"),
        ("/set_pos/shape?pos=8x8", "/set_pos/{name}"), ("/rm/shape", "/rm/{name}"),
    ):  # fmt: skip
        status, body = director.get(path) if verb == "GET" else director.post(path, {})
        assert status == 200, (path, body)
        schema = found["paths"][template][verb.lower()]["responses"]["200"]["content"]["application/json"]["schema"]
        whole = {**schema, "components": found["components"]}
        openapi_schema_validator.OAS31Validator(whole).validate(body)
