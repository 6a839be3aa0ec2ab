"""Answers: the table of the wire protocol's section 5, native and WebSocket forms, redirects, headers."""

from typing import Any

import pytest

from front.http1.response_head import allowed_origin, head
from front.intake.pages import server_url
from front.pipeline import replies
from front.pipeline.builtin_handlers import BuiltInHandlers, default_answer
from front.pipeline.redirects import Redirects


def rendered(result: Any, *, native: bool = False) -> replies.HttpReply:
    return replies.render(replies.from_handler(result), native=native)


@pytest.mark.parametrize(
    ("result", "status", "body", "content_type"),
    [
        ({"a": 1}, 200, b'{"a":1}', "application/json"),
        ([1, 2], 200, b"[1,2]", "application/json"),
        ([], 200, b"[]", "application/json"),
        ("text", 200, b"text", "application/json"),
        (5, 200, b"5", "application/json"),
        (None, 200, b"{}", "application/json"),
        (0, 200, b"{}", "application/json"),
        (False, 200, b"{}", "application/json"),
        ("", 200, b"{}", "application/json"),
        ({"type__": "data", "statusCode": 201, "data": {"a": 1}}, 201, b'{"a":1}', "application/json"),
        ({"type__": "data", "data": "raw"}, 200, b"raw", "application/json"),
        ({"type__": "data", "statusCode": 204, "data": {}}, 204, b"", "application/json"),
        ({"type__": "data", "statusCode": "x", "data": 1}, 200, b"1", "application/json"),
        ({"type__": "data", "statusCode": 99, "data": 1}, 200, b"1", "application/json"),
        ({"type__": "error", "statusCode": 404, "errorMessage": "not here", "data": {}}, 404, b'{"message":"not here"}', "application/json"),  # noqa: E501
        ({"type__": "error", "errorMessage": "e"}, 200, b'{"message":"e"}', "application/json"),
        ({"type__": "redirect", "location": "https://example.com/x?y=1", "statusCode": 301, "data": {}}, 301, b"", "text/html"),  # noqa: E501
        ({"type__": "pixel", "data": {}}, 200, replies.PIXEL_GIF, "image/gif"),
        ({"type__": "odd"}, 200, b"", "application/json"),
    ],
)  # fmt: skip
def test_a_handlers_result_becomes_http(result: Any, status: int, body: bytes, content_type: str) -> None:
    """Every row of the table."""
    answer = rendered(result)
    assert (answer.status, answer.body, answer.content_type) == (status, body, content_type)


def test_the_pixel_has_43_bytes() -> None:
    """A valid transparent GIF."""
    assert len(replies.PIXEL_GIF) == 43
    assert replies.PIXEL_GIF.startswith(b"GIF89a")


def test_headers_of_a_handler_are_taken_when_they_are_headers() -> None:
    """Pairs of valid text; what would split or frame the answer is left out."""
    result = {
        "type__": "data",
        "data": {},
        "headers": [
            ["X-A", "1"],
            ["Bad\r\n", "x"],
            ["X-B", "a\r\nb"],
            ["Content-Length", "9"],
            ["one"],
            5,
            ["X-C", "é"],
        ],
    }
    assert rendered(result).headers == [("X-A", "1")]
    assert rendered({"type__": "data", "headers": "x"}).headers == []


def test_a_location_is_always_a_valid_header() -> None:
    """Line breaks and other alphabets are percent-encoded, existing escapes stay."""
    headers = rendered({"type__": "redirect", "location": "https://e.com/a%20b?q=ж\r\nX: y"}).headers
    assert headers == [("Location", "https://e.com/a%20b?q=%D0%B6%0D%0AX:%20y")]


@pytest.mark.parametrize(
    ("answer", "form"),
    [
        (replies.pixel(), '{"type__":"pixel","statusCode":200,"type":"pixel","native__":true}'),
        (replies.data({"id": "7"}), '{"type__":"data","statusCode":200,"data":{"id":"7"},"native__":true}'),
        (
            replies.from_handler({"type__": "error", "statusCode": 404, "errorMessage": "not here", "data": {}}),
            '{"type__":"error","statusCode":404,"errorMessage":"not here","data":{},"native__":true}',
        ),
        (
            replies.error("Not Found", 404),
            '{"type__":"error","statusCode":404,"errorMessage":"Not Found","native__":true}',
        ),
        (replies.redirect("/x"), '{"type__":"redirect","statusCode":302,"location":"/x","native__":true}'),
    ],
)
def test_the_native_form_is_the_typed_response(answer: replies.Reply, form: str) -> None:
    """The captured bytes; the status stays, no content type, no Location."""
    native = replies.render(answer, native=True)
    assert native.body == form.encode()
    assert native.status == answer.status
    assert native.content_type is None
    assert native.headers == []


def test_websocket_forms_are_the_captured_ones() -> None:
    """Typed responses with `headers`, and the client's `id__` at the end."""
    typed = {"type__": "error", "statusCode": 404, "errorMessage": "not here", "data": {}}
    for answer, request_id, form in [
        (
            replies.data({"message": "pong"}),
            "_1",
            '{"type__":"data","headers":[],"statusCode":200,"data":{"message":"pong"},"id__":"_1"}',
        ),
        (
            replies.from_handler(typed),
            "_5",
            '{"type__":"error","statusCode":404,"errorMessage":"not here","data":{},"headers":[],"id__":"_5"}',
        ),
        (
            replies.error("Bad Request", 400),
            None,
            '{"type__":"error","headers":[],"statusCode":400,"errorMessage":"Bad Request"}',
        ),
    ]:
        assert replies.ws_form(answer, request_id) == form.encode()


def built_in(handler: str, name: str = "x", data: dict[str, Any] | None = None, channel: str = "http") -> Any:
    event = {"channel": channel, "name": name, "data": data or {}, "id": "77"}
    own = BuiltInHandlers(Redirects(("ok.example", "*.wide.example"), ".shop.example", "secret"))
    return own.answer(handler, event, ("t.shop.example", ""))


def test_built_in_handlers_answer() -> None:
    """track by its channel, pixel, hello; the default answer names the known prefix."""
    assert built_in("track").data == {"id": "77"}
    assert built_in("track", channel="pixel").kind == "pixel"
    assert built_in("track", "ping", channel="ws").data == {"message": "pong"}
    assert built_in("track", "hello", channel="ws").data == {"message": "hi"}
    assert built_in("track", "ping").data == {"id": "77"}
    assert built_in("pixel").kind == "pixel"
    assert built_in("hello", "ping").data == {"message": "pong"}
    assert built_in("hello", "other").status == 404
    assert default_answer("in.gen", {"id": "7"}).data == {"key": "in.gen", "id": "7"}


@pytest.mark.parametrize(
    "target",
    [
        "/next?a=b", "https://t.shop.example/x", "https://other.shop.example/", "https://shop.example/", "http://ok.example:8080/",
        "https://a.wide.example/", "https://wide.example/", "https://OK.example/", "https://ok.example/ж",
    ],
)  # fmt: skip
def test_redirects_go_to_our_own_site_and_allowed_hosts(target: str) -> None:
    """The request's own host, the cookie's domain, and what REDIRECT_HOSTS lists."""
    answer = built_in("redir", data={"to": target})
    assert (answer.kind, answer.status, answer.location) == ("redirect", 302, target)


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/", "//evil.example/", "https://ok.example@evil.example/", "https:/evil.example",
        "https:evil.example", "javascript:alert(1)", "data:text/html,x", "https://ok.example\\@evil.example/",
        "\\\\evil.example",        "/\\evil.example", "https://ok.example/\r\nX: y", " https://ok.example", "https://evilok.example/",
        "https://ok.example.evil.example/", "https://[bad/", "ftp://ok.example/", "evil.example", "https://:80/",
    ],
)  # fmt: skip
def test_other_redirects_are_refused_with_a_clear_message(target: str) -> None:
    """No spelling of a foreign target gets through, and nobody hangs."""
    answer = built_in("redir", data={"to": target})
    assert (answer.kind, answer.status) == ("error", 400)
    assert answer.message


def test_a_missing_target_has_the_originals_message() -> None:
    """Nothing, null, a list: the parameter is required."""
    for data in ({}, {"to": ""}, {"to": None}, {"to": ["a"]}):
        answer = built_in("redir", data=data)
        assert (answer.status, answer.message) == (400, 'Parameter "to" is required')


def test_a_signed_target_is_allowed() -> None:
    """The signature belongs to one target and one key; without a key none is valid."""
    target = "https://partner.example/x"
    signature = Redirects(key="secret").sign(target)
    assert built_in("redir", data={"to": target, "sig": signature}).kind == "redirect"
    assert built_in("redir", data={"to": target + "y", "sig": signature}).status == 400
    assert built_in("redir", data={"to": target, "sig": "é"}).status == 400
    assert Redirects().refusal(target, (), Redirects().sign(target))
    assert not Redirects(("*",)).refusal(target, ())


@pytest.mark.parametrize(
    ("origin", "referer", "allowed"),
    [
        ("https://a.example", "https://b.example/x", "https://a.example"), (None, "https://b.example:8080/x?y", "https://b.example:8080"),
        (None, None, "*"), (None, "junk", "*"), ("https://é", None, "*"), (None, "https://user:pass@b.example/", "https://b.example"),
        (None, "http://[bad", "*"), ("null", None, "null"),
    ],
)  # fmt: skip
def test_the_allowed_origin_is_the_callers(origin: str | None, referer: str | None, allowed: str) -> None:
    """Origin, else the Referer's scheme and host, else all; never text that is no header."""
    assert allowed_origin(origin, referer) == allowed


def test_a_head_has_every_header_once() -> None:
    """Status line, the constant headers, the moving ones, an empty line."""
    text = head(200, 2, "application/json", "*", "uid=1", 3, keep_alive=True, extra=[("X-A", "b")]).decode()
    lines = text.split("\r\n")
    assert lines[0] == "HTTP/1.1 200 OK"
    assert lines[-2:] == ["", ""]
    headers = dict(line.split(": ", 1) for line in lines[1:-2])
    assert len(headers) == len(lines) - 3
    assert headers.pop("Date").endswith("GMT")
    assert headers == {
        "X-Frame-Options": "SAMEORIGIN", "X-XSS-Protection": "1", "Pragma": "no-cache",
        "Cache-Control": "no-cache, no-store, must-revalidate", "Expires": "Mon, 01 Jan 1990 21:00:12 GMT",
        "Last-Modified": "Sun, 17 May 1998 03:44:30 GMT", "Access-Control-Allow-Credentials": "true",
        "Access-Control-Expose-Headers": "Content-Length,Content-Type,Retry-After", "Access-Control-Allow-Origin": "*",
        "X-Response-Time": "3", "Set-Cookie": "uid=1", "Content-Type": "application/json", "X-A": "b",
        "Content-Length": "2", "Connection": "keep-alive",
    }  # fmt: skip
    assert b"Content-Type: text/x\r\n" in head(
        299, 0, "a/b", "*", "", 0, keep_alive=False, extra=[("Content-Type", "text/x")]
    )


@pytest.mark.parametrize(
    ("host", "scheme", "url"),
    [
        ("t.example.com", None, "https://t.example.com"),
        ("t.example.com", "http", "http://t.example.com"),
        ("t.example.com:10001", None, "http://t.example.com:10001"),
        ("t.example.com:8443, proxy", "https", "https://t.example.com:8443"),
        ("t.example.com", "gopher", "https://t.example.com"),
        ("127.0.0.1:10001", None, "http://127.0.0.1:10001"),
        ("[::1]:10001", None, "http://[::1]:10001"),
        ("localhost", None, "http://localhost"),
        ("user@t.example.com", None, ""),
        ("", "https", ""),
    ],
)
def test_a_server_is_called_as_its_reader_calls_it(host: str, scheme: str | None, url: str) -> None:
    """https for a public name, http for a port, an address or a local name, unless a proxy knows better."""
    assert server_url(host, scheme) == url
