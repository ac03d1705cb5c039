"""Notifies people of failures, and of what became of months: by a webhook, by e-mail, or both.

An alert that could not be delivered is an error, and its sender tries again. Each way is tried on its
own, so that one which is broken neither holds the other up nor makes it repeat itself. The webhook's address
and the mail server's password are secrets and stand in no sentence.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from urllib.parse import urlsplit

from ledger.errors import PointsError
from ledger.settings import Settings, is_this_machine
from orchestration.delivery import MailServer, NotDelivered, in_time, mail, post

RUN_FAILED = "run_failed"
VERIFY_FAILED = "verify_failed"
CLOSE_MISSED = "close_missed"
ISSUED = "issued"
SIGNED_OFF = "signed_off"
REOPENED = "reopened"
_WHAT_HAPPENED = {
    RUN_FAILED: "{job} failed",
    VERIFY_FAILED: "what is final does not verify",
    CLOSE_MISSED: "a month is not closed",
    ISSUED: "{month} is issued",
    SIGNED_OFF: "{month} is signed off",
    REOPENED: "{month} was reopened",
}


class AlertNotDelivered(PointsError):
    """An alert could not be delivered to its receiver."""

    def __init__(self, way: str, receiver: str, problem: str, remedy: str, alert: "Alert") -> None:
        super().__init__(
            f"An alert could not be delivered by {way} to {receiver}: {problem}; {remedy}. It is tried again"
            f" until then. The alert says: {alert.sentence}"
        )


@dataclass(frozen=True)
class Alert:
    """A notification; ``event`` is one of this module's, a failed run has ``job`` and ``run_id``.

    What became of a month has ``month``, the revision's name, and ``facts``, which are posted too.
    """

    event: str
    sentence: str
    at: datetime
    job: str = ""
    run_id: str = ""
    month: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)

    def headline(self, programme: str) -> str:
        """A line that says of which programme it is and what happened."""
        return f"{programme}: {_WHAT_HAPPENED[self.event].format(job=self.job, month=self.month)}"


Send = Callable[[Settings, Alert], str]


def configured_ways(settings: Settings) -> Mapping[str, Send]:
    """The configured ways to notify people, by name; empty where there is none.

    Each takes an alert and returns what is worth a note in the log, or raises `AlertNotDelivered`.
    """
    ways: dict[str, Send] = {}
    if settings.alert_webhook_url:
        ways["webhook"] = send_by_webhook
    if settings.alert_email_to:
        ways["email"] = send_by_email
    return ways


def send_by_webhook(settings: Settings, alert: Alert) -> str:
    """Post the alert as JSON; chat programs show its ``text``, others find each fact by its name."""
    url = settings.alert_webhook_url
    receiver = urlsplit(url).hostname
    content = {
        "text": f"{alert.headline(settings.programme_name)}. {alert.sentence}",
        "programme": settings.programme_name,
        "event": alert.event,
        "sentence": alert.sentence,
        "job": alert.job or None,
        "run_id": alert.run_id or None,
        "at": f"{alert.at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        **alert.facts,
    }
    remedy = "fix that, or set POINTS_ALERT_WEBHOOK_URL"
    try:
        in_time(post, url, content, settings.alert_webhook_secret)
    except NotDelivered as error:
        raise AlertNotDelivered("webhook", receiver, str(error), remedy, alert) from None
    return f"Notified {receiver}: {alert.sentence}"


def send_by_email(settings: Settings, alert: Alert) -> str:
    """Mail the alert to all receivers; the note that is returned names those that the server refuses."""
    server, people = mail_server(settings), settings.alert_email_to
    try:
        refused = in_time(mail, server, _message(settings, alert), _sender(settings), people)
    except NotDelivered as error:
        raise AlertNotDelivered(
            "e-mail",
            f"{', '.join(people)} through {server.host}, port {server.port}",
            str(error),
            "fix that, or set POINTS_ALERT_EMAIL_TO and POINTS_ALERT_SMTP_HOST",
            alert,
        ) from None
    accepted = [address for address in people if address not in refused]
    note = f" {server.host} refuses mail to {', '.join(refused)}." if refused else ""
    return f"Notified {', '.join(accepted)}: {alert.sentence}{note}"


def mail_server(settings: Settings) -> MailServer:
    """The server that mail goes through; to another machine it goes encrypted unless the settings differ."""
    host = settings.alert_smtp_host
    is_here = is_this_machine(host)
    port = settings.alert_smtp_port or (25 if is_here else 587)
    usual = "none" if is_here else "tls" if port == 465 else "starttls"
    security = settings.alert_smtp_security or usual
    return MailServer(host, port, security, settings.alert_smtp_user, settings.alert_smtp_password)


def _sender(settings: Settings) -> str:
    return (settings.alert_email_from or settings.alert_email_to)[0]


def _message(settings: Settings, alert: Alert) -> EmailMessage:
    headline = " ".join(alert.headline(settings.programme_name).split())
    message = EmailMessage()
    message["Subject"] = headline
    message["From"] = _sender(settings)
    message["To"] = ", ".join(settings.alert_email_to)
    message["Date"] = format_datetime(alert.at)
    facts = [alert.sentence, ""]
    if alert.run_id:
        facts += [f"Run: {alert.run_id} of {alert.job}"]
    facts += [f"At: {alert.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC", f"Home: {settings.home}"]
    message.set_content("\n".join(facts) + "\n")
    return message
