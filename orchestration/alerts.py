"""Tells people that something failed: by a webhook, by e-mail, or both.

An alert that could not be delivered is an error; whoever sends it sends it again. Each way is tried on its
own, so that one which is broken neither holds the other up nor makes it repeat itself. The webhook's address
and the mail server's password are secrets and stand in no sentence.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from urllib.parse import urlsplit

from ledger.errors import PointsError
from ledger.settings import Settings
from orchestration.delivery import MailServer, NotDelivered, in_time, mail, post

RUN_FAILED = "run_failed"
VERIFY_FAILED = "verify_failed"
CLOSE_MISSED = "close_missed"
_WHAT_HAPPENED = {
    RUN_FAILED: "{job} failed",
    VERIFY_FAILED: "what is final does not verify",
    CLOSE_MISSED: "a month is not closed",
}


class AlertNotDelivered(PointsError):
    """Nobody could be told of something that failed."""

    def __init__(self, way: str, receiver: str, problem: str, mend: str, alert: "Alert") -> None:
        super().__init__(
            f"An alert could not be delivered by {way} to {receiver}: {problem}; {mend}. It is tried again"
            f" until then. The alert says: {alert.sentence}"
        )
        self.alert = alert


@dataclass(frozen=True)
class Alert:
    """What people are told; ``event`` is one of this module's, a failed run has ``job`` and ``run_id``."""

    event: str
    sentence: str
    at: datetime
    job: str = ""
    run_id: str = ""

    def headline(self, programme: str) -> str:
        """A line that says of which programme it is and what happened."""
        return f"{programme}: {_WHAT_HAPPENED[self.event].format(job=self.job)}"


Send = Callable[[Settings, Alert], str]


def configured_ways(settings: Settings) -> Mapping[str, Send]:
    """The ways in which these settings tell people, by name; empty where nobody is told.

    Each takes an alert and returns what is worth a note in the log, or raises `AlertNotDelivered`.
    """
    ways: dict[str, Send] = {}
    if settings.alerts.webhook_url:
        ways["webhook"] = send_by_webhook
    if settings.alerts.email_to:
        ways["email"] = send_by_email
    return ways


def send_by_webhook(settings: Settings, alert: Alert) -> str:
    """Post the alert as JSON; chat programs show its ``text``, others find each fact by its name."""
    url = settings.alerts.webhook_url
    receiver = urlsplit(url).hostname
    content = {
        "text": f"{alert.headline(settings.programme_name)}. {alert.sentence}",
        "programme": settings.programme_name,
        "event": alert.event,
        "sentence": alert.sentence,
        "job": alert.job or None,
        "run_id": alert.run_id or None,
        "at": f"{alert.at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
    mend = "mend that, or set POINTS_ALERT_WEBHOOK_URL"
    try:
        in_time(post, url, content)
    except NotDelivered as error:
        raise AlertNotDelivered("webhook", receiver, str(error), mend, alert) from None
    return f"Told {receiver}: {alert.sentence}"


def send_by_email(settings: Settings, alert: Alert) -> str:
    """Mail the alert to everybody named; whoever the server refuses is named in what is returned."""
    alerts = settings.alerts
    server = MailServer(
        alerts.smtp_host, alerts.smtp_port, alerts.smtp_security, alerts.smtp_user, alerts.smtp_password
    )
    try:
        refused = in_time(mail, server, _message(settings, alert), alerts.email_from, alerts.email_to)
    except NotDelivered as error:
        raise AlertNotDelivered(
            "e-mail",
            f"{', '.join(alerts.email_to)} through {alerts.smtp_host}, port {alerts.smtp_port}",
            str(error),
            "mend that, or set POINTS_ALERT_EMAIL_TO and POINTS_ALERT_SMTP_HOST",
            alert,
        ) from None
    told = [address for address in alerts.email_to if address not in refused]
    note = f" {alerts.smtp_host} refuses mail to {', '.join(refused)}." if refused else ""
    return f"Told {', '.join(told)}: {alert.sentence}{note}"


def _message(settings: Settings, alert: Alert) -> EmailMessage:
    headline = " ".join(alert.headline(settings.programme_name).split())
    message = EmailMessage()
    message["Subject"] = headline
    message["From"] = settings.alerts.email_from
    message["To"] = ", ".join(settings.alerts.email_to)
    message["Date"] = format_datetime(alert.at)
    facts = [alert.sentence, ""]
    if alert.run_id:
        facts += [f"Run: {alert.run_id} of {alert.job}"]
    facts += [f"At: {alert.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC", f"Home: {settings.home}"]
    message.set_content("\n".join(facts) + "\n")
    return message
