"""Files that POINTS_TRANSFERS names: what is refused whole, with a sentence, and what is read."""

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from ledger.files import transfer_rows
from ledger.files.file_rows import LONGEST_ROW
from ledger.files.transfer_rows import write_transfer_rows
from ledger.files.transfers_file import TransfersFileRefused, check_transfers, list_files
from orchestration.build import NoMonths
from simulator.transfer_files import write_transfers
from tests.conftest import NEEDED, answer, assert_refused, read_rows, refusal, transfer

HEADER = ",".join(NEEDED)
ROW = "T-1,C-1,give,100,rule_credit,2026-03-10T12:00:00Z"


def refused_file(location: Path, look: Callable[[str], object] = check_transfers) -> TransfersFileRefused:
    with pytest.raises(TransfersFileRefused) as caught:
        look(str(location))
    return caught.value


def refusal_in_a_build(location: Path) -> TransfersFileRefused:
    """What shows only when the file is read."""
    return refused_file(location, lambda name: write_transfer_rows(name, location.with_suffix(".rows")))


def test_an_empty_file_is_refused(tmp_path):
    """docs/cases.md, F1."""
    (tmp_path / "a.csv").touch()
    assert refused_file(tmp_path / "a.csv").code == "FILE_EMPTY"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_refused(tmp_path, encoding):
    """docs/cases.md, F3."""
    (tmp_path / "a.csv").write_bytes(f"{HEADER}\n{ROW}\n".encode(encoding))
    assert refused_file(tmp_path / "a.csv").code == "ENCODING"


@pytest.mark.parametrize("ending", ["T-2,C-1,give,5", "T-2", 'T-2,C-1,give,5,"rule_cre'])
def test_a_file_that_ends_inside_a_row_is_refused(tmp_path, ending):
    """docs/cases.md, F9."""
    (tmp_path / "a.csv").write_text(f"{HEADER}\n{ROW}\n{ending}", encoding="utf-8")
    assert refusal_in_a_build(tmp_path / "a.csv").code == "TRUNCATED"
    with gzip.open(tmp_path / "b.csv.gz", "wt", encoding="utf-8") as file:
        file.write(f"{HEADER}\n{ROW}\n{ending}")
    assert refusal_in_a_build(tmp_path / "b.csv.gz").code == "TRUNCATED"


def test_a_compressed_file_that_breaks_off_is_refused(tmp_path):
    """docs/cases.md, F9."""
    whole = gzip.compress(f"{HEADER}\n{ROW}\n".encode() * 1000)
    (tmp_path / "a.csv.gz").write_bytes(whole[: len(whole) // 2])
    assert refusal_in_a_build(tmp_path / "a.csv.gz").code == "TRUNCATED"


def test_a_last_row_without_a_line_end_is_whole_when_its_fields_are(tmp_path):
    """docs/cases.md, F9."""
    (tmp_path / "a.csv").write_text(f"{HEADER}\n{ROW}", encoding="utf-8")
    write_transfer_rows(str(tmp_path / "a.csv"), tmp_path / "rows")
    assert duckdb.read_parquet(str(tmp_path / "rows" / "000001.parquet")).shape[0] == 1


@pytest.mark.parametrize("length", [200_000, 1_500_000])
def test_an_open_quote_at_the_end_of_a_long_file_is_refused(tmp_path, length):
    """docs/cases.md, F8 and F9."""
    (tmp_path / "a.csv").write_text(f'{HEADER}\n"T-1,{"x" * length}', encoding="utf-8")
    assert refusal_in_a_build(tmp_path / "a.csv").code == "TRUNCATED"
    (tmp_path / "b.csv").write_text(f'"{"x" * length}', encoding="utf-8")
    assert refusal_in_a_build(tmp_path / "b.csv").code == "HEADER"


def test_a_row_of_any_kind_that_is_too_long_is_refused_before_it_is_held_in_memory(tmp_path):
    """docs/cases.md, S32: one field, one of many lines, and a value of Parquet; at the limit it is read."""
    start = f"{HEADER},comment\n{ROW},"
    room = LONGEST_ROW - len(f"{ROW},\n")
    texts = {
        "one field": "x" * (room + 2),
        "many lines": '"' + ("x" * 1022 + "\n") * (room // 1023 + 1) + '"',
        "the limit": "x" * room,
    }
    for name, text in texts.items():
        with gzip.open(tmp_path / f"{name}.csv.gz", "wt", encoding="utf-8", newline="") as file:
            file.write(f"{start}{text}\n{ROW.replace('T-1', 'T-2')},\n")
    columns = ", ".join(f"'{value}' as {name}" for name, value in zip(NEEDED, ROW.split(","), strict=True))
    for name, length in {"one field": room + 1_000, "the limit": LONGEST_ROW // 2}.items():
        duckdb.sql(f"select {columns}, repeat('x', {length}) as comment").write_parquet(
            str(tmp_path / f"{name}.parquet")
        )
    refused = [
        refusal_in_a_build(tmp_path / name)
        for name in ("one field.csv.gz", "many lines.csv.gz", "one field.parquet")
    ]
    assert {found.code for found in refused} == {"ROW_LENGTH"}
    # A line is measured before any of it is read as rows.
    assert "in line 2;" in refused[0].sentence
    for number, name in enumerate(("the limit.csv.gz", "the limit.parquet")):
        write_transfer_rows(str(tmp_path / name), tmp_path / f"rows {number}")


@pytest.mark.parametrize(
    "content",
    [b"PK\x03\x04 an archive or a workbook", gzip.compress(b"x"), b"PAR1"],
    ids=["an archive", "gzip", "Parquet"],  # gzip's bytes hold the time, and a test's name must not
)
def test_another_kind_of_file_under_the_name_of_a_csv_is_refused(tmp_path, content):
    """docs/cases.md, F12."""
    (tmp_path / "a.csv").write_bytes(content)
    assert refused_file(tmp_path / "a.csv").code == "NOT_CSV"


def test_what_is_no_gzip_under_its_name_is_refused(tmp_path):
    """docs/cases.md, F12."""
    (tmp_path / "a.csv.gz").write_text(f"{HEADER}\n{ROW}\n", encoding="utf-8")
    assert refused_file(tmp_path / "a.csv.gz").code == "NOT_CSV"


def test_what_is_no_readable_file_is_refused_by_name(tmp_path):
    """docs/cases.md, F13."""
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "link.csv").symlink_to(tmp_path / "nothing.csv")
    (tmp_path / "folder").mkdir()
    for name in ("pipe.csv", "link.csv", "folder", "absent.csv", "*.parquet"):
        refused_file(tmp_path / name)


def test_a_damaged_parquet_file_is_refused(tmp_path):
    """docs/cases.md, F14."""
    path = tmp_path / "a.parquet"
    duckdb.sql("select 1 as x").write_parquet(str(path))
    path.write_bytes(path.read_bytes()[:-10])
    assert refused_file(path).code == "PARQUET"


def test_a_folder_and_a_glob_name_their_files_in_order(tmp_path):
    for name in ("b.csv", "a.csv", "sub/c.CSV", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{HEADER}\n", encoding="utf-8")
    assert [path.name for path in check_transfers(str(tmp_path))] == ["a.csv", "b.csv", "c.CSV"]
    assert [path.name for path in check_transfers(str(tmp_path / "*.csv"))] == ["a.csv", "b.csv"]


def link(path: Path, private: Path) -> None:
    path.symlink_to(private)


def hard_link(path: Path, private: Path) -> None:
    os.link(private, path)


def link_to_the_folder(path: Path, private: Path) -> None:
    path.with_name("behind").symlink_to(private.parent)


def pipe(path: Path, _private: Path) -> None:
    os.mkfifo(path)


@pytest.fixture
def private(tmp_path) -> Path:
    """A file of transfers beside the folder that is searched."""
    (tmp_path / "outside").mkdir()
    return write_transfers(tmp_path / "outside" / "b.csv", [transfer("SECRET")])


@pytest.mark.parametrize("pattern", ["", "**/*.csv", "*/*.csv"], ids=["a folder", "a glob", "a narrow glob"])
@pytest.mark.parametrize("put", [link, hard_link, link_to_the_folder, pipe])
def test_what_was_put_into_a_folder_and_leads_out_of_it_is_refused_by_name(tmp_path, private, put, pattern):
    """docs/cases.md, S5 and F13. Before anything is built where it shows in a name, else before it is
    read."""
    lake = tmp_path / "lake"
    (lake / "day").mkdir(parents=True)
    write_transfers(lake / "day" / "a.csv", [transfer("A")])
    put(lake / "day" / "b.csv" if put is not link_to_the_folder else lake / "b.csv", private)
    location = f"{lake}/{pattern}" if pattern else str(lake)
    with pytest.raises(TransfersFileRefused) as refused:
        write_transfer_rows(location, tmp_path / "rows")
    assert refused.value.code == "NOT_READABLE"
    assert "lake/" in refused.value.path
    if put is not hard_link:
        with pytest.raises(TransfersFileRefused):
            check_transfers(location)


@pytest.mark.parametrize("swap", ["the file", "its folder"])
def test_a_found_file_that_is_swapped_for_a_link_is_not_followed(tmp_path, private, monkeypatch, swap):
    """docs/cases.md, S5: between the look and the reading."""
    lake = tmp_path / "lake"
    (lake / "day").mkdir(parents=True)
    file = write_transfers(lake / "day" / "b.csv", [transfer("A")])

    def found(location):
        files = list_files(location)
        file.rename(tmp_path / "away.csv")
        if swap == "the file":
            file.symlink_to(private)
        else:
            file.parent.rmdir()
            file.parent.symlink_to(private.parent)
        return files

    monkeypatch.setattr(transfer_rows, "list_files", found)
    with pytest.raises(TransfersFileRefused) as refused:
        write_transfer_rows(str(lake), tmp_path / "rows")
    assert (refused.value.code, refused.value.path) == ("NOT_READABLE", str(file))


def test_a_link_that_is_named_itself_is_followed_and_keeps_its_name(tmp_path, private):
    """docs/cases.md, S5: who names a link means what it leads to."""
    (tmp_path / "today.csv").symlink_to(private)
    (tmp_path / "lake").mkdir()
    shutil.copy(private, tmp_path / "lake" / "a.csv")
    (tmp_path / "linked lake").symlink_to(tmp_path / "lake")
    for number, location in enumerate(("today.csv", "linked lake", "linked lake/*.csv")):
        write_transfer_rows(str(tmp_path / location), tmp_path / f"rows{number}")
        assert [path.name for path in (tmp_path / f"rows{number}").iterdir()] == ["000001.parquet"]


REFUSED_WITHIN = {
    "F3: cp1252": (f"{HEADER}\n{ROW}\nT-2,C-é,give,1,rule_credit,x\n".encode("cp1252"), "ENCODING", "line 3"),
    "F5: a column missing": (f"{HEADER.replace('points,', '')}\n".encode(), "HEADER", "'points'"),
    "F5: a column unknown": (f"{HEADER},customer\n{ROW},x\n".encode(), "HEADER", "'customer'"),
    "F5: a column doubled": (f"{HEADER},points\n{ROW},1\n".encode(), "HEADER", "'points' twice"),
    "F5: a column in capitals": (f"{HEADER.upper()}\n{ROW}\n".encode(), "HEADER", "write it 'transfer_id'"),
    "F5: a blank first line": (f"\n{HEADER}\n{ROW}\n".encode(), "HEADER", "blank"),
    "F6: semicolons": (f"{HEADER}\n{ROW}\n".replace(",", ";").encode(), "HEADER", "semicolons"),
    "F6: tabs": (f"{HEADER}\n{ROW}\n".replace(",", "\t").encode(), "HEADER", "tabs"),
    "F8: an open quote": (f'{HEADER}\n{ROW}\nT-2,"C-1,give,1\n{ROW}\n{ROW}\n'.encode(), "QUOTE", "line 3"),
}


@pytest.fixture(scope="module")
def refusing_home(tmp_path_factory) -> Path:
    """A home that never gets to see a build: in one home, dbt parses the project once."""
    return tmp_path_factory.mktemp("refused") / "home"


@pytest.mark.parametrize("case", REFUSED_WITHIN)
def test_a_file_that_is_no_table_of_transfers_is_refused_with_a_sentence(
    points, refusing_home, tmp_path, case
):
    """docs/cases.md, F3, F5, F6 and F8."""
    content, code, fact = REFUSED_WITHIN[case]
    (tmp_path / "a.csv").write_bytes(content)
    result = points("build", home=refusing_home, transfers=tmp_path / "a.csv")
    sentence = refusal(result).splitlines()[-1]
    assert sentence.startswith(f"{code}: {tmp_path}/a.csv ")
    assert fact in sentence
    assert not (refusing_home / "provisional").exists()


def test_points_as_a_float_are_refused_naming_the_column(points, refusing_home, tmp_path):
    """docs/cases.md, F14."""
    duckdb.sql(
        "select 'T-1' as transfer_id, 'C-1' as relation_reference, 'give' as style, 1.5::double as points,"
        " 'rule_credit' as reason, timestamp '2026-03-10 12:00:00' as occurred_at"
    ).write_parquet(str(tmp_path / "a.parquet"))
    result = points("build", home=refusing_home, transfers=tmp_path / "a.parquet")
    sentence = refusal(result)
    assert sentence.startswith("HEADER: ")
    assert "'points'" in sentence
    assert "DOUBLE" in sentence


def test_a_header_alone_has_no_months_and_says_so(points, refusing_home, tmp_path):
    """docs/cases.md, F2: zero rows are no error of the file; there is just nothing to report."""
    (tmp_path / "a.csv").write_text(f"{HEADER}\n", encoding="utf-8")
    result = points("build", home=refusing_home, transfers=tmp_path / "a.csv")
    assert_refused(result, NoMonths(None))


def test_files_of_every_kind_are_read_together(points, tmp_path):
    """docs/cases.md, F4 (a byte order mark), F5 (another order of columns), and typed Parquet."""
    folder = tmp_path / "transfers"
    folder.mkdir()
    (folder / "bom.csv").write_bytes(b"\xef\xbb\xbf" + f"{HEADER}\r\n{ROW}\r\n".encode())
    reordered = {name: transfer("T-2")[name] for name in reversed(NEEDED)}
    write_transfers(folder / "order.CSV", [reordered])
    with gzip.open(folder / "small.csv.gz", "wt", encoding="utf-8") as file:
        file.write(f'{HEADER},comment\nT-3,C-1,give,1,rule_credit,2026-03-10T12:00:00Z,"two\nlines"\n')
    duckdb.sql(
        "select 'P-' || i as transfer_id, 'C-1' as relation_reference, 'give' as style,"
        " cast(100.5 as decimal(10, 2)) as points, 'rule_credit' as reason,"
        " timestamptz '2026-03-31 23:30:00-02:00' as occurred_at, cast(i as integer) as entry_id"
        " from range(3) as numbers (i)"
    ).write_parquet(str(folder / "typed.parquet"))
    answer(points("build", home=tmp_path / "home", transfers=folder))
    for month, total in (("2026-03", "201"), ("2026-04", "502.5")):
        report = read_rows(tmp_path / "home/provisional" / month / "provisional_outstanding_points.csv")
        assert [row["Total Outstanding Points"] for row in report] == [total]
