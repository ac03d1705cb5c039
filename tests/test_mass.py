"""Many transfers in one request, all or nothing (docs/design.md, section 10; docs/cases.md, C7)."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from ledger.acts.mass import mass_rows, read_mass_file, record_mass
from ledger.acts.repeated_customers import CustomerRepeated, RepeatedCustomer
from ledger.acts.transfer_requests import TransferRequest
from ledger.acts.transfers import give
from ledger.balances import balances_of
from ledger.files.transfers_file import TransfersFileRefused
from ledger.identifiers import IdConflict
from ledger.links import ledger_head
from ledger.models import Batch, ChainLink, Transfer
from ledger.refusals import SeveralRefused
from tests.conftest import answer, refusal

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
ANY = TransferRequest("", "", "")


@pytest.fixture
def ledger(ledger_home):
    return ledger_home.open(clock=lambda: NOW)


def written(folder: Path, text: str | bytes, name: str = "mass.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def record_file(ledger, path: Path, defaults: TransferRequest = ANY, **options):
    file = read_mass_file(path, defaults)
    return record_mass(ledger, file.rows, file_name=file.name, file_sha256=file.sha256, **options)


def spendable(relation: str) -> Decimal:
    return balances_of([relation], NOW)[relation, "POINTS"].spendable_points


def test_many_customers_get_the_same(ledger):
    request = TransferRequest("", "give", "50", reason="manual_credit", comment="sorry")
    outcome = record_mass(ledger, mass_rows(request, ["C-1", "C-2"]), mass_id="M-1", new=True)
    assert (outcome.batch_id, outcome.added_count) == ("M-1", 2)
    assert outcome.points_by_currency == {"POINTS": 100}
    kept = Transfer.objects.order_by("entry_id")
    assert list(
        kept.values_list("transfer_id", "relation_reference", "points", "reason", "batch_id", "comment")
    ) == [
        ("M-1-1", "C-1", 50, "manual_credit", "M-1", "sorry"),
        ("M-1-2", "C-2", 50, "manual_credit", "M-1", "sorry"),
    ]
    batch = Batch.objects.get()
    assert (batch.origin, batch.entry_id, batch.last_entry_id) == ("mass", 1, 3)
    assert (batch.row_count, batch.added_count, batch.recorded_by) == (2, 2, "ada")
    assert list(ChainLink.objects.values_list("first_entry_id", "last_entry_id")) == [(1, 3)]


def test_a_mass_is_repeatable_as_a_whole(ledger):
    """docs/cases.md, C8, R2 and R3."""
    request = TransferRequest("", "give", "50")
    record_mass(ledger, mass_rows(request, ["C-1", "C-2"]), mass_id="M-1", new=True)
    again = record_mass(ledger, mass_rows(request, ["C-1", "C-2"]), mass_id="M-1")
    assert (again.batch_id, again.added_count, len(again.transfers)) == ("M-1", 0, 2)
    assert ledger_head().entry_id == 3
    for references in (["C-1"], ["C-1", "C-2", "C-1"]):
        with pytest.raises(IdConflict):
            record_mass(ledger, mass_rows(request, references), mass_id="M-1")
    with pytest.raises(SeveralRefused) as refused:
        record_mass(ledger, mass_rows(request, ["C-2", "C-1"]), mass_id="M-1")
    assert refused.value.codes == {"ID_CONFLICT"}
    assert ledger_head().entry_id == 3


def test_one_bad_row_refuses_all_and_every_bad_row_is_reported(ledger, tmp_path):
    """docs/cases.md, C7, F7, F11, R1, R6, R8, R15 to R17."""
    give(ledger, "C-1", "100", new=True, transfer_id="T-1")
    path = written(
        tmp_path,
        "transfer_id,relation_reference,style,points,reason,comment\n"
        "M-1,C-1,give,5,,\n"
        ",C-1,give,1e3,,\n"
        ",,give,5,,\n"
        ",C-1,give,5,expiry,\n"
        ",C-1,give,5,,,surplus\n"
        ",C-1,give,5\n"
        ',C-1,give,5,,"line\nbreak"\n'
        ",C-1,give,5,,a\x07b\n"
        ",C-9,give,5,,\n"
        ",C-1,deduct,500,,\n"
        "T-1,C-1,give,99,,\n"
        ",C-1,lend,5,,\n",
    )
    with pytest.raises(SeveralRefused) as refused:
        record_file(ledger, path)
    assert [(problem.place, problem.error.code) for problem in refused.value.problems] == [
        ("line 3", "POINTS"),
        ("line 4", "RELATION_REFERENCE"),
        ("line 5", "REASON"),
        ("line 6", "FIELDS"),
        ("line 7", "FIELDS"),
        ("line 10", "CONTROL_CHAR"),
        ("line 11", "UNKNOWN_RELATION"),
        ("line 12", "NOT_ENOUGH"),
        ("line 13", "ID_CONFLICT"),
        ("line 14", "STYLE"),
    ]
    assert ledger_head().entry_id == 1


def test_a_file_says_what_it_says_and_the_rest_is_as_said_beside_it(ledger, tmp_path):
    path = written(
        tmp_path,
        "\ufeffpoints,relation_reference,currency,transfer_id,occurred_at,external_reference,reason\n"
        "10,C-1,,,,,\n"
        "2.5,C-2,MILES,OWN-1,2026-03-01T00:00:00Z,ORDER-7,redemption\n",
    )
    defaults = TransferRequest("", "give", "", reason="manual_credit", comment="sorry")
    outcome = record_file(ledger, path, defaults, mass_id="M-1", new=True)
    first, second = outcome.transfers
    assert (first.transfer_id, first.currency, first.reason) == ("M-1-2", "POINTS", "manual_credit")
    assert (first.occurred_at, first.comment) == (NOW, "sorry")
    assert (second.transfer_id, second.currency, second.reason) == ("OWN-1", "MILES", "redemption")
    assert (second.occurred_at, second.external_reference) == (datetime(2026, 3, 1, tzinfo=UTC), "ORDER-7")
    batch = Batch.objects.get()
    assert (batch.file_name, len(batch.file_sha256)) == ("mass.csv", 64)


def test_the_same_file_again_adds_nothing(ledger, tmp_path):
    """docs/cases.md, F10 and R2."""
    path = written(
        tmp_path,
        "transfer_id,relation_reference,style,points\nT-1,C-1,give,5\nT-2,C-1,give,6\nT-1,C-1,give,5.0\n",
    )
    assert record_file(ledger, path, new=True).added_count == 2
    head = ledger_head()
    again = record_file(ledger, path)
    assert (again.added_count, again.batch_id, len(again.transfers)) == (0, "", 3)
    assert ledger_head() == head
    assert Batch.objects.get().duplicate_count == 1


@pytest.mark.parametrize(
    ("code", "content"),
    [
        ("FILE_EMPTY", b""),
        ("HEADER", b"relation_reference,style\nC-1,give\n"),
        ("HEADER", b"relation_reference,style,points,points\nC-1,give,5,5\n"),
        ("HEADER", b"relation_reference,style,points,status\nC-1,give,5,approved\n"),
        ("HEADER", b"relation_reference,points\nC-1,5\n"),
        ("HEADER", b"relation_reference;style;points\nC-1;give;5\n"),
        ("QUOTE", b'relation_reference,style,points\nC-1,give,"5\nC-2,give,5\n'),
        ("ENCODING", b"relation_reference,style,points\nC-1\xff,give,5\n"),
        ("NOT_CSV", b"PK\x03\x04rubbish"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, code, content):
    """docs/cases.md, F1, F3, F5, F6, F8 and F12; `style` may be said beside the file, `status` may not be
    said."""
    with pytest.raises(TransfersFileRefused) as refused:
        read_mass_file(written(tmp_path, content), ANY)
    assert refused.value.code == code


def test_a_file_without_rows_is_nothing_to_do(ledger, tmp_path):
    """docs/cases.md, F2."""
    outcome = record_file(ledger, written(tmp_path, "relation_reference,style,points\n"))
    assert (outcome.transfers, outcome.batch_id) == ((), "")
    assert ledger_head().entry_id == 0


def test_a_parquet_file_will_do_too(ledger, tmp_path):
    path = tmp_path / "mass.parquet"
    duckdb.sql(
        "select 'C-1' as relation_reference, 'give' as style, cast(2.5 as decimal(18, 4)) as points"
    ).write_parquet(str(path))
    (transfer,) = record_file(ledger, path, mass_id="M", new=True).transfers
    assert (transfer.transfer_id, transfer.points) == ("M-1", Decimal("2.5"))


def test_the_deducts_of_a_mass_count_together(ledger):
    """docs/cases.md, R16."""
    give(ledger, "C-1", "100", new=True)
    rows = mass_rows(TransferRequest("", "deduct", "60"), ["C-1", "C-1"])
    with pytest.raises(SeveralRefused) as refused:
        record_mass(ledger, rows)
    (problem,) = refused.value.problems
    assert (problem.place, problem.error.spendable_points) == ("C-1", 40)
    record_mass(ledger, rows, allow_negative=True)
    assert spendable("C-1") == -20


def test_what_a_mass_gives_counts_before_what_it_deducts(ledger, tmp_path):
    path = written(tmp_path, "relation_reference,style,points\nC-1,deduct,30\nC-1,give,30\n")
    record_file(ledger, path, new=True)
    assert spendable("C-1") == 0


def test_a_customer_who_stands_twice_is_named_with_the_sum(ledger, tmp_path):
    """docs/cases.md, C15."""
    path = written(
        tmp_path,
        "relation_reference,style,points,currency\n"
        "C-1,give,30,\nC-2,give,1,\nC-1,deduct,10.5,\nC-1,give,7,MILES\n",
    )
    outcome = record_file(ledger, path, new=True, mass_id="M-1")
    assert outcome.added_count == 4
    assert outcome.repeated_customers == (
        RepeatedCustomer("C-1", 3, {"POINTS": Decimal("19.5"), "MILES": Decimal(7)}),
    )


def test_once_each_refuses_every_row_of_a_customer_after_the_first(ledger, tmp_path):
    """docs/cases.md, C15."""
    path = written(tmp_path, "relation_reference,points\nC-1,1\nC-2,1\nC-1,0\nC-1,2\nC-2,3\n")
    with pytest.raises(SeveralRefused) as refused:
        record_file(ledger, path, TransferRequest("", "give", ""), new=True, once_each=True)
    found = {problem.place: problem.error for problem in refused.value.problems}
    assert list(found) == ["line 4", "line 5", "line 6"]
    assert found["line 4"].code == "POINTS"
    assert (found["line 5"].relation_reference, found["line 5"].first_place) == ("C-1", "line 2")
    assert isinstance(found["line 6"], CustomerRepeated)
    assert ledger_head().entry_id == 0
    with pytest.raises(SeveralRefused) as refused:
        record_mass(ledger, mass_rows(TransferRequest("", "give", "5"), ["C-1", "C-1"]), once_each=True)
    assert {type(problem.error) for problem in refused.value.problems} >= {CustomerRepeated}
    rows = mass_rows(TransferRequest("", "give", "5"), ["C-1", "C-2"])
    assert record_mass(ledger, rows, new=True, once_each=True).repeated_customers == ()


def test_the_command_warns_of_a_customer_who_stands_twice(points, tmp_path):
    """docs/cases.md, C15."""
    arguments = ("mass", "give", "--points", "5", "C-1", "C-2", "C-1", "--new", "--id", "M-1")
    home = tmp_path / "home"
    refused = refusal(points(*arguments, "--once-each", home=home))
    assert refused.splitlines()[0] == f"C-1: {CustomerRepeated('C-1', 'C-1')}"
    done = points(*arguments, home=home)
    assert answer(done) == "3 transfers of mass M-1, 15 POINTS.\n"
    assert done.stderr == "C-1 stands in 2 rows, together 10 POINTS; --once-each refuses that.\n"
    again = json.loads(answer(points(*arguments, "--json", home=home)))
    assert again["warnings"] == [done.stderr.strip()]


def test_a_dry_run_of_a_mass_keeps_nothing(ledger):
    rows = mass_rows(TransferRequest("", "give", "5"), ["C-1", "C-2"])
    assert record_mass(ledger, rows, new=True, dry_run=True).added_count == 2
    assert ledger_head().entry_id == 0


def test_the_command_records_a_mass(points, ledger_home, tmp_path):
    def run(*arguments):
        return points("mass", *arguments, home=ledger_home.home, **ledger_home.environment)

    arguments = ("give", "--points", "2.5", "C-1", "C-2", "--id", "M-1", "--new")
    assert run(*arguments).stdout == "2 transfers of mass M-1, 5 POINTS.\n"
    assert run(*arguments).stdout == (
        "Nothing was added: 2 transfers of mass M-1, 5 POINTS, were recorded before.\n"
    )
    path = written(tmp_path, "relation_reference,points\nC-1,1\nC-9,-1\nC-9,1\n")
    refused = run(str(path), "--style", "deduct")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert [line.split(":")[0] for line in refused.stderr.splitlines()[:2]] == ["line 3", "line 4"]
    path = written(tmp_path, "relation_reference,points\nC-1,1\nC-2,1\n")
    found = json.loads(run(str(path), "--style", "deduct", "--id", "M-2", "--json").stdout)
    assert [transfer["transfer_id"] for transfer in found["transfers"]] == ["M-2-2", "M-2-3"]
    missing = run("no-such.csv", "--style", "give")
    assert missing.returncode == 1
    assert missing.stderr.startswith("NOT_FOUND: ")
    for wrong in (
        ("give", "C-1"),
        ("give", "--points", "5"),
        (str(path), "C-1"),
        (str(path), "--points", "5"),
    ):
        assert run(*wrong).returncode == 2, wrong
