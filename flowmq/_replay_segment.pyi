from os import PathLike
from typing import NamedTuple

class Header(NamedTuple):
    number: int
    file: str | PathLike[str] | int
    file_octets: int
    seed: int
    previous: int
    previous_end: int
    previous_summary: int
    fault: str | None

def read_header(number: int, file: str | PathLike[str] | int) -> Header: ...
def read_at(file: str | PathLike[str] | int, offset: int, count: int) -> bytes: ...
def read_into(file: str | PathLike[str] | int, view: memoryview) -> int: ...
