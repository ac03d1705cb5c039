"""Where the files of closed months are delivered: folders, S3 buckets, folders behind SFTP.

A destination is written as a URL. Its ``name``, the URL without a password, is what is shown and what
stands in the receipts of the ledger.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

FOLDER, S3, SFTP = "file", "s3", "sftp"
_SFTP_PORT = 22

_EXPECTED = (
    "a destination is an absolute folder, file:///folder, s3://bucket/prefix or"
    " sftp://user:password@host:port/folder, several with spaces between"
)
# Each part ends where it seems to end: what is special in it is percent-encoded.
_FORMS = {
    FOLDER: re.compile(r"file://(?P<path>/[^?#]*)"),
    S3: re.compile(r"s3://(?P<host>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?P<path>/[^?#]*)?"),
    SFTP: re.compile(
        r"sftp://((?P<user>[^@:/?#]+)(:(?P<password>[^@:/?#]*))?@)?"
        r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[1-9][0-9]{0,4}))?(?P<path>/[^?#]*)?"
    ),
}
_SPECIAL = {
    FOLDER: "a space in it is %20",
    S3: "its keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, never from the URL",
    SFTP: "what is special in a user or password is percent-encoded (@ is %40, / is %2F)",
}


@dataclass(frozen=True)
class Destination:
    """A place to deliver to.

    ``scheme`` is `FOLDER`, `S3` or `SFTP`; ``host`` is the bucket or the server; ``path`` is absolute, of S3
    the prefix of its keys, without slashes at its ends.
    """

    scheme: str
    host: str
    path: str
    port: int = _SFTP_PORT
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Its URL without the password: the same text however its URL was written."""
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port != _SFTP_PORT else ""
        path = quote(self.path if self.scheme != S3 else f"/{self.path}" if self.path else "")
        return f"{self.scheme}://{user}{host}{port}{path}"


def read_destinations(text: str) -> tuple[Destination, ...]:
    """The destinations in ``text``, each once; raise `ValueError` with the end of a sentence that repeats
    nothing secret."""
    return tuple(dict.fromkeys(_read(url) for url in text.split()))


def _read(url: str) -> Destination:
    scheme, separator, _ = url.partition("://")
    if not separator and url.startswith("/"):
        return _checked(Destination(FOLDER, "", url))
    if scheme not in _FORMS:
        # What is no scheme may be a part of a password.
        named = (
            f"nothing is delivered to {scheme}://; " if re.fullmatch("[a-z][a-z0-9+]{0,9}", scheme) else ""
        )
        raise ValueError(f"{named if separator else ''}{_EXPECTED}")
    found = _FORMS[scheme].fullmatch(url)
    if not found:
        raise ValueError(f"{_EXPECTED}; {_SPECIAL[scheme]}")
    parts = {name: unquote(value) for name, value in found.groupdict().items() if value is not None}
    return _checked(
        Destination(
            scheme,
            parts.get("host", "").lower().strip("[]") if scheme == SFTP else parts.get("host", ""),
            parts.get("path", "/"),
            int(parts.get("port", _SFTP_PORT)),
            parts.get("user"),
            parts.get("password"),
        )
    )


def _checked(destination: Destination) -> Destination:
    """The destination with its path in one form."""
    steps = [step for step in destination.path.split("/") if step]
    if "." in steps or ".." in steps or not destination.path.isprintable():
        raise ValueError("the path of a destination has no . or .. and no control characters in it")
    if destination.port > 65_535:
        raise ValueError("a port is a number from 1 to 65535")
    path = "/".join(steps) if destination.scheme == S3 else f"/{'/'.join(steps)}"
    return Destination(
        destination.scheme,
        destination.host,
        path,
        destination.port,
        destination.user,
        destination.password,
    )
