"""Real servers on this machine's loopback that files are delivered to: S3 and SFTP, by rclone."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

RCLONE = Path(sys.executable).with_name("rclone")
SECRET = "open-sesame@T0123"
# As it stands in a URL.
SECRET_IN_URL = "open-sesame%40T0123"


def free_port() -> int:
    """A port without a listener."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def _serving(arguments: list[str], port: int, log: Path) -> Iterator[subprocess.Popen]:
    environment = {**os.environ, "RCLONE_CONFIG": os.devnull}
    with open(log, "ab") as file:
        process = subprocess.Popen(
            [RCLONE, "serve", *arguments, "--addr", f"127.0.0.1:{port}", "--dir-cache-time", "100ms"],
            stdout=file,
            stderr=file,
            env=environment,
        )
    try:
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


@dataclass
class SftpServer:
    """An SFTP server of ``folder``; ``place`` in it is delivered to, and ``known_hosts`` has its key."""

    folder: Path
    port: int = field(default_factory=free_port)
    place: str = "finance"

    @property
    def known_hosts(self) -> Path:
        return self.folder.with_name("known_hosts")

    @property
    def url(self) -> str:
        return f"sftp://finance:{SECRET_IN_URL}@127.0.0.1:{self.port}/{self.place}"

    @property
    def name(self) -> str:
        return f"sftp://finance@127.0.0.1:{self.port}/{self.place}"

    @property
    def files(self) -> Path:
        return self.folder / self.place

    @contextmanager
    def running(self, *options: str) -> Iterator[subprocess.Popen]:
        """Serve, with a key that is made where there is none yet."""
        self.files.mkdir(parents=True, exist_ok=True)
        key = self.folder.with_name("host_key")
        if not key.exists():
            made = asyncssh.generate_private_key("ssh-ed25519")
            made.write_private_key(str(key))
            public = made.export_public_key().decode().strip()
            if not self.known_hosts.exists():
                self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {public}\n")
        user = ("--user", "finance", "--pass", SECRET)
        arguments = ["sftp", str(self.folder), *user, "--key", str(key), *options]
        with _serving(arguments, self.port, self.folder.with_name("sftp.log")) as process:
            yield process

    def change_key(self) -> None:
        """Let the server have another key when it is started next."""
        self.folder.with_name("host_key").unlink()


@dataclass
class S3Server:
    """A server of S3 with a bucket ``finance`` of files in ``folder``; ``place`` is the prefix used."""

    folder: Path
    port: int = field(default_factory=free_port)
    place: str = "points/closed"

    @property
    def url(self) -> str:
        return f"s3://finance/{self.place}"

    @property
    def files(self) -> Path:
        return self.folder / "finance" / self.place

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "finance",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve."""
        (self.folder / "finance").mkdir(parents=True, exist_ok=True)
        arguments = ["s3", str(self.folder), "--auth-key", f"finance,{SECRET}"]
        with _serving(arguments, self.port, self.folder.with_name("s3.log")):
            yield
