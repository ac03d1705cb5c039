"""Dagster's page takes orders from its own pages, from people and from programs (docs/cases.md, S29
and S30)."""

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from orchestration.own_pages import OwnPagesOnly
from tests.conftest import PROJECT_ROOT
from tests.test_alerts import free_port

LAUNCH = (
    'mutation { launchRun(executionParams: {selector: {repositoryLocationName: "orchestration.definitions",'
    ' repositoryName: "__repository__", jobName: "close_months"}, runConfigData: {}}) { __typename } }'
)
HOST = {"host": "127.0.0.1:3000"}
OWN = {**HOST, "origin": "http://127.0.0.1:3000", "sec-fetch-site": "same-origin"}
FOREIGN = {**HOST, "origin": "http://evil.example", "sec-fetch-site": "cross-site"}
JSON = {"content-type": "application/json; charset=utf-8"}
SHOWN = {"accept": "text/html,*/*", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


def asked(kind: str, method: str, path: str, headers: Mapping[str, str], *names: str) -> list[dict]:
    """What is sent to a browser that asks; ``handed on`` where the request reaches Dagster's application."""
    sent = []

    async def dagster(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        sent.append("handed on")

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(message):
        sent.append(message)

    scope = {
        "type": kind,
        "path": path,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "extensions": {"websocket.http.response": {}},
        **({"method": method} if kind == "http" else {}),
    }
    asyncio.run(OwnPagesOnly(dagster, names)(scope, receive, send))
    return sent


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/", {**HOST, **SHOWN}),
        ("GET", "/jobs", {**HOST, **SHOWN, "sec-fetch-site": "cross-site"}),  # a link in a mail
        ("GET", "/graphql", {**HOST, **SHOWN}),
        ("GET", "/_next/static/a.js", {**HOST, "sec-fetch-site": "same-origin", "accept": "*/*"}),
        ("GET", "/", {"host": "LOCALHOST:3000"}),
        ("POST", "/graphql", {**OWN, **JSON}),
        ("POST", "/graphql", {**HOST, **JSON}),  # a program
        ("POST", "/graphql", {"host": "points.example", "origin": "https://points.example", **JSON}),
    ],
)
def test_what_the_page_a_person_and_a_program_ask_is_handed_on(method, path, headers):
    sent = asked("http", method, path, headers, "Points.example")
    assert sent[-1] == "handed on"
    assert (b"x-frame-options", b"SAMEORIGIN") in sent[0]["headers"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "reason"),
    [
        (
            "GET",
            "/graphql",
            {**HOST, "accept": "image/*,*/*", "sec-fetch-site": "cross-site"},
            "another website",
        ),
        ("GET", "/graphql", {**HOST, "accept": "*/*"}, "by a POST of JSON"),  # a browser that says no more
        ("POST", "/graphql", {**FOREIGN, "content-type": "text/plain"}, "another website"),
        ("POST", "/graphql", {**FOREIGN, **JSON}, "another website"),
        ("POST", "/graphql", {**HOST, "origin": "null", **JSON}, "another website"),
        ("POST", "/graphql", {**OWN, **JSON, "origin": "http://127.0.0.1:8000"}, "another website"),
        ("POST", "/graphql", {**HOST, "content-type": "text/plain; a=application/json"}, "is JSON"),
        ("POST", "/report_asset_materialization/a", HOST, "is JSON"),
        ("GET", "/", {**HOST, "sec-fetch-site": "cross-site", "sec-fetch-dest": "iframe"}, "another website"),
        (
            "POST",
            "/graphql",
            {"host": "evil.example:3000", "origin": "http://evil.example:3000", **JSON},
            "called",
        ),
        ("GET", "/", {"host": "127.0.0.1.evil.example"}, "not called"),
        ("GET", "/", {"host": "[::1"}, "not called"),
        ("GET", "/", {}, "not called"),
    ],
)
def test_what_another_website_sends_is_refused(method, path, headers, reason):
    """docs/cases.md, S29; with a name that it has made to lead here, S30."""
    start, body = asked("http", method, path, headers)
    assert start["status"] == 403
    assert reason in body["body"].decode()


def test_what_goes_on_is_shown_to_no_other_website():
    """docs/cases.md, S29 and S30: a websocket is answered to any page that opens it, unless it is refused."""
    assert asked("websocket", "", "/graphql", OWN)[-1] == "handed on"
    assert asked("websocket", "", "/graphql", HOST)[-1] == "handed on"
    for headers in (FOREIGN, {**OWN, "host": "evil.example:3000"}):
        start, _ = asked("websocket", "", "/graphql", headers)
        assert (start["type"], start["status"]) == ("websocket.http.response.start", 403)


def test_make_starts_the_page_behind_its_check_and_no_other():
    """docs/cases.md, S29; what `make dev` starts makes private files (S27)."""
    said = subprocess.run(["make", "-n", "dev"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    assert "python -m orchestration.dagster_page" in said.stdout
    assert not re.search(r"dagster dev|dagster-webserver", said.stdout)
    assert re.search(r"umask 077; export DAGSTER_HOME=\S+dagster", said.stdout)


@contextmanager
def page(folder: Path, *arguments: str) -> Iterator[str]:
    """Dagster's page over a home without a ledger, as it is started; its address."""
    port = free_port()
    (folder / "dagster").mkdir()
    shutil.copy(PROJECT_ROOT / "orchestration/dagster.yaml", folder / "dagster")
    settings = {"POINTS_HOME": str(folder / "home"), "DAGSTER_HOME": str(folder / "dagster")}
    started = subprocess.Popen(
        [sys.executable, "-m", "orchestration.dagster_page", "--port", str(port), *arguments],
        env={**os.environ, **settings},
        cwd=PROJECT_ROOT,
        umask=0,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while True:
            try:
                requests.get(f"{address}/server_info", timeout=60).raise_for_status()
                break
            except requests.ConnectionError:
                assert started.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
        yield address
    finally:
        started.send_signal(signal.SIGINT)
        started.wait(60)


def runs(address: str) -> int:
    query = "{ runsOrError { ... on Runs { results { id } } } }"
    answer = requests.post(f"{address}/graphql", json={"query": query}, timeout=60)
    return len(answer.json()["data"]["runsOrError"]["results"])


@pytest.mark.slow
def test_no_other_website_starts_a_close_and_the_page_does(tmp_path):
    """docs/cases.md, S29 and S30; and what the page makes is private (S27)."""
    with page(tmp_path) as address:
        asks = f"{address}/graphql"
        for refused in (
            requests.get(asks, params={"query": LAUNCH}, headers={"Accept": "image/*"}, timeout=60),
            requests.post(
                asks, params={"query": LAUNCH}, headers={"Origin": "http://evil.example"}, timeout=60
            ),
            requests.post(asks, json={"query": LAUNCH}, headers={"Host": "evil.example"}, timeout=60),
        ):
            assert refused.status_code == 403
        assert runs(address) == 0
        taken = requests.post(asks, json={"query": LAUNCH}, headers={"Origin": address}, timeout=60)
        assert taken.json() == {"data": {"launchRun": {"__typename": "LaunchRunSuccess"}}}
        assert runs(address) == 1
        assert "text/html" in requests.get(address, timeout=60).headers["Content-Type"]
    assert not any(path.stat().st_mode & 0o077 for path in (tmp_path / "dagster" / "storage").rglob("*"))


@pytest.mark.slow
def test_lookers_start_nothing(tmp_path):
    with page(tmp_path, "--read-only") as address:
        taken = requests.post(f"{address}/graphql", json={"query": LAUNCH}, timeout=60)
        assert taken.json()["data"]["launchRun"]["__typename"] == "UnauthorizedError"
        assert runs(address) == 0


@pytest.mark.slow
def test_a_page_that_cannot_listen_says_why(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = str(listening.getsockname()[1])
        said = subprocess.run(
            [sys.executable, "-m", "orchestration.dagster_page", "--port", port],
            env={**os.environ, "DAGSTER_HOME": str(tmp_path)},
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
        )
    assert (said.returncode, said.stderr.count("\n")) == (1, 1)
    assert (
        f"nothing can listen on 127.0.0.1, port {port} (Address already in use); end what does" in said.stderr
    )
