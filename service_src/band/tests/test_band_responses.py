"""Typed responses: their form on the wire, and what a caller gets of them (wire protocol, section 5)."""

from __future__ import annotations

import pytest

from band import json_codec
from band.lib.response import BaseBandResponse
from band.responses import ErrorResponse, from_wire, response


@pytest.mark.parametrize(
    ("made", "wire"),
    [
        (response.data({"a": 1}, statusCode=201), b'{"type__":"data","statusCode":201,"data":{"a":1}}'),
        (response.data({}), b'{"type__":"data","statusCode":200,"data":{}}'),
        (response.data("abc"), b'{"type__":"data","statusCode":200,"data":"abc"}'),
        (response.data([1, None]), b'{"type__":"data","statusCode":200,"data":[1,null]}'),
        (response.data(0), b'{"type__":"data","statusCode":200,"data":0}'),
        (response.error("not here", statusCode=404),
         b'{"type__":"error","statusCode":404,"errorMessage":"not here","data":{}}'),
        (response.error(), b'{"type__":"error","statusCode":500,"errorMessage":"","data":{}}'),
        (response.error("x", 400, {"f": 1}), b'{"type__":"error","statusCode":400,"errorMessage":"x","data":{"f":1}}'),
        (response.redirect("https://example.com/x?y=1", statusCode=301),
         b'{"type__":"redirect","location":"https://example.com/x?y=1","statusCode":301,"data":{}}'),
        (response.redirect("/x"), b'{"type__":"redirect","location":"/x","statusCode":302,"data":{}}'),
        (response.pixel(), b'{"type__":"pixel","data":{}}'),
        (response.pixel({"mydata": "123"}), b'{"type__":"pixel","data":{"mydata":"123"}}'),
        (response("called"), b'{"type__":"data","statusCode":200,"data":"called"}'),
    ],
    ids=range(13),
)  # fmt: skip
def test_wire_form(made, wire):
    """Keys and their order are the original's; data may be any JSON value."""
    assert json_codec.encode(made.to_wire()) == wire
    assert isinstance(made, BaseBandResponse)


def test_response_is_a_mapping_of_its_data():
    """A response is a dict of its data whose keys are attributes; a missing one is None, its type is no key."""
    made = response.data({"mydata": "123"})
    assert (made["mydata"], made.mydata, made.other, made.type__) == ("123", "123", None, "data")
    assert "type__" not in made
    assert made == {"mydata": "123"}
    assert response.data([1]).data == [1]


def test_caller_gets_typed_data_unwrapped_and_the_rest_as_objects():
    """data → its value; error, redirect and pixel → response objects; everything else as it is."""
    assert from_wire({"type__": "data", "statusCode": 200, "data": {"a": 1}}) == {"a": 1}
    assert from_wire({"type__": "data", "data": "text"}) == "text"
    error = from_wire({"type__": "error", "statusCode": 404, "errorMessage": "not here", "data": {"x": 1}})
    assert isinstance(error, ErrorResponse)
    assert (error.is_error(), error.error_message, error.status_code, error["x"]) == (True, "not here", 404, 1)
    redirect = from_wire({"type__": "redirect", "location": "/x", "statusCode": 301, "data": {}})
    assert (redirect.location, redirect.status_code, redirect.is_error()) == ("/x", 301, False)
    assert from_wire({"type__": "pixel", "data": {}}).type__ == "pixel"
    for plain in (None, 0, "", [1], {"a": 1}, {"type__": "future", "x": 1}):
        assert from_wire(plain) == plain


@pytest.mark.parametrize(
    "made", [response.error("e", 404, {"a": 1}), response.redirect("/l", 307), response.pixel({"p": 1})]
)
def test_a_response_survives_the_road(made):
    """What comes out at the caller goes over the wire again unchanged."""
    assert from_wire(made.to_wire()).to_wire() == made.to_wire()


def test_error_without_a_status_stays_without():
    """front answers an error without statusCode with 200: it must not get one on the way."""
    wire = {"type__": "error", "errorMessage": "x", "data": {}}
    assert from_wire(wire).to_wire() == wire
