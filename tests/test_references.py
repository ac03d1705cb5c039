"""What is named of docs/design.md and docs/cases.md is there, and every case is named by a test."""

import ast
import re
import subprocess
from functools import cache

from tests.conftest import PROJECT_ROOT

# A list of numbers, as `sections 3, 5 (unrevoked) and 8` or `R1, R4 to R12 and F7` have it.
_ASIDE = r"(?: \([^)]*\))?"
_LISTED = r"{number}{aside}(?:(?:, | and | to ){number}{aside})*"
SECTIONS = re.compile(rf"docs/design\.md, sections? ({_LISTED.format(number='[0-9]+', aside=_ASIDE)})")
CASES = re.compile(rf"docs/cases\.md, ({_LISTED.format(number='[A-Z][0-9]+', aside=_ASIDE)})")


@cache
def tracked() -> dict[str, str]:
    """The text of each file of the repository, comments over several lines put into one."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    files = {name: PROJECT_ROOT / name for name in names if (PROJECT_ROOT / name).is_file()}
    texts = {name: file for name, file in files.items() if file.suffix != ".png"}
    return {name: in_one_line(file.read_text(encoding="utf-8")) for name, file in texts.items()}


def in_one_line(text: str) -> str:
    return re.sub(r"\s*\n\s*(?:#|--)?\s*", " ", text)


def named(pattern: re.Pattern[str], text: str) -> set[str]:
    """The numbers that ``text`` names, those between `R4 to R12` too."""
    numbers = set()
    for listed in pattern.findall(text):
        for part in re.split(", | and ", re.sub(_ASIDE, "", listed)):
            kind, first, last = re.fullmatch(r"([A-Z]?)(\d+)(?: to [A-Z]?(\d+))?", part).groups()
            numbers |= {f"{kind}{number}" for number in range(int(first), int(last or first) + 1)}
    return numbers


def numbers_in(document: str, pattern: str) -> list[str]:
    return re.findall(pattern, (PROJECT_ROOT / document).read_text(encoding="utf-8"), re.MULTILINE)


def sections() -> set[str]:
    return set(numbers_in("docs/design.md", r"^## (\d+)\. "))


def cases() -> list[str]:
    return numbers_in("docs/cases.md", r"^\| ([A-Z]\d+) \|")


def test_numbers_are_read_from_every_form_of_a_list():
    assert named(SECTIONS, "(docs/design.md, sections 3, 5 (unrevoked) and 8; 9)") == {"3", "5", "8"}
    text = in_one_line("# (docs/cases.md, R1, R4 to R6,\n# F4 (a mark) and\n# C1: R9; docs/cases.md, X2)")
    assert named(CASES, text) == {"R1", "R4", "R5", "R6", "F4", "C1", "X2"}


def test_every_section_and_case_that_is_named_is_there():
    known_sections, known_cases = sections(), set(cases())
    assert known_sections == {str(number) for number in range(1, 15)}
    for name, text in tracked().items():
        assert named(SECTIONS, text) <= known_sections, (name, named(SECTIONS, text) - known_sections)
        assert named(CASES, text) <= known_cases, (name, named(CASES, text) - known_cases)
        assert not re.search(r"\b(DESIGN|CASES)\.md", text), name
    # Its tables name cases by their numbers alone.
    in_tables = set(re.findall(r"\b[FRCXS]\d+\b", tracked()["docs/security.md"]))
    assert in_tables <= known_cases, in_tables - known_cases


def test_every_case_stands_once_in_the_order_of_its_kind():
    for kind in "FRCXS":
        numbers = [int(case[1:]) for case in cases() if case[0] == kind]
        assert numbers == sorted(set(numbers)), kind


def test_every_case_is_named_by_a_test():
    """A module's docstring is no test: what it names is named below it too."""
    proved = set()
    for name in tracked():
        if name.startswith("dbt_project/models/unit_tests/"):
            proved |= named(CASES, tracked()[name])
        elif name.startswith("tests/") and name.endswith(".py"):
            for node in ast.walk(ast.parse((PROJECT_ROOT / name).read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                    proved |= named(CASES, in_one_line(ast.get_docstring(node) or ""))
    assert set(cases()) - proved == set()
