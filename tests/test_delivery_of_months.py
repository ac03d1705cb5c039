"""Closed months are delivered: to a folder, a bucket of S3 and over SFTP, whole and once, or not at all."""

import json
import random
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import asyncssh
import dagster as dg
import pytest
from s3fs import S3FileSystem

from ledger.database import open_ledger
from ledger.destinations import Destination, read_destinations
from ledger.disk import file_sha256
from ledger.models import MonthEndEntry
from ledger.receipts import DELIVERED
from ledger.settings import SettingInvalid, Settings
from orchestration import month_delivery, stores
from orchestration.definitions import define
from orchestration.month_delivery import DeliveredAltered, DestinationFailed, deliver_due
from orchestration.published.manifests import PublishedDamaged
from orchestration.run_lock import RunInProgress, delivery_lock
from orchestration.stores import open_store
from orchestration.upkeep.doctor import examine
from tests.closed_programme import CLOSED, NEXT, Home, published_bytes
from tests.conftest import answer, refusal
from tests.file_servers import SECRET, SECRET_IN_URL, S3Server, SftpServer
from tests.test_dagster import make_settings

SECRETS = (SECRET, SECRET_IN_URL)


@pytest.fixture(scope="module")
def servers(tmp_path_factory) -> Iterator[tuple[SftpServer, S3Server]]:
    """One server of each kind for all tests, each of which has a place of its own."""
    sftp = SftpServer(tmp_path_factory.mktemp("sftp") / "root")
    s3 = S3Server(tmp_path_factory.mktemp("s3") / "root")
    with sftp.running(), s3.running():
        yield sftp, s3


@pytest.fixture
def sftp(servers, tmp_path) -> SftpServer:
    mine = replace(servers[0], place=tmp_path.name)
    mine.files.mkdir()
    return mine


@pytest.fixture
def s3(servers, tmp_path, monkeypatch) -> S3Server:
    mine = replace(servers[1], place=f"points/{tmp_path.name}")
    for name, value in mine.environment.items():
        monkeypatch.setenv(name, value)
    return mine


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with a space in its name, that finance reads."""
    folder = tmp_path / "for finance"
    folder.mkdir()
    return folder


def url_of(folder: Path) -> str:
    return f"file://{folder}".replace(" ", "%20")


def to_sftp(server: SftpServer) -> dict[str, str]:
    return {"POINTS_DELIVER_TO": server.url, "POINTS_SFTP_KNOWN_HOSTS": str(server.known_hosts)}


def delivered_bytes(files: Path) -> dict[str, bytes]:
    """Everything at a destination, what is unfinished too."""
    return {
        str(path.relative_to(files)): path.read_bytes() for path in sorted(files.rglob("*")) if path.is_file()
    }


def receipts_of(home: Home) -> list[tuple[str, int, str]]:
    open_ledger(home.settings())
    entries = MonthEndEntry.objects.filter(event=DELIVERED).order_by("entry_id")
    return [(entry.report_month, entry.revision, entry.subject) for entry in entries]


def test_closed_months_are_delivered_everywhere_once_and_recorded(copied, folder, sftp, s3):
    """docs/cases.md, X38."""
    to = {**to_sftp(sftp), "POINTS_DELIVER_TO": f"{url_of(folder)} {sftp.url}\n{s3.url}"}
    result = copied.points("deliver", "--json", **to)
    rows = json.loads(answer(result))["delivered"]
    published = published_bytes(copied)
    for files in (folder, sftp.files, s3.files):
        assert delivered_bytes(files) == published
    names = (url_of(folder), sftp.name, s3.url)
    expected = [(month, 1, name) for name in names for month in CLOSED]
    assert [(row["month"], row["destination"]) for row in rows] == [
        (f"{month}/r{revision}", name) for month, revision, name in expected
    ]
    assert all(row["files"] == row["sent"] for row in rows)
    assert receipts_of(copied) == expected
    ours = {name: data for name, data in published.items() if name.startswith(CLOSED[0])}
    content = json.loads(MonthEndEntry.objects.filter(event=DELIVERED).earliest("entry_id").content)
    assert content == {"files": len(ours), "bytes": sum(map(len, ours.values()))}
    again = copied.points("deliver", **to)
    assert answer(again) == "Nothing is due: what readers have was delivered to 3 destinations.\n"
    assert len(receipts_of(copied)) == len(expected)
    answer(copied.points("verify"))
    shown = copied.points("doctor", **to)
    assert "What readers have was delivered to 3 destinations." in shown.stdout
    said = result.stdout + result.stderr + again.stderr + shown.stdout + shown.stderr
    assert not [secret for secret in SECRETS if secret in said + repr(copied.settings(**to))]
    assert not [
        secret for secret in SECRETS if secret.encode() in (copied.path / "ledger.sqlite3").read_bytes()
    ]


def test_where_nothing_is_named_nothing_is_delivered(copied):
    assert "delivery" not in copied.points("doctor").stdout
    said = "POINTS_DELIVER_TO names no destination, so nothing is delivered.\n"
    assert answer(copied.points("deliver")) == said


def test_the_manifest_comes_last_and_has_a_name_when_it_is_whole(copied, folder, monkeypatch):
    """docs/cases.md, X38."""
    settings = copied.settings(POINTS_DELIVER_TO=url_of(folder))
    names, seen = [], []
    send, appear = stores._Folder.send, stores.let_appear

    def noted(store, file, name, sha256):
        names.append(name)
        send(store, file, name, sha256)

    def looked_at(unfinished, target):
        seen.append((target.exists(), unfinished.read_bytes()))
        appear(unfinished, target)

    monkeypatch.setattr(stores._Folder, "send", noted)
    monkeypatch.setattr(stores, "let_appear", looked_at)
    deliver_due(settings)
    published = published_bytes(copied)
    assert sorted(names) == sorted(published)
    for month in CLOSED:
        assert [name for name in names if name.startswith(month)][-1] == f"{month}/r1/manifest.json"
    assert seen == [(False, published[name]) for name in names]


@pytest.mark.parametrize("is_client_killed", [False, True])
def test_what_is_cut_off_over_sftp_has_no_final_name_and_goes_on_later(copied, tmp_path, is_client_killed):
    """docs/cases.md, X38: the server, or the command, is killed while a file is on its way."""
    server = SftpServer(tmp_path / "sftp" / "root")
    server.folder.parent.mkdir()
    with server.running("--bwlimit", "20k") as slow:
        command = copied.start("deliver", **to_sftp(server))
        deadline = time.monotonic() + 30
        while not [path for path in server.files.rglob(".*.unfinished") if path.stat().st_size]:
            assert command.poll() is None, command.communicate()
            assert time.monotonic() < deadline
        if is_client_killed:
            command.send_signal(signal.SIGKILL)
        else:
            slow.kill()
        said = "".join(command.communicate())
    assert command.returncode == (-signal.SIGKILL if is_client_killed else 1), said
    assert "Traceback" not in said
    assert SECRET not in said
    published, there = published_bytes(copied), delivered_bytes(server.files)
    whole = {name: data for name, data in there.items() if not name.endswith(".unfinished")}
    assert whole.items() < published.items()
    assert len(there) == len(whole) + 1
    assert f"{CLOSED[0]}/r1/manifest.json" not in whole
    assert receipts_of(copied) == []
    with server.running():
        rows = json.loads(answer(copied.points("deliver", "--json", **to_sftp(server))))["delivered"]
    assert sum(row["sent"] for row in rows) == len(published) - len(whole)
    assert delivered_bytes(server.files) == published
    assert receipts_of(copied) == [(month, 1, server.name) for month in CLOSED]


def test_what_was_sent_before_its_receipt_is_read_back_and_recorded(copied, s3, monkeypatch):
    """docs/cases.md, X38: a kill between the last file and the receipt leaves no trace but the files."""
    settings = copied.settings(POINTS_DELIVER_TO=s3.url)
    with monkeypatch.context() as patched:
        patched.setattr(month_delivery, "record_receipt", lambda *facts: (_ for _ in ()).throw(KeyError))
        with pytest.raises(KeyError):
            deliver_due(settings)
    assert receipts_of(copied) == []
    deliveries = deliver_due(settings)
    assert [(done.month, done.sent > 0) for done in deliveries.done] == [
        ("2025-01/r1", False),
        ("2025-02/r1", True),
    ]
    assert receipts_of(copied) == [(month, 1, s3.url) for month in CLOSED]


@pytest.mark.parametrize("kind", ["folder", "sftp", "s3"])
def test_another_file_at_the_destination_is_left_and_refused(copied, folder, sftp, s3, kind):
    """docs/cases.md, X39."""
    url, name, files = {
        "folder": (url_of(folder), url_of(folder), folder),
        "sftp": (sftp.url, sftp.name, sftp.files),
        "s3": (s3.url, s3.url, s3.files),
    }[kind]
    altered = files / CLOSED[0] / "r1" / "outstanding_points.csv"
    altered.parent.mkdir(parents=True)
    altered.write_text("made by hand\n")
    result = copied.points("deliver", **{**to_sftp(sftp), "POINTS_DELIVER_TO": url})
    file = f"{CLOSED[0]}/r1/outstanding_points.csv"
    assert refusal(result) == f"{DeliveredAltered(file, name)}\n"
    assert altered.read_text() == "made by hand\n"
    assert not altered.with_name("manifest.json").exists()
    assert receipts_of(copied) == [(CLOSED[1], 1, name)]


@pytest.mark.parametrize("case", ["unknown", "changed", "no file"])
def test_a_server_whose_key_is_not_known_gets_nothing(copied, tmp_path, case):
    """docs/cases.md, S34."""
    server = SftpServer(tmp_path / "sftp" / "root")
    server.folder.parent.mkdir()
    with server.running():
        pass
    if case == "changed":
        server.change_key()
    elif case == "unknown":
        server.known_hosts.write_text("")
    else:
        server.known_hosts.unlink()
    known = server.known_hosts
    problem = (
        f"its key is not known, for there is no file {known}: get the key from who runs the server and put it"
        " there, or set POINTS_SFTP_KNOWN_HOSTS"
        if case == "no file"
        else f"its key is not the one in {known}: ask who runs the server whether it has a new one, for"
        " another machine may answer in its place"
    )
    with server.running():
        result = copied.points("deliver", **to_sftp(server))
    assert refusal(result) == f"{DestinationFailed(f'{CLOSED[0]}/r1', server.name, problem)}\n"
    assert delivered_bytes(server.files) == {}
    assert receipts_of(copied) == []


def test_a_destination_that_fails_holds_no_other_one_up(copied, folder, sftp, s3, monkeypatch):
    """docs/cases.md, X38: no such folder, a wrong password, wrong keys."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    wrong = sftp.url.replace(SECRET_IN_URL, "wrong-secret")
    urls = [f"{url_of(folder)}-gone", wrong, s3.url, url_of(folder)]
    settings = copied.settings(**{**to_sftp(sftp), "POINTS_DELIVER_TO": " ".join(urls)})
    deliveries = deliver_due(settings)
    lacking = [
        finding
        for finding in examine(
            {"POINTS_HOME": str(copied.path), "POINTS_DELIVER_TO": " ".join(urls)}, {}, ""
        ).findings
        if finding.subject == "delivery"
    ]
    assert [finding.verdict for finding in lacking] == ["warning"] * 3
    assert lacking[2].sentence == f"{s3.url} was not delivered 2 months, from {CLOSED[0]}/r1 on."
    assert delivered_bytes(folder) == published_bytes(copied)
    assert {done.destination for done in deliveries.done} == {url_of(folder)}
    assert [type(error) for error in deliveries.failures] == [DestinationFailed] * 3
    assert deliveries.failures[0].problem == "there is no such folder"
    assert deliveries.failures[1].problem == "it does not let the user in with that password or key"
    assert "wrong-secret" not in "".join(error.sentence for error in deliveries.failures)
    assert delivered_bytes(sftp.files) == delivered_bytes(s3.files) == {}


def test_a_file_that_holds_no_known_keys_is_named(copied, sftp, tmp_path):
    """docs/cases.md, S34: also one in which the server has another kind of key."""
    problems = []
    other = asyncssh.generate_private_key("ssh-rsa").export_public_key().decode()
    for known in ("garbage", f"[127.0.0.1]:{sftp.port} {other}"):
        file = tmp_path / "known"
        file.write_text(known)
        settings = copied.settings(POINTS_DELIVER_TO=sftp.url, POINTS_SFTP_KNOWN_HOSTS=str(file))
        (failure,) = deliver_due(settings).failures
        problems.append(failure.problem)
    assert problems == [
        f"{file} is no file of known keys",
        "it ended the connection before it was known, as a server does whose key is of no kind that is in"
        f" {file}",
    ]
    assert delivered_bytes(sftp.files) == {}


def test_a_server_that_cannot_be_reached_is_one_sentence(copied, tmp_path, servers, monkeypatch):
    sftp = SftpServer(tmp_path / "sftp" / "root")
    with sftp.running():
        pass
    for name, value in S3Server(tmp_path / "none").environment.items():
        monkeypatch.setenv(name, value)
    to = {**to_sftp(sftp), "POINTS_DELIVER_TO": f"{sftp.url} s3://finance"}
    result = copied.points("deliver", **to)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 2, result.stderr
    assert "Traceback" not in result.stderr


def test_a_folder_without_room_is_one_sentence(copied, disk):
    """docs/cases.md, X38."""
    folder = disk.folder / "finance"
    folder.mkdir()
    settings = copied.settings(POINTS_DELIVER_TO=str(folder))
    with disk.nearly_full(4096):
        failures = deliver_due(settings).failures
    assert [type(error) for error in failures] == [DestinationFailed]
    assert not list(folder.rglob("manifest.json"))
    shutil.rmtree(folder)


def test_what_is_damaged_here_is_not_delivered(copied, folder):
    """docs/cases.md, X39."""
    damaged = copied.path / "published" / CLOSED[0] / "r1" / "outstanding_points.csv"
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes().replace(b"1", b"7", 1))
    deliveries = deliver_due(copied.settings(POINTS_DELIVER_TO=url_of(folder)))
    assert [type(error) for error in deliveries.failures] == [PublishedDamaged]
    assert [done.month for done in deliveries.done] == [f"{CLOSED[1]}/r1"]
    assert not (folder / CLOSED[0]).exists()


def test_readers_of_a_delivered_folder_are_those_of_the_settings(copied, folder):
    deliver_due(copied.settings(POINTS_DELIVER_TO=url_of(folder), POINTS_READERS="everyone"))
    month = folder / CLOSED[0]
    assert (month.stat().st_mode & 0o777, (month / "r1").stat().st_mode & 0o777) == (0o755, 0o755)
    assert {path.stat().st_mode & 0o777 for path in (month / "r1").iterdir()} == {0o444}


@pytest.mark.parametrize("kind", ["folder", "sftp", "s3"])
def test_what_arrives_otherwise_than_it_was_sent_gets_no_final_name(
    copied, folder, sftp, s3, kind, monkeypatch
):
    """docs/cases.md, X38: a fault on the way or on the disk over there."""
    url, files = {
        "folder": (url_of(folder), folder),
        "sftp": (sftp.url, sftp.files),
        "s3": (s3.url, s3.files),
    }[kind]
    altered = folder.with_name("altered.csv")
    altered.write_text("altered\n")

    async def put_altered(client, local, remote, **options):
        await put(client, str(altered), remote, **options)

    put = asyncssh.SFTPClient.put
    put_file = S3FileSystem.put_file
    copyfile = shutil.copyfile
    with monkeypatch.context() as patched:
        patched.setattr(asyncssh.SFTPClient, "put", put_altered)
        patched.setattr(stores.shutil, "copyfile", lambda local, there: copyfile(altered, there))
        patched.setattr(
            S3FileSystem,
            "put_file",
            lambda self, local, *where, **how: put_file(self, altered, *where, **how),
        )
        settings = copied.settings(**{**to_sftp(sftp), "POINTS_DELIVER_TO": url})
        (failure,) = deliver_due(settings).failures
    assert isinstance(failure, DestinationFailed)
    assert failure.problem.startswith(f"what was read back of {CLOSED[0]}/r1/")
    assert [name for name in delivered_bytes(files) if not name.endswith(".unfinished")] == []
    assert not deliver_due(settings).failures
    assert delivered_bytes(files) == published_bytes(copied)


def test_a_large_file_goes_in_parts(tmp_path, folder, sftp, s3):
    file = tmp_path / "posted_transfers.parquet"
    file.write_bytes(random.Random(4711).randbytes(20 * 2**20))
    sha256 = file_sha256(file)
    settings = make_settings(
        tmp_path / "home", **{**to_sftp(sftp), "POINTS_DELIVER_TO": f"{url_of(folder)} {sftp.url} {s3.url}"}
    )
    for destination, files in zip(settings.deliver_to, (folder, sftp.files, s3.files), strict=True):
        with open_store(destination, settings) as store:
            assert store.sha256("2026-10/r1/posted_transfers.parquet") is None
            store.send(file, "2026-10/r1/posted_transfers.parquet", sha256)
            assert store.sha256("2026-10/r1/posted_transfers.parquet") == sha256
        assert [file_sha256(path) for path in files.rglob("*") if path.is_file()] == [sha256]


def test_the_next_revision_goes_beside_the_one_before(copied, folder):
    to = {"POINTS_DELIVER_TO": url_of(folder)}
    answer(copied.points("deliver", **to))
    before = published_bytes(copied)
    assert "Delivered" not in answer(copied.points("reopen", CLOSED[-1], "--reason", "Late", **to))
    said = answer(copied.points("close", CLOSED[-1], **to))
    assert said.endswith(f"Delivered: {CLOSED[-1]}/r2 to {url_of(folder)}.\n")
    assert delivered_bytes(folder) == published_bytes(copied)
    assert before.items() < delivered_bytes(folder).items()


def test_two_do_not_deliver_at_once(copied, folder):
    with delivery_lock(copied.path, "points deliver"), pytest.raises(RunInProgress):
        deliver_due(copied.settings(POINTS_DELIVER_TO=url_of(folder)))
    assert delivered_bytes(folder) == {}


def test_a_close_delivers_and_stands_where_that_fails(copied, folder):
    """docs/cases.md, X38."""
    gone = folder.with_name("gone")
    result = copied.points("close", NEXT, POINTS_DELIVER_TO=f"{gone} {url_of(folder)}")
    assert result.returncode == 1
    failed = DestinationFailed(f"{CLOSED[0]}/r1", f"file://{gone}", "there is no such folder")
    assert result.stderr == f"What is closed stays closed. {failed}\n"
    assert f"Delivered: {NEXT}/r1 to {url_of(folder)}.\n" in result.stdout
    assert copied.history().issued[NEXT].revision == 1
    gone.mkdir()
    answer(copied.points("deliver", POINTS_DELIVER_TO=f"{gone} {url_of(folder)}"))
    assert delivered_bytes(gone) == delivered_bytes(folder) == published_bytes(copied)


def test_the_schedule_delivers_until_it_is_done(copied, folder, tmp_path):
    """docs/cases.md, X38: an hour later again, and never twice at a time."""
    gone = folder.with_name("gone")
    settings = copied.settings(POINTS_DELIVER_TO=f"{gone} {url_of(folder)}")
    definitions = define(settings)
    schedule = definitions.resolve_schedule_def("deliver_months_hourly")
    job = definitions.resolve_job_def("deliver_months")
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:

        def tick() -> dg.RunRequest | str:
            at = datetime(2026, 11, 29, 6, 15, tzinfo=UTC)
            context = dg.build_schedule_context(instance=instance, scheduled_execution_time=at)
            result = schedule.evaluate_tick(context)
            return result.skip_message or result.run_requests[0].run_key

        assert tick() == "2026-11-29T06:15:00+00:00"
        run = job.execute_in_process(instance=instance, raise_on_error=False)
        (failed,) = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
        failure = failed.dagster_event.step_failure_data.user_failure_data.description
        assert (
            failure
            == DestinationFailed(f"{CLOSED[0]}/r1", f"file://{gone}", "there is no such folder").sentence
        )
        assert delivered_bytes(folder) == published_bytes(copied)
        assert tick() == "2026-11-29T06:15:00+00:00"
        going_on = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        assert tick() == "The delivery before goes on."
        instance.delete_run(going_on.run_id)
        gone.mkdir()
        assert job.execute_in_process(instance=instance).success
        assert delivered_bytes(gone) == published_bytes(copied)
        assert tick() == "Nothing is due."
    assert set(MonthEndEntry.objects.values_list("recorded_by", flat=True)) == {"schedule"}


def test_where_there_is_no_ledger_the_schedule_has_nothing_to_deliver(tmp_path):
    schedule = define(
        make_settings(tmp_path / "home", POINTS_DELIVER_TO="/srv/finance")
    ).resolve_schedule_def("deliver_months_hourly")
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_schedule_context(instance=instance, scheduled_execution_time=datetime.now(UTC))
        assert schedule.evaluate_tick(context).skip_message.startswith("There is no ledger in ")


@pytest.mark.parametrize(
    ("text", "destination", "name"),
    [
        ("/srv/finance/", Destination("file", "", "/srv/finance"), "file:///srv/finance"),
        (
            "file:///srv/for%20finance",
            Destination("file", "", "/srv/for finance"),
            "file:///srv/for%20finance",
        ),
        ("s3://points", Destination("s3", "points", ""), "s3://points"),
        (
            "s3://points/closed//months/",
            Destination("s3", "points", "closed/months"),
            "s3://points/closed/months",
        ),
        ("sftp://host", Destination("sftp", "host", "/"), "sftp://host/"),
        ("sftp://[::1]:22/in", Destination("sftp", "::1", "/in"), "sftp://[::1]/in"),
        (
            f"sftp://ada:{SECRET_IN_URL}@Host.example:2222/in",
            Destination("sftp", "host.example", "/in", 2222, "ada", SECRET),
            "sftp://ada@host.example:2222/in",
        ),
    ],
)
def test_a_destination_is_a_url_with_one_name(text, destination, name):
    assert read_destinations(f" {text}\n{text} ") == (destination,)
    assert destination.name == name
    assert SECRET not in repr(destination)


@pytest.mark.parametrize(
    "text",
    [
        f"gs://{SECRET}/x",
        "relative/folder",
        "file://host/folder",
        f"sftp://ada:{SECRET}@host/in",
        f"s3://ada:{SECRET_IN_URL}@bucket/x",
        "s3://Bucket_Name",
        "sftp://host:99999/in",
        "/srv/../etc",
        f"https://{SECRET_IN_URL}",
    ],
)
def test_what_is_no_destination_is_refused_and_not_shown(text):
    with pytest.raises(SettingInvalid) as refused:
        Settings.from_environment({"POINTS_DELIVER_TO": text})
    assert refused.value.value == "…"
    assert not [secret for secret in SECRETS if secret in refused.value.sentence]
