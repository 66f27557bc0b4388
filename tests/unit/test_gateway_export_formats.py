"""Tables as bytes: what readers and spreadsheets make of hostile cells."""

import csv
import io
import json
import zipfile
from xml.etree import ElementTree as ET

import pytest

from gateway.exports import formats
from gateway.exports.formats import Format, plain_cell, writer_of

COLUMNS = ("worker", "count", "note")
HOSTILE = [
    "<script>alert(1)</script>",
    '=HYPERLINK("http://evil.example","x")',
    "+1",
    "-1",
    "@SUM(A1)",
    "  =1+1",
    "a,b;c\r\nd",
    'quote"s',
    "\u202eright to left",
    "\x01\x08",
    "",
    "\U0001f600",
    "\uff1dfull width",
    "]]>&amp;",
]
ROWS = [(text, number, None) for number, text in enumerate(HOSTILE)]


def written(form: Format, rows: list, *, page: int = 3) -> bytes:
    writer = writer_of(form, COLUMNS)
    parts = [writer.rows(rows[start : start + page]) for start in range(0, len(rows), page)]
    return b"".join([*parts, writer.end()])


def sheet_of(data: bytes) -> list[list[str | None]]:
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        assert book.testzip() is None
        root = ET.fromstring(book.read("xl/worksheets/sheet1.xml"))
    main = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    assert root.find(f".//{main}f") is None, "there are no formulas"
    rows = []
    for row in root.iter(f"{main}row"):
        texts = [cell.find(f"{main}v") if cell.get("t") is None else cell.find(f".//{main}t") for cell in row]
        rows.append([None if text is None else text.text or "" for text in texts])
    return rows


def test_csv_reads_as_it_was_with_formulas_made_harmless():
    data = written(Format.CSV, ROWS)
    assert data.startswith(b"\xef\xbb\xbfworker,count,note\r\n")
    rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    assert [row[0].removeprefix("'") for row in rows[1:]] == HOSTILE
    for row in rows[1:]:
        assert not row[0].lstrip(" ").startswith(("=", "+", "-", "@", "\uff1d"))
    assert [row[1] for row in rows[1:]] == [str(number) for number in range(len(HOSTILE))]


def test_json_holds_the_cells_as_they_are():
    found = json.loads(written(Format.JSON, ROWS))
    assert [row["worker"] for row in found] == HOSTILE
    assert found[1] == {"worker": HOSTILE[1], "count": 1, "note": None}


def test_xlsx_holds_texts_as_texts():
    rows = sheet_of(written(Format.XLSX, ROWS))
    assert rows[0] == list(COLUMNS)
    expected = [text.replace("\x01\x08", "\ufffd\ufffd").replace("\r\n", "\n") for text in HOSTILE]
    assert [row[0] for row in rows[1:]] == expected
    assert [row[1] for row in rows[1:]] == [str(number) for number in range(len(HOSTILE))]


def test_numbers_that_a_spreadsheet_would_round_are_texts():
    data = written(Format.XLSX, [("w", 2**53, None)])
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        assert b'<t xml:space="preserve">9007199254740992</t>' in book.read("xl/worksheets/sheet1.xml")


@pytest.mark.parametrize(
    ("form", "empty"), [(Format.CSV, b"\xef\xbb\xbfworker,count,note\r\n"), (Format.JSON, b"[]\n")]
)
def test_a_table_without_rows_is_still_one(form, empty):
    assert written(form, []) == empty
    assert sheet_of(written(Format.XLSX, [])) == [list(COLUMNS)]


def test_a_sheet_says_when_it_holds_no_more(monkeypatch):
    monkeypatch.setattr(formats, "XLSX_ROWS_MAX", 3)
    rows = sheet_of(written(Format.XLSX, ROWS))
    assert len(rows) == 4
    assert rows[3][0].startswith("A sheet holds no more rows")


def test_numbers_below_zero_are_no_formulas():
    assert plain_cell(-1) == -1
