"""Written by hand: each rarer thing once, for the first customers, in numbers that one can add up."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial

from simulator.agenda import Agenda
from simulator.feed import Feed
from simulator.members import relation_reference
from simulator.transfer_files import UNITS, Row, SimulatedTransfer, read_instant


@dataclass(frozen=True)
class _Scene:
    """A scripted transfer of these `values`; without them, another status of the one called `name`.

    `reverses` is such a name too, or an id that the programme does not know.
    """

    at: str
    name: str
    status: str
    reverses: str = ""
    values: dict[str, str | int] | None = None


def _transfer(
    style: str,
    at: str,
    customer: int,
    points: str,
    reason: str = "rule_credit",
    *,
    name: str = "",
    status: str = "approved",
    reverses: str = "",
    **rest: str,
) -> _Scene:
    values = {"relation_reference": relation_reference(customer), "style": style, "reason": reason}
    return _Scene(at, name, status, reverses, {**values, "points": int(Decimal(points) * UNITS), **rest})


_give = partial(_transfer, "give")
_deduct = partial(_transfer, "deduct")
_change = _Scene

_SCENES = (
    # 1: the programme's first and last second, and both sides of midnight between two months
    _give("2025-09-01T00:00:00Z", 1, "100", comment="The programme's first transfer"),
    _give("2025-12-31T23:59:59Z", 1, "40.5"),
    _give("2026-01-01T00:00:00Z", 1, "60.25"),
    _deduct("2026-02-10T12:00:00Z", 1, "100", "redemption", external_reference="VCH-DEMO-01"),
    _give("2026-10-31T23:59:59Z", 1, "0.0001", comment="The smallest amount there is"),
    # 2: every reason to earn, and an adjustment both ways: 100+50+75+150+25.5+10-10.5 = 400
    _give("2026-01-05T09:00:00Z", 2, "100"),
    _give("2026-01-06T09:00:00Z", 2, "50", "tier_bonus"),
    _give("2026-01-07T09:00:00Z", 2, "75", "campaign_bonus"),
    _give("2026-01-08T09:00:00Z", 2, "150", "referral_bonus"),
    _give("2026-01-09T09:00:00Z", 2, "25.5", "manual_credit", comment="Späte Lieferung, 謝罪 🙏"),
    _give("2026-01-10T09:00:00Z", 2, "10", "admin_adjustment", comment="Counted by hand"),
    _deduct("2026-01-11T09:00:00Z", 2, "10.5", "admin_adjustment", comment="Counted again"),
    # 3: a chain: earned 500, revoked 500, that revoked 500, of that revoked 200: 300 stay
    _give("2025-11-03T10:00:00Z", 3, "500", name="chain 0", external_reference="ORD-DEMO-03"),
    _deduct("2025-11-10T10:00:00Z", 3, "500", "revocation", name="chain 1", reverses="chain 0"),
    _give("2025-12-02T10:00:00Z", 3, "500", "revocation", name="chain 2", reverses="chain 1"),
    _deduct("2026-01-15T10:00:00Z", 3, "200", "revocation", reverses="chain 2"),
    # 4: a voucher cancelled, and one cancelled by mistake: 1000-600+600-300+300-300 = 700
    _give("2026-03-02T10:00:00Z", 4, "1000"),
    _deduct(
        "2026-03-10T10:00:00Z",
        4,
        "600",
        "redemption",
        name="voucher",
        external_reference="VCH-DEMO-04A",
    ),
    _give("2026-04-01T10:00:00Z", 4, "600", "revocation", reverses="voucher"),
    _deduct(
        "2026-04-12T10:00:00Z",
        4,
        "300",
        "redemption",
        name="kept voucher",
        external_reference="VCH-DEMO-04B",
    ),
    _give("2026-04-20T10:00:00Z", 4, "300", "revocation", name="slip", reverses="kept voucher"),
    _deduct("2026-04-20T10:05:00Z", 4, "300", "revocation", reverses="slip"),
    # 5: an order returned in two parts, 60 and 90 of 200, and a voucher handed back at the counter
    _give("2026-05-04T10:00:00Z", 5, "200", name="order in parts"),
    _deduct("2026-05-09T10:00:00Z", 5, "60", "revocation", reverses="order in parts"),
    _deduct("2026-06-01T10:00:00Z", 5, "90", "revocation", reverses="order in parts"),
    _deduct("2026-06-02T10:00:00Z", 5, "50", "redemption", external_reference="VCH-DEMO-05"),
    _give("2026-06-03T10:00:00Z", 5, "50", "redemption", external_reference="VCH-DEMO-05"),
    # 6: what expired is given back, and spent
    _give("2025-09-10T10:00:00Z", 6, "250.5"),
    _deduct("2026-09-11T02:00:00Z", 6, "250.5", "expiry", name="expiry"),
    _give("2026-09-15T10:00:00Z", 6, "250.5", "revocation", name="goodwill", reverses="expiry"),
    _deduct("2026-10-02T10:00:00Z", 6, "250", "redemption", external_reference="VCH-DEMO-06"),
    # 7: spent, then the order returned: 300 below zero in March and April
    _give("2026-02-02T10:00:00Z", 7, "300", name="spent order"),
    _deduct("2026-02-03T10:00:00Z", 7, "300", "redemption", external_reference="VCH-DEMO-07"),
    _deduct("2026-03-05T10:00:00Z", 7, "300", "revocation", reverses="spent order"),
    _give("2026-05-20T10:00:00Z", 7, "450"),
    # 8: closed from below zero, so that the closure gives
    _give("2026-04-07T10:00:00Z", 8, "200", name="order before leaving"),
    _deduct("2026-04-08T10:00:00Z", 8, "200", "redemption", external_reference="VCH-DEMO-08"),
    _deduct("2026-04-28T10:00:00Z", 8, "120", "revocation", reverses="order before leaving"),
    _give("2026-06-15T10:00:00Z", 8, "120", "account_closure"),
    # 9: closed in both currencies, to the last decimal
    _give("2025-12-10T10:00:00Z", 9, "310.1234"),
    _give("2025-12-10T10:00:00Z", 9, "75.5", currency="MILES"),
    _deduct("2026-05-01T10:00:00Z", 9, "310.1234", "account_closure"),
    _deduct("2026-05-01T10:00:00Z", 9, "75.5", "account_closure", currency="MILES"),
    # 10: a closed account goes on: two discrepancies
    _give("2026-01-12T10:00:00Z", 10, "80"),
    _deduct("2026-07-01T10:00:00Z", 10, "80", "account_closure"),
    _give("2026-08-03T10:00:00Z", 10, "35", comment="After closure, on purpose"),
    _deduct("2026-09-03T10:00:00Z", 10, "35", "redemption", external_reference="VCH-DEMO-10"),
    # 11: a revocation of a transfer that nobody knows
    _give("2026-02-16T10:00:00Z", 11, "400"),
    _deduct("2026-03-16T10:00:00Z", 11, "80", "revocation", reverses="OLD-0004711"),
    # 12: 250 revoked of 200
    _give("2026-03-03T10:00:00Z", 12, "500"),
    _give("2026-03-04T10:00:00Z", 12, "200", name="small order"),
    _deduct("2026-03-24T10:00:00Z", 12, "250", "revocation", reverses="small order"),
    # 13: a revocation of a transfer that was never approved
    _give("2026-06-08T10:00:00Z", 13, "300"),
    _give("2026-06-09T10:00:00Z", 13, "150", "campaign_bonus", status="pending", name="refused"),
    _change("2026-06-20T10:00:00Z", "refused", "cancelled"),
    _deduct("2026-06-25T10:00:00Z", 13, "150", "revocation", reverses="refused"),
    # 14: to and fro between pending and on hold, approved two months on; and what still waits
    _give("2026-04-14T10:00:00Z", 14, "700", status="pending", name="to and fro"),
    _change("2026-04-20T10:00:00Z", "to and fro", "on_hold"),
    _change("2026-05-06T10:00:00Z", "to and fro", "pending"),
    _change("2026-05-21T10:00:00Z", "to and fro", "on_hold"),
    _change("2026-06-04T10:00:00Z", "to and fro", "approved"),
    _deduct(
        "2026-06-11T10:00:00Z",
        14,
        "90",
        "redemption",
        status="on_hold",
        name="never sent",
        external_reference="VCH-DEMO-14A",
    ),
    _change("2026-07-02T10:00:00Z", "never sent", "cancelled"),
    _give("2026-08-20T10:00:00Z", 14, "55", "referral_bonus", status="pending"),
    _give("2026-09-21T10:00:00Z", 14, "65", "manual_credit", status="on_hold"),
    _deduct(
        "2026-10-12T10:00:00Z",
        14,
        "40",
        "redemption",
        status="pending",
        external_reference="VCH-DEMO-14B",
    ),
    # 15: comments that an export has to make harmless
    _give("2026-05-11T10:00:00Z", 15, "20", comment='=HYPERLINK("http://example.com")'),
    _give("2026-05-12T10:00:00Z", 15, "30", comment="Called on Monday.\nPromised 30 points."),
    _give("2026-05-13T10:00:00Z", 15, "40", comment='<b>5 > 4 & "so on"</b>, \'tis true'),
)
SCENE_CUSTOMERS = 15

# Rows that break one rule of the import each: when they stand in the file, and the fault.
_BAD_ROWS = (
    ("2025-10-20T09:00:00Z", {"points": "1e3"}),
    ("2025-11-20T09:00:00Z", {"reason": "birthday_bonus"}),
    ("2026-02-27T09:00:00Z", {"occurred_at": "2026-02-30T09:00:00Z"}),
    ("2026-04-22T09:00:00Z", {"transfer_id": "=T-0000000"}),
    ("2026-08-24T09:00:00Z", {"relation_reference": "C 000123"}),
)


class Stage:
    """Plays the scenes and the bad rows at their instants, beside the ordinary story."""

    def __init__(self, feed: Feed, agenda: Agenda) -> None:
        self._feed = feed
        self._agenda = agenda
        self._named: dict[str, SimulatedTransfer] = {}

    def plan_scenes(self) -> None:
        for scene in _SCENES:
            play = self._play if scene.values else self._play_status
            self._agenda.plan(read_instant(scene.at), partial(play, scene))
        for at, fault in _BAD_ROWS:
            self._agenda.plan(read_instant(at), partial(self._play_bad_row, fault))

    def _play(self, scene: _Scene, now: datetime) -> None:
        original = self._named.get(scene.reverses)
        transfer = self._feed.make_transfer(
            occurred_at=now,
            reverses_transfer_id=original.transfer_id if original else scene.reverses,
            **scene.values,
        )
        self._feed.add(transfer, scene.status)
        if scene.name:
            self._named[scene.name] = transfer

    def _play_status(self, scene: _Scene, now: datetime) -> None:
        self._feed.add_status(self._named[scene.name], scene.status, now)

    def _play_bad_row(self, fault: Row, now: datetime) -> None:
        scene = _give("", 2, "1000")
        self._feed.add_bad_row(self._feed.make_transfer(occurred_at=now, **scene.values), fault)
