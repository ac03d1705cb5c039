"""Stores: what files are delivered into, a folder, a bucket of S3 or a folder behind SFTP.

All of them do two things. `Store.sha256` reads a file back; `Store.send` gives a file its final name only
when all of it is there and was read back, and replaces nothing. Names are relative to the destination, with
slashes. What goes wrong is `NotDelivered`, a part of a sentence without any secret.
"""

import asyncio
import hashlib
import shutil
from collections.abc import Awaitable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from ledger.access import let_read_copy
from ledger.destinations import FOLDER, S3, Destination
from ledger.disk import drop_from_cache, file_sha256, let_appear, sync_file, sync_folder, why_not_written
from ledger.settings import Settings
from orchestration.delivery import NotDelivered

if TYPE_CHECKING:  # each takes as long to import as a command to start
    import asyncssh

_CHUNK_BYTES = 8 * 2**20
# How long a server may be silent.
_SECONDS = 30
_OTHER_BYTES = "what was read back of {name} is not what was sent"


class Store(Protocol):
    """A destination that is open."""

    def sha256(self, name: str) -> str | None:
        """The SHA-256 of a file, in hexadecimal; None where there is none of that name."""

    def send(self, file: Path, name: str, sha256: str) -> None:
        """Put a file, which has this SHA-256, where none of that name is."""


@contextmanager
def open_store(destination: Destination, settings: Settings) -> Iterator[Store]:
    """Open a destination. Raises `NotDelivered`, as all that is done with it does."""
    if destination.scheme == FOLDER:
        yield _Folder(Path(destination.path), settings.readers)
    elif destination.scheme == S3:
        yield _Bucket(destination)
    else:
        with asyncio.Runner() as runner, _Sftp(destination, settings, runner) as store:
            yield store


def _unfinished(name: str) -> str:
    """What a file is called until it is whole; one that was left is replaced by the next try."""
    path = PurePosixPath(name)
    return str(path.with_name(f".{path.name}.unfinished"))


class _Folder:
    """A folder of this machine, or one that is mounted; it must be there, for a disk that is not mounted
    leaves its place empty."""

    def __init__(self, root: Path, readers: str) -> None:
        self._root, self._readers = root, readers
        if not root.is_dir():
            raise NotDelivered("there is no such folder")

    def sha256(self, name: str) -> str | None:
        with _file_problems():
            try:
                return file_sha256(self._root / name)
            except FileNotFoundError:
                return None

    def send(self, file: Path, name: str, sha256: str) -> None:
        target, unfinished = self._root / name, self._root / _unfinished(name)
        with _file_problems():
            self._make_folder(target.parent)
            unfinished.unlink(missing_ok=True)
            shutil.copyfile(file, unfinished)
            let_read_copy(unfinished, self._readers)
            sync_file(unfinished)
            drop_from_cache(unfinished)
            if file_sha256(unfinished) != sha256:
                raise NotDelivered(_OTHER_BYTES.format(name=name))
            let_appear(unfinished, target)
            unfinished.unlink(missing_ok=True)

    def _make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            self._make_folder(folder.parent)
            folder.mkdir()
            let_read_copy(folder, self._readers)
            sync_folder(folder.parent)


@contextmanager
def _file_problems() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NotDelivered(why_not_written(error)) from error


class _Bucket:
    """A bucket of S3, where a file is there only when all of it is."""

    def __init__(self, destination: Destination) -> None:
        from s3fs import S3FileSystem

        self._root = "/".join(part for part in (destination.host, destination.path) if part)
        with _bucket_problems():
            # Another process may have put something there meanwhile, so nothing is remembered.
            self._files = S3FileSystem(
                use_listings_cache=False,
                skip_instance_cache=True,
                config_kwargs={"connect_timeout": _SECONDS, "read_timeout": _SECONDS},
            )

    def sha256(self, name: str) -> str | None:
        digest = hashlib.sha256()
        with _bucket_problems():
            try:
                file = self._files.open(f"{self._root}/{name}", "rb", block_size=_CHUNK_BYTES)
            except FileNotFoundError:
                return None
            with file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
        return digest.hexdigest()

    def send(self, file: Path, name: str, sha256: str) -> None:
        with _bucket_problems():
            self._files.put_file(str(file), f"{self._root}/{name}", chunksize=_CHUNK_BYTES, max_concurrency=2)
            if self.sha256(name) != sha256:
                self._files.rm_file(f"{self._root}/{name}")
                raise NotDelivered(_OTHER_BYTES.format(name=name))


@contextmanager
def _bucket_problems() -> Iterator[None]:
    from aiohttp import ClientError as TransferCutOff
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    try:
        yield
    except NoCredentialsError as error:
        raise NotDelivered("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set") from error
    except (BotoCoreError, ClientError, TransferCutOff, OSError, ValueError) as error:
        # s3fs makes OSError of what S3 answers, ValueError of an endpoint that is no URL.
        raise NotDelivered(why_not_written(error)) from error


class _Sftp:
    """A folder behind SFTP, which must be there, of a server whose key is known."""

    def __init__(self, destination: Destination, settings: Settings, runner: asyncio.Runner) -> None:
        self._destination, self._runner = destination, runner
        self._root = PurePosixPath(destination.path)
        self._known_hosts = Path(settings.sftp_known_hosts or Path.home() / ".ssh" / "known_hosts")
        self._session = AsyncExitStack()
        self._files: asyncssh.SFTPClient

    def __enter__(self) -> "_Sftp":
        try:
            self._files = self._run(self._connect())
            if not self._run(self._files.isdir(str(self._root))):
                raise NotDelivered(f"the server has no folder {self._root}")
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        self._close()

    def sha256(self, name: str) -> str | None:
        return self._run(self._sha256(self._root / name))

    def send(self, file: Path, name: str, sha256: str) -> None:
        self._run(self._send(file, name, sha256))

    async def _connect(self) -> "asyncssh.SFTPClient":
        import asyncssh

        if not self._known_hosts.is_file():
            raise NotDelivered(
                f"its key is not known, for there is no file {self._known_hosts}: get the key from who runs"
                " the server and put it there, or set POINTS_SFTP_KNOWN_HOSTS"
            )
        password = {} if self._destination.password is None else {"password": self._destination.password}
        try:
            connection = await self._session.enter_async_context(
                asyncssh.connect(
                    self._destination.host,
                    self._destination.port,
                    username=self._destination.user or (),
                    known_hosts=str(self._known_hosts),
                    connect_timeout=_SECONDS,
                    login_timeout=_SECONDS,
                    keepalive_interval=_SECONDS,
                    **password,
                )
            )
        except asyncssh.ConnectionLost as error:
            raise NotDelivered(
                "it ended the connection before it was known, as a server does whose key is of no kind that"
                f" is in {self._known_hosts}"
            ) from error
        return await self._session.enter_async_context(connection.start_sftp_client())

    async def _sha256(self, path: PurePosixPath) -> str | None:
        import asyncssh

        digest = hashlib.sha256()
        try:
            file = await self._files.open(str(path), "rb")
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
            return None
        async with file:
            while chunk := await file.read(_CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest()

    async def _send(self, file: Path, name: str, sha256: str) -> None:
        target, unfinished = self._root / name, self._root / _unfinished(name)
        await self._files.makedirs(str(target.parent), exist_ok=True)
        await self._files.put(str(file), str(unfinished), sparse=False)
        if await self._sha256(unfinished) != sha256:
            raise NotDelivered(_OTHER_BYTES.format(name=name))
        # SFTP's own rename, for OpenSSH's other one replaces what is there.
        await self._files.rename(str(unfinished), str(target))

    def _close(self) -> None:
        self._run(self._session.aclose())

    def _run(self, work: Awaitable[Any]) -> Any:
        import asyncssh

        try:
            return self._runner.run(work)
        except asyncssh.HostKeyNotVerifiable as error:
            raise NotDelivered(
                f"its key is not the one in {self._known_hosts}: ask who runs the server whether it has a new"
                " one, for another machine may answer in its place"
            ) from error
        except asyncssh.PermissionDenied as error:
            raise NotDelivered("it does not let the user in with that password or key") from error
        except ValueError as error:
            raise NotDelivered(f"{self._known_hosts} is no file of known keys") from error
        except (asyncssh.Error, OSError) as error:
            raise NotDelivered(why_not_written(error)) from error
