"""Hands alerts over to their receivers, each in a process of its own that is ended where it takes too long.

A library's timeout limits each single wait for the network: with one of 10 s, a receiver that sends a byte
every 9 s would hold its sender up for ever (docs/cases.md, S31).
"""

import hashlib
import hmac
import json
import pickle
import smtplib
import ssl
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage

from ledger.errors import first_line

# For all of a delivery.
SECONDS = 10


class NotDelivered(Exception):
    """What kept something from being delivered, as a part of a sentence."""


@dataclass(frozen=True)
class MailServer:
    """What mail is sent through; ``security`` is 'starttls', 'tls' or 'none'."""

    host: str
    port: int
    security: str
    user: str | None
    password: str | None = field(repr=False)


def in_time(deliver: Callable[..., object], *arguments: object) -> object:
    """What ``deliver``, a function of this module, returns; raise `NotDelivered`, also after `SECONDS`."""
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-c", "from orchestration.delivery import _main; _main()"],
            input=pickle.dumps((deliver, arguments)),
            stdout=subprocess.PIPE,
            timeout=SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise NotDelivered(f"it did not answer within {SECONDS} seconds") from None
    problem, answer = pickle.loads(child.stdout)
    if problem:
        raise NotDelivered(problem)
    return answer


def _main() -> None:
    deliver, arguments = pickle.load(sys.stdin.buffer)
    try:
        result = ("", deliver(*arguments))
    except NotDelivered as error:
        result = (str(error), None)
    sys.stdout.buffer.write(pickle.dumps(result))


def post(url: str, content: dict[str, object], secret: str | None = None) -> None:
    """Post JSON, signed where there is a ``secret``; it is delivered when the receiver answers so.

    Raises `NotDelivered`, without the address.
    """
    import requests

    body = json.dumps(content).encode("ascii")
    headers = {"Content-Type": "application/json"}
    if secret:
        digest = hmac.new(secret.encode("utf-8"), body, hashlib.sha256).hexdigest()
        headers["X-Points-Signature"] = f"sha256={digest}"
    try:
        # A redirection would turn the post into a question whose answer proves nothing.
        with requests.post(
            url, data=body, headers=headers, timeout=SECONDS, allow_redirects=False, stream=True
        ) as answer:
            if not 200 <= answer.status_code < 300:
                raise NotDelivered(f"it answered {answer.status_code}")
    except (requests.RequestException, ValueError) as error:
        # What requests says of it holds the whole address.
        raise NotDelivered(_problem_of_request(error)) from None


def _problem_of_request(error: Exception) -> str:
    import requests

    if isinstance(error, requests.Timeout):
        return f"it did not answer within {SECONDS} seconds"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not to be trusted"
    if isinstance(error, requests.ConnectionError):
        return "it cannot be reached"
    return f"the request failed ({type(error).__name__})"


def mail(server: MailServer, message: EmailMessage, sender: str, receivers: tuple[str, ...]) -> list[str]:
    """Send a mail; return the receivers that the server refuses. Raises `NotDelivered`."""
    try:
        with _connect(server) as session:
            return list(session.send_message(message, from_addr=sender, to_addrs=receivers))
    except (smtplib.SMTPException, OSError) as error:
        raise NotDelivered(_problem_of_mail(error)) from None


def _connect(server: MailServer) -> smtplib.SMTP:
    """A session in which mail can be sent: encrypted and signed in, as the settings ask for."""
    trusted = ssl.create_default_context()
    if server.security == "tls":
        session = smtplib.SMTP_SSL(server.host, server.port, timeout=SECONDS, context=trusted)
    else:
        session = smtplib.SMTP(server.host, server.port, timeout=SECONDS)
    try:
        if server.security == "starttls":
            session.starttls(context=trusted)
        if server.user:
            session.login(server.user, server.password or "")
    except BaseException:
        session.close()
        raise
    return session


def _problem_of_mail(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "the server takes mail for none of them"
    if isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else ""
        return f"the server answered {error.smtp_code} {' '.join(said.split())}".rstrip(" .")
    if isinstance(error, ssl.SSLCertVerificationError):
        return "the server's certificate is not to be trusted"
    return first_line(error)
