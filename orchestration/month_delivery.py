"""Delivers the files of closed months to where POINTS_DELIVER_TO says, each revision once, and announces it.

Due is every month that readers have and for which a destination has no receipt in the ledger
(`ledger.receipts`). A delivery that was cut off leaves no receipt: the next one reads back what is there,
sends what is not, and records it. The manifest goes last, so where it is, all is (docs/design.md, section 9).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ledger.closes import ClosedMonth, CloseHistory, read_history
from ledger.database import Ledger, open_ledger
from ledger.destinations import Destination
from ledger.errors import PointsError
from ledger.receipts import DELIVERED, receipts, record_receipt
from ledger.settings import Settings
from orchestration.alerts import configured_ways
from orchestration.announcements import Announced, announce_due, find_announcements
from orchestration.delivery import NotDelivered
from orchestration.published.layout import MANIFEST_NAME, revision_folder
from orchestration.published.manifests import bytes_of_files, checked_manifest
from orchestration.run_lock import delivery_lock
from orchestration.stores import Store, open_store


class DestinationFailed(PointsError):
    """A month could not be delivered to a destination, which gets no further one for now."""

    code = "NOT_DELIVERED"

    def __init__(self, month: str, destination: str, problem: str) -> None:
        super().__init__(
            f"{month} could not be delivered to {destination}: {problem}; what is not there yet has no final"
            " name, and once that is fixed `points deliver`, the next close or the schedule tries again."
        )


class DeliveredAltered(PointsError):
    """A file that was delivered, or another one of its name, is there with other content."""

    code = "DELIVERED_ALTERED"

    def __init__(self, file: str, destination: str) -> None:
        super().__init__(
            f"{destination}/{file} is there and is not what was published, so it was left as it is and the"
            " month is not delivered; find out who put it there, move it away and run `points deliver`."
        )


@dataclass(frozen=True)
class Delivery:
    """One revision at one destination: ``sent`` counts its files that were not there before."""

    month: str
    destination: str
    files: int
    sent: int
    bytes: int


@dataclass(frozen=True)
class Deliveries:
    """What was delivered and announced, and what could not be."""

    done: tuple[Delivery, ...]
    announced: tuple[Announced, ...]
    failures: tuple[PointsError, ...]


Due = list[tuple[Destination, list[ClosedMonth]]]


def has_receivers(settings: Settings) -> bool:
    """Whether anything is delivered or announced at all."""
    return bool(settings.deliver_to or configured_ways(settings))


def find_due(settings: Settings, history: CloseHistory) -> Due:
    """The destinations that lack something, each with the months that it lacks, the oldest first."""
    had = receipts(DELIVERED)
    lacking = (
        (
            destination,
            [
                closed
                for closed in history.issued.values()
                if (closed.manifest_sha256, destination.name) not in had
            ],
        )
        for destination in settings.deliver_to
    )
    return [(destination, months) for destination, months in lacking if months]


def is_anything_due(settings: Settings, history: CloseHistory) -> bool:
    """Whether `deliver_due` would have something to do."""
    announcements = (find_announcements(history, way) for way in configured_ways(settings))
    return bool(find_due(settings, history) or any(announcements))


def deliver_due(
    settings: Settings,
    report: Callable[[str], None] = lambda sentence: None,
    wait_seconds: float = 0.0,
) -> Deliveries:
    """Announce and deliver all that is due. What fails holds nothing else up.

    ``report`` is given a line as each month begins. Raises `RunInProgress` where another process delivers
    and does not end in ``wait_seconds``, and what opening the ledger does.
    """
    ledger = open_ledger(settings)
    done: list[Delivery] = []
    announced: list[Announced] = []
    failures: list[PointsError] = []
    with delivery_lock(settings.home, "points deliver", wait_seconds):
        history = read_history()
        # Before the deliveries, which may take long.
        for outcome in announce_due(ledger, history):
            (announced if isinstance(outcome, Announced) else failures).append(outcome)
        for destination, months in find_due(settings, history):
            for outcome in _deliver_months(ledger, destination, months, report):
                (done if isinstance(outcome, Delivery) else failures).append(outcome)
    return Deliveries(tuple(done), tuple(announced), tuple(failures))


def _deliver_months(
    ledger: Ledger, destination: Destination, months: list[ClosedMonth], report: Callable[[str], None]
) -> Iterator[Delivery | PointsError]:
    """Each month's delivery, or why there is none."""
    closed = months[0]
    try:
        with open_store(destination, ledger.settings) as store:
            for closed in months:
                report(f"{closed.name} to {destination.name}")
                try:
                    delivery = _deliver(store, ledger, destination, closed)
                except PointsError as error:
                    yield error  # of this month's files alone
                else:
                    yield delivery
    except NotDelivered as error:
        yield DestinationFailed(closed.name, destination.name, str(error))


def _deliver(store: Store, ledger: Ledger, destination: Destination, closed: ClosedMonth) -> Delivery:
    """Deliver one revision, and record it. Raises `NotDelivered`, `DeliveredAltered`, `PublishedDamaged`."""
    folder = revision_folder(ledger.settings.home, closed.report_month, closed.revision)
    manifest = checked_manifest(closed, folder)
    hashes = {name: facts["sha256"] for name, facts in manifest["files"].items()}
    hashes[MANIFEST_NAME] = closed.manifest_sha256
    sent = 0
    for name, sha256 in hashes.items():
        file = f"{closed.name}/{name}"
        found = store.sha256(file)
        if found is None:
            store.send(folder / name, file, sha256)
            sent += 1
        elif found != sha256:
            raise DeliveredAltered(file, destination.name)
    size = bytes_of_files(manifest) + (folder / MANIFEST_NAME).stat().st_size
    record_receipt(ledger, closed, DELIVERED, destination.name, {"files": len(hashes), "bytes": size})
    return Delivery(closed.name, destination.name, len(hashes), sent, size)
