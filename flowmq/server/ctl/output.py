"""Rows and sentences as rabbitmqctl prints them: lines with tabs, JSON, or values with commas.

table   a sentence, a line of names, and a line of values for each row, with tabs in between
json    one array, of an object for each row
csv     a line of names and a line for each row, everything in quotes
"""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

import click

TABLE, JSON, CSV = "table", "json", "csv"
FORMATS = (TABLE, JSON, CSV)


class Output:
    """`quiet`: no sentences; `silent`: no names of columns either."""

    def __init__(self, form: str, *, quiet: bool = False, silent: bool = False, headers: bool = True) -> None:
        self.form, self.quiet, self.headers = form, quiet or silent, headers and not silent

    def say(self, sentence: str) -> None:
        """What is being done. Programs that read rows do not want to know."""
        if self.form == TABLE and not self.quiet:
            write(sentence)

    def tell(self, sentence: str, **value: Any) -> None:
        """The answer itself."""
        if self.form == JSON:
            write(json.dumps(value or {"result": sentence}))
        else:
            write(sentence)

    def show(self, rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> None:
        PRINTERS[self.form](self, rows, columns)

    def _table(self, rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> None:
        for at, row in enumerate(rows):
            if at == 0 and self.headers:
                write("\t".join(columns))
            write("\t".join(cell(row.get(column)) for column in columns))

    def _csv(self, rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> None:
        if self.headers:
            write(quoted(columns))
        for row in rows:
            write(quoted([cell(row.get(column)) for column in columns]))

    def _json(self, rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> None:
        write("[")
        for at, row in enumerate(rows):
            write(("," if at else "") + json.dumps({column: row.get(column) for column in columns}))
        write("]")


PRINTERS = {TABLE: Output._table, JSON: Output._json, CSV: Output._csv}


def write(line: str) -> None:
    # Names may hold any octets: they leave as escapes, never as a failure to print.
    click.echo(line.encode("utf-8", "backslashreplace").decode())


def quoted(values: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="").writerow(values)
    return line.getvalue()


def cell(value: Any) -> str:
    """One value on one line, without tabs."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else term(value)
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def term(value: Any) -> str:
    """As Erlang writes it, which scripts look for."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        pairs = (f"{{{json.dumps(name, ensure_ascii=False)},{term(item)}}}" for name, item in value.items())
        return f"[{','.join(pairs)}]"
    if isinstance(value, list):
        return f"[{','.join(map(term, value))}]"
    return json.dumps(value, ensure_ascii=False)
