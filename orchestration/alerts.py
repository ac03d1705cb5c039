"""Tells people that something failed: by a webhook, by e-mail, or both.

An alert that could not be delivered is an error; whoever sends it sends it again. Each way is tried on its
own, so that one which is broken neither holds the other up nor makes it repeat itself. The webhook's address
and the mail server's password are secrets and stand in no sentence.
"""

import smtplib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from urllib.parse import urlsplit

import requests

from ledger.errors import PointsError
from ledger.settings import AlertSettings, Settings

RUN_FAILED = "run_failed"
VERIFY_FAILED = "verify_failed"
CLOSE_MISSED = "close_missed"
_WHAT_HAPPENED = {
    RUN_FAILED: "{job} failed",
    VERIFY_FAILED: "what is final does not verify",
    CLOSE_MISSED: "a month is not closed",
}
_TIMEOUT_SECONDS = 10


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
        # A redirection would turn the post into a question whose answer proves nothing.
        answer = requests.post(url, json=content, timeout=_TIMEOUT_SECONDS, allow_redirects=False)
    except (requests.RequestException, ValueError) as error:
        # What requests says of it holds the whole address.
        problem = _problem_of_request(error)
        raise AlertNotDelivered("webhook", receiver, problem, mend, alert) from None
    if not 200 <= answer.status_code < 300:
        problem = f"it answered {answer.status_code}"
        raise AlertNotDelivered("webhook", receiver, problem, mend, alert)
    return f"Told {receiver}: {alert.sentence}"


def _problem_of_request(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return f"it did not answer within {_TIMEOUT_SECONDS} seconds"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not to be trusted"
    if isinstance(error, requests.ConnectionError):
        return "it cannot be reached"
    return f"the request failed ({type(error).__name__})"


def send_by_email(settings: Settings, alert: Alert) -> str:
    """Mail the alert to everybody named; whoever the server refuses is named in what is returned."""
    alerts = settings.alerts
    try:
        with _connect(alerts) as server:
            refused = server.send_message(
                _message(settings, alert), from_addr=alerts.email_from, to_addrs=alerts.email_to
            )
    except (smtplib.SMTPException, OSError) as error:
        raise AlertNotDelivered(
            "e-mail",
            f"{', '.join(alerts.email_to)} through {alerts.smtp_host}, port {alerts.smtp_port}",
            _problem_of_mail(error),
            "mend that, or set POINTS_ALERT_EMAIL_TO and POINTS_ALERT_SMTP_HOST",
            alert,
        ) from None
    told = [address for address in alerts.email_to if address not in refused]
    note = f" {alerts.smtp_host} refuses mail to {', '.join(refused)}." if refused else ""
    return f"Told {', '.join(told)}: {alert.sentence}{note}"


def _connect(alerts: AlertSettings) -> smtplib.SMTP:
    """A session in which mail can be sent: encrypted and signed in, as the settings ask for."""
    trusted = ssl.create_default_context()
    if alerts.smtp_security == "tls":
        server = smtplib.SMTP_SSL(
            alerts.smtp_host, alerts.smtp_port, timeout=_TIMEOUT_SECONDS, context=trusted
        )
    else:
        server = smtplib.SMTP(alerts.smtp_host, alerts.smtp_port, timeout=_TIMEOUT_SECONDS)
    try:
        if alerts.smtp_security == "starttls":
            server.starttls(context=trusted)
        if alerts.smtp_user:
            server.login(alerts.smtp_user, alerts.smtp_password or "")
    except BaseException:
        server.close()
        raise
    return server


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


def _problem_of_mail(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "the server takes mail for none of them"
    if isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else ""
        return f"the server answered {error.smtp_code} {' '.join(said.split())}".rstrip(" .")
    if isinstance(error, ssl.SSLCertVerificationError):
        return "the server's certificate is not to be trusted"
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
