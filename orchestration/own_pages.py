"""What may ask a page that knows no sign-in: the page itself, a person, a program (docs/cases.md, S29
and S30).

Dagster takes a mutation in a GET, or in a POST of any kind: an image or a form on any website that a person
visits could start a close. So each request must be for a name of the page, and come from no other website.
"""

from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# What a page is always called, for it listens here.
NAMES = ("127.0.0.1", "localhost")
# What a form cannot send, and a script of another website not without asking first.
_JSON = ("application/json", "application/graphql")


class OwnPagesOnly:
    """An ASGI application that hands on what this page, a person or a program asks, and nothing else.

    ``names`` are the hosts that the page is called by besides `NAMES`, without a port. What is refused gets
    403 and a sentence.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str] = ()) -> None:
        self._app = app
        self._names = {*NAMES, *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_unframed(message: Message) -> None:
            """Nor may another website show the page within its own, for a person to click on unawares."""
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Frame-Options"] = "SAMEORIGIN"
            await send(message)

        refused = scope["type"] in ("http", "websocket") and why_refused(HTTPConnection(scope), self._names)
        if refused:
            await PlainTextResponse(f"{refused}\n", status_code=403)(scope, receive, send)
        else:
            await self._app(scope, receive, send_unframed)


def why_refused(request: HTTPConnection, names: Collection[str]) -> str | None:
    """A sentence that says why a request is not handed on; None where it is."""
    headers, method = request.headers, request.scope.get("method", "GET")
    host = headers.get("host", "")
    if _host_name(host) not in names:
        # A website's own name that leads to this machine would make of its pages pages of this one.
        return f"This page is not called {host!r}; who starts it says by --name what else it is called."
    if headers.get("origin", f"//{host}").partition("//")[2] != host:
        return "A page of another website sent this, which is refused."
    site = headers.get("sec-fetch-site", "none")
    is_followed_link = method == "GET" and headers.get("sec-fetch-dest") == "document"
    if site not in ("same-origin", "none") and not is_followed_link:
        return "A page of another website asks for this, which is refused."
    if method == "GET" and request.scope["type"] == "http" and request.scope["path"].endswith("/graphql"):
        # To a browser that is to show it, Dagster sends its editor, and does nothing.
        return None if "text/html" in headers.get("accept", "") else "Ask /graphql by a POST of JSON."
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if method not in ("GET", "HEAD") and kind not in _JSON:
        return f"What is sent here is JSON, with a Content-Type that says so, and not {kind!r}."
    return None


def _host_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
