"""Alerts: really sent, to a local receiver of webhooks and a local mail server, and never lost."""

import email.policy
import hashlib
import hmac
import json
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import pytest

from ledger.append import appending
from ledger.settings import SettingInvalid, Settings
from orchestration import delivery, sensors
from orchestration.alerts import (
    Alert,
    AlertNotDelivered,
    configured_ways,
    mail_server,
    send_by_email,
    send_by_webhook,
)
from orchestration.definitions import define
from orchestration.month_delivery import deliver_due
from tests.closed_programme import CLOSED
from tests.conftest import LedgerHome, answer, ledger_transfer
from tests.test_dagster import make_settings

SECRET = "T0123-open-sesame"
ALERT = Alert(
    event="run_failed",
    sentence="dbt did not pass test truth_1.",
    at=datetime(2026, 10, 3, 6, 0, 12, tzinfo=UTC),
    job="close_months",
    run_id="a10bce33",
)


@dataclass
class WebhookReceiver:
    """What was posted; ``answers`` are the statuses of the next posts, 200 when they are used up."""

    url: str = ""
    posts: list[dict] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    signatures: list[str | None] = field(default_factory=list)


@pytest.fixture
def webhook() -> Iterator[WebhookReceiver]:
    received = WebhookReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"] == "application/json"
            status = received.answers.pop(0) if received.answers else 200
            if status == 200:
                received.posts.append(json.loads(body))
                received.bodies.append(body)
                received.signatures.append(self.headers["X-Points-Signature"])
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()

        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        received.url = f"http://127.0.0.1:{port}/services/{SECRET}"
        yield received


@dataclass
class MailServer:
    """A mail server that takes one mail after the other; ``refused`` are addresses that it does not know."""

    port: int = 0
    mails: list[tuple[str, list[str], EmailMessage]] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    certificate: Path | None = None
    sign_ins: list[str] = field(default_factory=list)
    was_encrypted: bool = False


class MailSession(socketserver.StreamRequestHandler):
    """As much of SMTP (RFC 5321) as a sender needs, with STARTTLS where there is a certificate."""

    def handle(self) -> None:
        received: MailServer = self.server.received
        sender, recipients = "", []
        self.say("220 ready")
        while line := self.rfile.readline().decode("ascii").strip():
            command, _, argument = line.partition(" ")
            address = argument.partition("<")[2].partition(">")[0]
            command = command.upper()
            if command == "EHLO":
                able = ["localhost", "AUTH PLAIN", *(["STARTTLS"] if received.certificate else [])]
                for name in able:
                    self.say(f"250-{name}")
                self.say("250 8BITMIME")
            elif command == "STARTTLS":
                self.say("220 go ahead")
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(received.certificate)
                secured = context.wrap_socket(self.connection, server_side=True)
                self.rfile, self.wfile = secured.makefile("rb"), secured.makefile("wb", buffering=0)
                received.was_encrypted = True
            elif command == "AUTH":
                received.sign_ins.append(argument)
                self.say("235 welcome")
            elif command == "MAIL":
                sender = address
                self.say("250 ok")
            elif command == "RCPT" and address in received.refused:
                self.say("550 nobody of that name")
            elif command == "RCPT":
                recipients.append(address)
                self.say("250 ok")
            elif command == "DATA":
                self.say("354 go on")
                data = b""
                while not data.endswith(b"\r\n.\r\n"):
                    data += self.rfile.readline()
                mail = BytesParser(policy=email.policy.default).parsebytes(data[:-3])
                received.mails.append((sender, recipients, mail))
                self.say("250 taken")
            else:
                self.say("221 bye" if command == "QUIT" else "250 ok")
                if command == "QUIT":
                    return

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode("ascii"))


@pytest.fixture
def mail() -> Iterator[MailServer]:
    received = MailServer()
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), MailSession)
    server.received = received
    with serving(server) as port:
        received.port = port
        yield received


@contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[int]:
    """Serve in a thread of its own; the port."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def free_port() -> int:
    """A port without a listener."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def by_webhook(home: Path, url: str) -> Settings:
    return make_settings(home, POINTS_ALERT_WEBHOOK_URL=url, POINTS_PROGRAMME_NAME="Miles & Moor")


def by_email(home: Path, port: int, **environment: str) -> Settings:
    return make_settings(
        home,
        POINTS_PROGRAMME_NAME="Müller\N{EN DASH}Prämien",
        POINTS_ALERT_EMAIL_TO="ada@points.example, bob@points.example",
        POINTS_ALERT_SMTP_PORT=str(port),
        **environment,
    )


SIGNED_IN = {
    "POINTS_ALERT_SMTP_SECURITY": "starttls",
    "POINTS_ALERT_SMTP_USER": "ada",
    "POINTS_ALERT_SMTP_PASSWORD": SECRET,
}


# By webhook.


def test_a_webhook_gets_each_fact_by_name_and_the_whole_as_text(tmp_path, webhook):
    send_by_webhook(by_webhook(tmp_path, webhook.url), ALERT)
    assert webhook.posts == [
        {
            "text": "Miles & Moor: close_months failed. dbt did not pass test truth_1.",
            "programme": "Miles & Moor",
            "event": "run_failed",
            "sentence": "dbt did not pass test truth_1.",
            "job": "close_months",
            "run_id": "a10bce33",
            "at": "2026-10-03T06:00:12Z",
        }
    ]


def test_what_is_posted_is_signed_where_there_is_a_secret(tmp_path, webhook):
    """docs/cases.md, S35: the signature is of the very bytes that were posted."""
    send_by_webhook(by_webhook(tmp_path, webhook.url), ALERT)
    settings = make_settings(
        tmp_path, POINTS_ALERT_WEBHOOK_URL=webhook.url, POINTS_ALERT_WEBHOOK_SECRET=f"{SECRET}-ü"
    )
    send_by_webhook(settings, ALERT)
    digest = hmac.new(f"{SECRET}-ü".encode(), webhook.bodies[1], hashlib.sha256).hexdigest()
    assert webhook.signatures == [None, f"sha256={digest}"]
    assert SECRET not in repr(settings)


@pytest.mark.parametrize("status", [302, 400, 404, 500])
def test_a_webhook_that_does_not_take_an_alert_is_an_error_without_its_secret(tmp_path, webhook, status):
    """A redirection too: what follows it is a GET, which delivers nothing."""
    webhook.answers = [status]
    with pytest.raises(AlertNotDelivered) as caught:
        send_by_webhook(by_webhook(tmp_path, webhook.url), ALERT)
    assert (caught.value.problem, caught.value.alert) == (f"it answered {status}", ALERT)
    assert SECRET not in caught.value.sentence
    assert webhook.posts == []


def test_a_webhook_that_cannot_be_reached_is_an_error_without_its_secret(tmp_path):
    settings = by_webhook(tmp_path, f"http://127.0.0.1:{free_port()}/services/{SECRET}")
    with pytest.raises(AlertNotDelivered) as caught:
        send_by_webhook(settings, ALERT)
    assert caught.value.problem == "it cannot be reached"
    assert SECRET not in caught.value.sentence
    assert caught.value.__suppress_context__
    assert SECRET not in repr(settings)


class Dripping(socketserver.BaseRequestHandler):
    """A server whose answer never ends."""

    begins = b""

    def handle(self) -> None:
        with suppress(OSError):
            self.request.sendall(self.begins)
            while not self.server.is_over.wait(0.05):
                self.request.sendall(b"a")


class DrippingMail(Dripping):
    begins = b"220 "


@pytest.mark.parametrize(("handler", "send"), [(Dripping, send_by_webhook), (DrippingMail, send_by_email)])
def test_a_receiver_that_drips_is_given_up_after_a_time_in_all(tmp_path, monkeypatch, handler, send):
    """docs/cases.md, S31."""
    monkeypatch.setattr(delivery, "SECONDS", 1)
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)
    server.is_over = threading.Event()
    with serving(server) as port:
        settings = by_webhook(tmp_path, f"http://127.0.0.1:{port}/") if send is send_by_webhook else None
        began = time.monotonic()
        with pytest.raises(AlertNotDelivered) as caught:
            send(settings or by_email(tmp_path, port), ALERT)
        assert caught.value.problem == "it did not answer within 1 seconds"
        took = time.monotonic() - began
        server.is_over.set()
    assert took < 5


# By e-mail.


def test_an_email_says_what_happened_to_everybody_named(tmp_path, mail):
    send_by_email(by_email(tmp_path, mail.port), ALERT)
    ((sender, recipients, message),) = mail.mails
    assert (sender, recipients) == ("ada@points.example", ["ada@points.example", "bob@points.example"])
    assert message["Subject"] == "Müller\N{EN DASH}Prämien: close_months failed"
    assert message["To"] == "ada@points.example, bob@points.example"
    assert message["Date"].datetime == ALERT.at
    lines = message.get_content().splitlines()
    assert lines[0] == ALERT.sentence
    assert "Run: a10bce33 of close_months" in lines


def test_an_email_comes_from_whom_the_setting_names(tmp_path, mail):
    send_by_email(by_email(tmp_path, mail.port, POINTS_ALERT_EMAIL_FROM="points@points.example"), ALERT)
    assert mail.mails[0][0] == "points@points.example"


def test_other_receivers_are_notified_where_the_server_refuses_one(tmp_path, mail):
    mail.refused = {"bob@points.example"}
    note = send_by_email(by_email(tmp_path, mail.port), ALERT)
    assert mail.mails[0][1] == ["ada@points.example"]
    assert note.endswith("localhost refuses mail to bob@points.example.")
    mail.refused.add("ada@points.example")
    with pytest.raises(AlertNotDelivered) as caught:
        send_by_email(by_email(tmp_path, mail.port), ALERT)
    assert caught.value.problem == "the server takes mail for none of them"


def test_a_mail_server_that_cannot_be_reached_is_an_error(tmp_path):
    with pytest.raises(AlertNotDelivered) as caught:
        send_by_email(by_email(tmp_path, free_port()), ALERT)
    assert caught.value.problem == "[Errno 111] Connection refused"


def test_no_password_and_no_mail_is_sent_in_the_clear_where_encryption_is_asked_for(tmp_path, mail):
    settings = by_email(tmp_path, mail.port, **SIGNED_IN)
    with pytest.raises(AlertNotDelivered) as caught:
        send_by_email(settings, ALERT)
    assert (mail.sign_ins, mail.mails) == ([], [])
    assert SECRET not in caught.value.sentence + repr(settings)


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl makes the certificate")
def test_mail_is_encrypted_and_signed_in_where_the_settings_ask_for_it(tmp_path, mail, monkeypatch):
    both = tmp_path / "server.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", both, "-out", tmp_path / "certificate.pem"),
        ],
        check=True,
        capture_output=True,
    )
    both.write_text(both.read_text() + (tmp_path / "certificate.pem").read_text())
    mail.certificate = both
    settings = by_email(tmp_path, mail.port, **SIGNED_IN)
    with pytest.raises(AlertNotDelivered) as caught:
        send_by_email(settings, ALERT)
    assert caught.value.problem == "the server's certificate is not to be trusted"
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    send_by_email(settings, ALERT)
    assert mail.was_encrypted
    assert len(mail.sign_ins) == len(mail.mails) == 1


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("", "", ("localhost", 25, "none")),
        ("127.0.0.1", "2525", ("127.0.0.1", 2525, "none")),
        ("mail.points.example", "", ("mail.points.example", 587, "starttls")),
        ("mail.points.example", "465", ("mail.points.example", 465, "tls")),
    ],
)
def test_mail_to_another_machine_is_encrypted_unless_the_setting_says_otherwise(
    tmp_path, host, port, expected
):
    environment = {"POINTS_ALERT_SMTP_HOST": host, "POINTS_ALERT_SMTP_PORT": port}
    server = mail_server(make_settings(tmp_path, **environment))
    assert (server.host, server.port, server.security) == expected
    plain = mail_server(make_settings(tmp_path, **environment, POINTS_ALERT_SMTP_SECURITY="none"))
    assert plain.security == "none"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POINTS_ALERT_WEBHOOK_URL", f"ftp://host/{SECRET}"),
        ("POINTS_ALERT_WEBHOOK_URL", f"http://host/{SECRET}"),
        ("POINTS_ALERT_WEBHOOK_URL", f"http://localhost.host/{SECRET}"),
        ("POINTS_ALERT_WEBHOOK_URL", f"https:///{SECRET}"),
        ("POINTS_ALERT_WEBHOOK_URL", f"https://host:port/{SECRET}"),
        ("POINTS_ALERT_WEBHOOK_URL", f"https://host/{SECRET}\n"),
        ("POINTS_ALERT_EMAIL_TO", "ada"),
        ("POINTS_ALERT_EMAIL_TO", "ada@a.example; bob@b.example"),
        ("POINTS_ALERT_EMAIL_FROM", "ada@a.example\nBcc: eve@e.example"),
        ("POINTS_ALERT_SMTP_PORT", "0"),
        ("POINTS_ALERT_SMTP_PORT", "smtp"),
        ("POINTS_ALERT_SMTP_SECURITY", "ssl"),
    ],
)
def test_a_setting_of_alerts_that_cannot_be_is_refused_by_name_without_a_secret(tmp_path, name, value):
    with pytest.raises(SettingInvalid) as caught:
        make_settings(tmp_path, **{name: value})
    assert caught.value.name == name
    assert SECRET not in caught.value.sentence


# What became of months.


def test_each_event_of_a_month_is_announced_once_with_totals_and_names(copied, webhook):
    """docs/cases.md, X40: the first time the newest alone, so that nobody is told of years of months."""
    ways = {"POINTS_ALERT_WEBHOOK_URL": webhook.url, "POINTS_ALERT_WEBHOOK_SECRET": SECRET}
    closer, last = copied.history().issued[CLOSED[-1]].closed_by, f"{CLOSED[-1]}/r1"
    said = answer(copied.points("deliver", **ways))
    assert said.endswith(f"Announced by webhook: {last} issued.\n")
    assert "Announced" not in answer(copied.points("deliver", **ways))
    answer(copied.points("affirm", CLOSED[0], "--yes", **ways))
    reason = ("--without-reconciliation", "No other system has C-1")
    eve = {**ways, "POINTS_USER": "eve"}
    assert answer(copied.points("sign-off", CLOSED[0], "--yes", *reason, **eve)).endswith(
        f"Announced by webhook: {CLOSED[0]}/r1 signed off.\n"
    )
    answer(copied.points("reopen", CLOSED[-1], "--reason", "C-1 came late", **eve))
    answer(copied.points("verify"))
    assert [
        (post["event"], post["report_month"], post["revision"], post["by"]) for post in webhook.posts
    ] == [
        ("issued", CLOSED[-1], 1, closer),
        ("signed_off", CLOSED[0], 1, "eve"),
        ("reopened", CLOSED[-1], 1, "eve"),
    ]
    issued = webhook.posts[0]
    assert issued["sentence"] == (
        f"{closer} closed {last}: 30 MILES of 2 customers and 1155 POINTS of 6 customers outstanding."
    )
    assert issued["control_totals"]["POINTS"]["redeemed_points"] == "22.5"
    assert not [body for body in webhook.bodies if b"C-" in body]
    assert all(webhook.signatures)


def test_what_could_not_be_announced_is_tried_again_and_what_was_done_stands(copied, webhook, mail):
    """docs/cases.md, X40: by each way of its own."""
    ways = {
        "POINTS_ALERT_WEBHOOK_URL": webhook.url,
        "POINTS_ALERT_EMAIL_TO": "ada@points.example",
        "POINTS_ALERT_SMTP_PORT": str(mail.port),
    }
    webhook.answers = [302]
    result = copied.points("reopen", CLOSED[-1], "--reason", "Late", **ways)
    assert result.returncode == 1
    assert result.stderr.startswith(
        "What was recorded stays. An alert could not be delivered by webhook to 127.0"
    )
    assert SECRET not in result.stderr + result.stdout
    assert copied.history().reopened == [CLOSED[-1]]
    assert webhook.posts == []
    (message,) = [message for _, _, message in mail.mails]
    assert message["Subject"] == f"Points programme: {CLOSED[-1]}/r1 was reopened"
    deliveries = deliver_due(copied.settings(**ways))
    assert [(one.event, one.way) for one in deliveries.announced] == [("reopened", "webhook")]
    assert (len(webhook.posts), len(mail.mails)) == (1, 1)


# From Dagster.


@dg.op
def refuse() -> None:
    raise dg.Failure(description="2026-09 has not ended.", allow_retries=False)


@dg.op
def stumble() -> None:
    raise ValueError("boom")


@dg.job(name="close_months", executor_def=dg.in_process_executor)
def failing_close() -> None:
    refuse()


@dg.job(name="verify_published", executor_def=dg.in_process_executor)
def failing_verification() -> None:
    stumble()


@dataclass
class Watch:
    """A sensor as the daemon evaluates it: what a tick returns moves its cursor, a failed tick does not."""

    sensor: dg.SensorDefinition
    instance: dg.DagsterInstance
    cursor: str | None = None

    def tick(self) -> str:
        """Evaluate once; what the tick says."""
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor)
        result = self.sensor.evaluate_tick(context)
        self.cursor = result.cursor
        assert not result.run_requests
        return result.skip_message


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def watch(settings: Settings, instance: dg.DagsterInstance, name: str) -> Watch:
    return Watch(define(settings).resolve_sensor_def(name), instance)


def fail(job: dg.JobDefinition, instance: dg.DagsterInstance) -> str:
    """Run a job that fails; its run's id."""
    return job.execute_in_process(instance=instance, raise_on_error=False).run_id


def test_a_sensor_watches_for_each_way_to_notify_people(tmp_path):
    def watching(**environment: str) -> list[str]:
        sensors = define(make_settings(tmp_path, **environment)).sensors
        for sensor in sensors:
            assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
        return [sensor.name for sensor in sensors]

    assert watching() == ["import_inbox"]
    assert watching(
        POINTS_ALERT_WEBHOOK_URL="https://points.example/alerts", POINTS_ALERT_EMAIL_TO="ada@points.example"
    ) == [
        "import_inbox",
        "tell_failed_runs_by_webhook",
        "tell_missed_closes_by_webhook",
        "tell_failed_runs_by_email",
        "tell_missed_closes_by_email",
    ]


def test_every_run_that_fails_is_reported_once_with_the_sentence_that_a_person_reads(
    tmp_path, webhook, instance
):
    fail(failing_close, instance)
    failed_runs = watch(by_webhook(tmp_path, webhook.url), instance, "tell_failed_runs_by_webhook")
    assert failed_runs.tick() == "From now on, every run that fails is reported."
    run_id = fail(failing_close, instance)
    assert failed_runs.tick() == "Notified 127.0.0.1: 2026-09 has not ended."
    assert failed_runs.tick() == "No run has failed."
    (post,) = webhook.posts
    assert (post["event"], post["job"], post["run_id"]) == ("run_failed", "close_months", run_id)
    assert post["sentence"] == "2026-09 has not ended."
    assert "Traceback" not in json.dumps(post)


def test_a_failed_verification_is_reported_as_one_and_a_fault_in_the_program_by_its_first_line(
    tmp_path, webhook, instance
):
    failed_runs = watch(by_webhook(tmp_path, webhook.url), instance, "tell_failed_runs_by_webhook")
    failed_runs.tick()
    fail(failing_verification, instance)
    failed_runs.tick()
    (post,) = webhook.posts
    assert (post["event"], post["sentence"]) == ("verify_failed", "ValueError: boom")


def test_a_run_that_was_ended_from_outside_is_reported_too(tmp_path, webhook, instance):
    failed_runs = watch(by_webhook(tmp_path, webhook.url), instance, "tell_failed_runs_by_webhook")
    failed_runs.tick()
    run = instance.create_run_for_job(failing_close)
    instance.report_run_failed(run, "Exceeded maximum runtime of 14400 seconds.")
    failed_runs.tick()
    assert webhook.posts[0]["sentence"] == "Exceeded maximum runtime of 14400 seconds."


def test_an_alert_waits_until_its_receiver_is_back_and_nothing_is_reported_twice(tmp_path, webhook, instance):
    failed_runs = watch(by_webhook(tmp_path, webhook.url), instance, "tell_failed_runs_by_webhook")
    failed_runs.tick()
    first, second = fail(failing_close, instance), fail(failing_close, instance)
    webhook.answers = [500]
    with pytest.raises(AlertNotDelivered) as caught:
        failed_runs.tick()
    assert caught.value.problem == "it answered 500"
    assert SECRET not in str(caught.getrepr(chain=True))
    webhook.answers = [200, 503]
    failed_runs.tick()
    assert [post["run_id"] for post in webhook.posts] == [first]
    webhook.answers = [503]
    with pytest.raises(AlertNotDelivered):
        failed_runs.tick()
    failed_runs.tick()
    assert [post["run_id"] for post in webhook.posts] == [first, second]


def test_many_failures_are_reported_over_several_ticks(tmp_path, webhook, instance):
    failed_runs = watch(by_webhook(tmp_path, webhook.url), instance, "tell_failed_runs_by_webhook")
    failed_runs.tick()
    runs = [fail(failing_close, instance) for _ in range(sensors.ALERTS_PER_TICK + 1)]
    failed_runs.tick()
    failed_runs.tick()
    assert [post["run_id"] for post in webhook.posts] == runs


def test_a_way_that_is_broken_does_not_hold_up_the_other(tmp_path, webhook, instance):
    settings = make_settings(
        tmp_path,
        POINTS_ALERT_WEBHOOK_URL=webhook.url,
        POINTS_ALERT_EMAIL_TO="ada@points.example",
        POINTS_ALERT_SMTP_PORT=str(free_port()),
    )
    assert list(configured_ways(settings)) == ["webhook", "email"]
    webhooks, emails = (
        watch(settings, instance, f"tell_failed_runs_by_{way}") for way in configured_ways(settings)
    )
    webhooks.tick(), emails.tick()
    fail(failing_close, instance)
    webhooks.tick()
    with pytest.raises(AlertNotDelivered):
        emails.tick()
    assert webhooks.tick() == "No run has failed."
    assert len(webhook.posts) == 1


@pytest.fixture
def clock(monkeypatch) -> Callable[[str], None]:
    """Let the sensor look at a time of the test's choice."""

    def set_clock(text: str) -> None:
        now = datetime.fromisoformat(text)
        find = sensors.find_due_months
        real = getattr(find, "real", find)

        def at_that_time(settings: Settings):
            return real(settings, now)

        at_that_time.real = real
        monkeypatch.setattr(sensors, "find_due_months", at_that_time)

    return set_clock


def test_a_month_that_is_left_open_is_reported_once_a_day(tmp_path, webhook, instance, clock):
    home = LedgerHome(tmp_path / "home")
    with appending(home.open()) as appender:
        appender.append(ledger_transfer("T-1", occurred_at=datetime(2026, 9, 10, 12, tzinfo=UTC)))
    settings = by_webhook(home.home, webhook.url)
    missed_closes = watch(settings, instance, "tell_missed_closes_by_webhook")
    clock("2026-10-02T12:00:00+00:00")
    assert missed_closes.tick() == "2026-09, the oldest open month, is due at 2026-10-03 00:00 UTC."
    clock("2026-10-03T12:00:00+00:00")
    assert missed_closes.tick() == "2026-09 is due since today."
    assert webhook.posts == []
    clock("2026-10-04T06:30:00+00:00")
    missed_closes.tick()
    assert missed_closes.tick() == "Already reported today: 2026-09 is open."
    (post,) = webhook.posts
    assert (post["event"], post["run_id"]) == ("close_missed", None)
    assert post["sentence"].startswith("2026-09 ended on 2026-09-30 and is not closed. ")
    assert "`points close --through 2026-09`" in post["sentence"]
    clock("2026-10-05T06:30:00+00:00")
    webhook.answers = [500]
    with pytest.raises(AlertNotDelivered):
        missed_closes.tick()
    missed_closes.tick()
    assert [post["at"] for post in webhook.posts] == ["2026-10-04T06:30:00Z", "2026-10-05T06:30:00Z"]


def test_a_missed_close_is_reported_by_email_as_well(tmp_path, mail, instance, clock):
    home = LedgerHome(tmp_path / "home")
    with appending(home.open()) as appender:
        appender.append(ledger_transfer("T-1", occurred_at=datetime(2026, 9, 10, 12, tzinfo=UTC)))
    clock("2026-11-10T12:00:00+00:00")
    watch(by_email(home.home, mail.port), instance, "tell_missed_closes_by_email").tick()
    ((_, _, message),) = mail.mails
    assert message["Subject"].endswith(": a month is not closed")
    assert "2026-09 ended on 2026-09-30 and is not closed, nor is 2026-10." in (message.get_content())
