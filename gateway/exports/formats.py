"""Tables as streams of bytes. Pure.

CSV is RFC 4180 in UTF-8 with a byte order mark, as spreadsheets want it; a text that a spreadsheet would take for a
formula gets an apostrophe before it. JSON is an array of objects. XLSX is the smallest workbook that spreadsheets open
(ECMA-376): one sheet, whose texts are typed as texts and so are never formulas.
"""

import csv
import io
import re
import zipfile
from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol
from xml.sax.saxutils import escape

import msgspec

Cell = str | int | None
Row = Sequence[Cell]

NUMBER_MAX = 2**53 - 1
"""The greatest number that spreadsheets hold exactly; greater ones are written as text."""
XLSX_ROWS_MAX = 1_048_575
"""Rows below the header that a sheet can have."""
TEXT_CHARS_MAX = 32_767
"""Of a cell of a spreadsheet."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_SHEET = "xl/worksheets/sheet1.xml"
_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_TYPES = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_PARTS = {
    "[Content_Types].xml": (
        f'<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPES}.sheet.main+xml"/>'
        f'<Override PartName="/{_SHEET}" ContentType="{_TYPES}.worksheet+xml"/></Types>'
    ),
    "_rels/.rels": (
        f'<Relationships xmlns="{_PACKAGE}/relationships">'
        f'<Relationship Id="rId1" Type="{_RELATIONS}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
    ),
    "xl/workbook.xml": (
        f'<workbook xmlns="{_MAIN}" xmlns:r="{_RELATIONS}">'
        '<sheets><sheet name="Lodepool" sheetId="1" r:id="rId1"/></sheets></workbook>'
    ),
    "xl/_rels/workbook.xml.rels": (
        f'<Relationships xmlns="{_PACKAGE}/relationships">'
        f'<Relationship Id="rId1" Type="{_RELATIONS}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>'
    ),
}


class Format(StrEnum):
    """How a table is written, by its file's extension."""

    CSV = "csv"
    JSON = "json"
    XLSX = "xlsx"


CONTENT_TYPES = {
    Format.CSV: "text/csv; charset=utf-8",
    Format.JSON: "application/json",
    Format.XLSX: f"{_TYPES}.sheet",
}


class Writer(Protocol):
    """Writes a table: `rows` as often as there are pages, `end` once."""

    def rows(self, rows: Sequence[Row]) -> bytes:
        """Return the bytes of the next rows, with what comes before the first."""
        ...

    def end(self) -> bytes:
        """Return what comes after the last row."""
        ...


def writer_of(form: Format, columns: Sequence[str]) -> Writer:
    """Return a writer for a table with these columns."""
    match form:
        case Format.CSV:
            return CsvWriter(columns)
        case Format.JSON:
            return JsonWriter(columns)
        case Format.XLSX:
            return XlsxWriter(columns)


class CsvWriter:
    """Writes CSV."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._buffer = io.StringIO(newline="")
        self._buffer.write("\ufeff")
        self._csv = csv.writer(self._buffer)
        self._csv.writerow(columns)

    def rows(self, rows: Sequence[Row]) -> bytes:
        """Return the next rows."""
        self._csv.writerows([[plain_cell(cell) for cell in row] for row in rows])
        return self._drain()

    def end(self) -> bytes:
        """Return what is left: the header of a table without rows."""
        return self._drain()

    def _drain(self) -> bytes:
        data = self._buffer.getvalue().encode(errors="replace")
        self._buffer.seek(0)
        self._buffer.truncate()
        return data


class JsonWriter:
    """Writes an array of objects."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = tuple(columns)
        self._has_rows = False

    def rows(self, rows: Sequence[Row]) -> bytes:
        """Return the next rows."""
        parts = []
        for row in rows:
            parts.append(b",\n" if self._has_rows else b"[\n")
            parts.append(msgspec.json.encode(dict(zip(self._columns, row, strict=True))))
            self._has_rows = True
        return b"".join(parts)

    def end(self) -> bytes:
        """Return the end of the array."""
        return b"\n]\n" if self._has_rows else b"[]\n"


class XlsxWriter:
    """Writes a workbook with one sheet; rows that a sheet cannot have are left out and the last one says so."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._out = _Outlet()
        self._zip = zipfile.ZipFile(self._out, "w", zipfile.ZIP_DEFLATED)  # type: ignore[call-overload]  # only write and flush are used
        for name, text in _PARTS.items():
            self._zip.writestr(zipfile.ZipInfo(name, _ZIP_TIME), _HEAD + text)
        info = zipfile.ZipInfo(_SHEET, _ZIP_TIME)
        info.compress_type = zipfile.ZIP_DEFLATED
        self._sheet = self._zip.open(info, "w", force_zip64=True)
        self._sheet.write(f'{_HEAD}<worksheet xmlns="{_MAIN}"><sheetData>'.encode())
        self._sheet.write(_xlsx_row(columns))
        self._count = 0

    def rows(self, rows: Sequence[Row]) -> bytes:
        """Return the next rows, as far as they are compressed."""
        for row in rows:
            self._count += 1
            if self._count < XLSX_ROWS_MAX:
                self._sheet.write(_xlsx_row(row))
            elif self._count == XLSX_ROWS_MAX:
                self._sheet.write(_xlsx_row(["A sheet holds no more rows: ask for a shorter time, or for CSV."]))
        return self._out.drain()

    def end(self) -> bytes:
        """Return the end of the workbook."""
        self._sheet.write(b"</sheetData></worksheet>")
        self._sheet.close()
        self._zip.close()
        return self._out.drain()


class _Outlet:
    """What a ZIP is written to, in one direction: no seeking, so that it is streamed."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: what was written is there."""

    def drain(self) -> bytes:
        data, self._parts = b"".join(self._parts), []
        return data


def plain_cell(cell: Cell) -> Cell:
    """Return a cell for CSV: a text that a spreadsheet would take for a formula has an apostrophe before it."""
    if isinstance(cell, str):
        text = cell.replace("\x00", "\ufffd")
        return "'" + text if text.lstrip(" ").startswith(_FORMULA_STARTS) else text
    return "" if cell is None else cell


def _xlsx_row(row: Row) -> bytes:
    return ("<row>" + "".join(map(_xlsx_cell, row)) + "</row>").encode()


def _xlsx_cell(cell: Cell) -> str:
    if cell is None:
        return "<c/>"
    if isinstance(cell, int) and abs(cell) <= NUMBER_MAX:
        return f"<c><v>{cell}</v></c>"
    text = escape(_NOT_XML.sub("\ufffd", str(cell))[:TEXT_CHARS_MAX])
    return f'<c t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'
