"""Regular expressions that somebody else wrote, on names that somebody else chose: none of them takes long.

RE2 finds in a time that grows with the pattern and the name, whatever they are. In return it knows neither
backreferences nor looking around. What RabbitMQ's users write of the latter is taken apart into searches that need
none: lookahead that begins a pattern (`^(?!amq\\.).*`), the text that is nowhere (`^((?!amq\\.).)*$`), and lookbehind
at the end (`^.*(?<!dlq)$`). Everything else is refused when it is set.

A pattern is found anywhere in a name. Octets that are no UTF-8 count as one character each.
"""

import re
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import re2

PATTERN_CHARACTERS_MAX = 65536
MEMORY_BYTES_MAX = 1048576  # of what RE2 remembers of one pattern; it goes on without remembering more
KEPT = 256
MULTILINE = re.compile(r"\(\?[a-zA-Z]*m")
FLAGS = re.compile(r"\(\?[a-zA-Z-]+\)")
IGNORE_CASE = "(?i)"
LOOKAHEADS = ("(?!", "(?=")
LOOKBEHINDS = ("(?<!", "(?<=")
GROUPS = ("(", "(?:")
QUANTIFIERS = ("*", "+", "?", "{")
ONLY_SO_MUCH = (
    "lookahead is taken at the beginning, as in ^(?!amq\\.), and as ^((?!text).)*$; lookbehind before a $ at the end, "
    "as in (?<!text)$; backreferences are not"
)
END = r"(?:\n?\z)"  # `$` of PCRE: a line break may follow
LINE_BREAKS = (b"", b"\n")  # the two places of `$`: at the end, and before a line break that ends the name


class PatternError(ValueError):
    """One line for whoever gave the pattern."""


class Way(NamedTuple):
    """One way for a pattern to be found: as expressions that RE2 knows, and then compiled."""

    must: list[str]
    must_not: list[str]
    nowhere: str | None = None  # does not begin before the place of `$`
    line_break: bytes = b""  # what follows that place


class CompiledWay(NamedTuple):
    must: "list[re2._Regexp]"
    must_not: "list[re2._Regexp]"
    nowhere: "re2._Regexp | None"
    line_break: bytes

    def fits(self, octets: bytes) -> bool:
        # Octets go in and out as they are: the library would count characters in a text.
        if not all(one.search(octets) for one in self.must) or any(one.search(octets) for one in self.must_not):
            return False
        if self.nowhere is None:
            return True
        first = self.nowhere.search(octets)
        return first is None or first.start() >= len(octets) - len(self.line_break)


class Pattern:
    """`text` is the expression as it was given."""

    __slots__ = ("text", "ways")

    def __init__(self, text: str, *, ignore_case: bool = False) -> None:
        self.text = text
        if len(text) > PATTERN_CHARACTERS_MAX:
            raise PatternError(f"pattern {text[:20]!r}...: longer than {PATTERN_CHARACTERS_MAX} characters")
        try:
            self.ways = [compiled_way(way, ignore_case) for way in ways_of(text)]
        except re2.error as error:
            why = error.args[0] if error.args else b""
            said = why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why)
            raise PatternError(f"pattern {text!r}: {said}{hint(text)}") from None
        except UnicodeEncodeError as error:
            raise PatternError(f"pattern {text!r}: {error}") from None

    def found_in(self, name: str | bytes) -> bool:
        octets = name.encode("utf-8", "surrogateescape") if isinstance(name, str) else name
        try:
            octets.decode()
        except UnicodeDecodeError:
            octets = octets.decode("utf-8", "replace").encode()
        return any(way.fits(octets) for way in self.ways)


def compiled_way(way: Way, ignore_case: bool) -> CompiledWay:
    return CompiledWay(
        [compiled(one, ignore_case) for one in way.must],
        [compiled(one, ignore_case) for one in way.must_not],
        None if way.nowhere is None else compiled(way.nowhere, ignore_case),
        way.line_break,
    )


def compiled(text: str, ignore_case: bool) -> "re2._Regexp":
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = MEMORY_BYTES_MAX
    options.case_sensitive = not ignore_case
    return re2.compile(with_ends(text), options)


def with_ends(text: str) -> str:
    """`$` as PCRE has it, but where it stands for the end of any line."""
    if "$" not in text or MULTILINE.search(text):
        return text
    parts, begin = [], 0
    for at, _ in depths(text):
        if text[at] == "$":
            parts += [text[begin:at], END]
            begin = at + 1
    return "".join(parts) + text[begin:]


def hint(text: str) -> str:
    """For those whose pattern another engine takes."""
    uses_more = any(mark in text for mark in (*LOOKAHEADS, "(?<", "(?P=", "(?>", "\\1", "\\2", "++", "*+", "?+"))
    return f": {ONLY_SO_MUCH}" if uses_more else ""


# ------------------------------------------------------------------------------------------------- looking around


def ways_of(text: str) -> list[Way]:
    """What cannot be taken apart is left as it is, for RE2 to say what is wrong with it."""
    if not looks_around(text):
        return [Way([text], [])]
    flag = IGNORE_CASE if text.startswith(IGNORE_CASE) else ""
    branches = alternatives(text[len(flag) :])
    if len(branches) > 1 and FLAGS.search(text, len(flag)):
        return [Way([text], [])]  # what is set in one alternative holds in those behind it too
    ways = [way for branch in branches for way in ways_of_branch(branch)]
    return [with_flag(way, flag) for way in ways] if flag else ways


def with_flag(way: Way, flag: str) -> Way:
    must, must_not = ([flag + one for one in some] for some in (way.must, way.must_not))
    return way._replace(must=must, must_not=must_not, nowhere=None if way.nowhere is None else flag + way.nowhere)


def ways_of_branch(text: str) -> list[Way]:
    must: list[str] = []
    must_not: list[str] = []
    rest = text
    if text.startswith("^"):
        lookaheads, rest = parted(text[1:])
        for is_wanted, inner in lookaheads:
            (must if is_wanted else must_not).append(f"^(?:{inner})")
        rest = f"^{rest}"
    if not looks_around(rest):
        return [Way([*must, rest], must_not)]
    if not rest.endswith("$") or MULTILINE.search(text):
        return [Way([text], [])]
    body, lookbehinds = parted_at_end(rest[:-1])
    nowhere, line = free_of(body)
    if not ends_only_there(rest, [line, *(inner for _, inner in lookbehinds)]):
        return [Way([text], [])]
    ways = []
    for line_break in LINE_BREAKS:
        end = r"\n\z" if line_break else r"\z"
        wanted, unwanted = (
            [f"(?:{inner}){end}" for is_wanted, inner in lookbehinds if is_wanted is kind] for kind in (True, False)
        )
        ways.append(Way([*must, *wanted, line + end], [*must_not, *unwanted], nowhere, line_break))
    return ways


def ends_only_there(text: str, parts: list[str]) -> bool:
    """Does its last character mean the end, and nothing that stands before it in these parts?"""
    return depths(text)[-1:] == [(len(text) - 1, 0)] and not any(
        part[at] == "$" for part in parts for at, _ in depths(part)
    )


def parted_at_end(body: str) -> tuple[str, list[tuple[bool, str]]]:
    """What stands before the lookbehinds at the end, and the lookbehinds (True: it must be found)."""
    lookbehinds: list[tuple[bool, str]] = []
    while (begin := last_group(body)) is not None and body.startswith(LOOKBEHINDS, begin):
        lookbehinds.append((body.startswith("(?<=", begin), body[begin + 4 : -1]))
        body = body[:begin]
    return body, lookbehinds


def free_of(body: str) -> tuple[str | None, str]:
    """Of `^((?!X).)*`: X, and what the whole is apart from it; of anything else None, and it itself."""
    for group in GROUPS:
        begin = len(group) + 1
        if body.startswith(f"^{group}(?!"):
            end = begin + closing_parenthesis(body[begin:])
            if body[end + 1 :] in (".)*", ".)+", ".)*?", ".)+?"):
                return body[begin + 3 : end], f"^.{body[end + 3]}"
    return None, body


def parted(rest: str) -> tuple[list[tuple[bool, str]], str]:
    """The lookaheads at the beginning (True: it must be found), also of groups that begin there; and the rest."""
    lookaheads = []
    opened = ""
    while True:
        if rest.startswith(LOOKAHEADS):
            end = closing_parenthesis(rest)
            if end < 0 or rest.startswith(QUANTIFIERS, end + 1):
                return [], opened + rest
            lookaheads.append((rest.startswith("(?="), rest[3:end]))
            rest = rest[end + 1 :]
        elif group := group_that_looks_ahead(rest):
            opened += group
            rest = rest[len(group) :]
        else:
            return lookaheads, opened + rest


def group_that_looks_ahead(text: str) -> str:
    """How it begins, when all that is in it has to fit once."""
    for group in GROUPS:
        if text.startswith(tuple(group + mark for mark in LOOKAHEADS)):
            end = closing_parenthesis(text)
            if end > 0 and not text.startswith(QUANTIFIERS, end + 1) and len(alternatives(text[len(group) : end])) == 1:
                return group
    return ""


def looks_around(text: str) -> bool:
    return any(text.startswith((*LOOKAHEADS, *LOOKBEHINDS), at) for at, _ in depths(text))


def closing_parenthesis(text: str) -> int:
    """Where the one is that belongs to the first; -1 without one."""
    return next((at for at, depth in depths(text) if depth == 0), -1)


def last_group(text: str) -> int | None:
    """Where the group begins that ends the text."""
    found = depths(text)
    if not found or found[-1] != (len(text) - 1, 0) or text[-1] != ")":
        return None
    return next((at for at, depth in reversed(found) if depth == 1 and text[at] == "("), None)


def alternatives(text: str) -> list[str]:
    cuts = [-1, *(at for at, depth in depths(text) if depth == 0 and text[at] == "|"), len(text)]
    return [text[begin + 1 : end] for begin, end in pairwise(cuts)]


def depths(text: str) -> list[tuple[int, int]]:
    """Each character that means something, and how many parentheses are open behind it."""
    found, depth, at = [], 0, 0
    in_set = False
    while at < len(text):
        character = text[at]
        if text.startswith("\\Q", at):
            end = text.find("\\E", at)
            at = len(text) if end < 0 else end + 2
            continue
        if character == "\\":
            at += 2
            continue
        if in_set:
            in_set = character != "]"
        elif character == "[":
            in_set = True
            at += 1 + text.startswith("[^", at)
            at += text.startswith("]", at)  # the first one is a character of the set
            continue
        else:
            depth += (character == "(") - (character == ")")
            found.append((at, depth))
        at += 1
    return found


@lru_cache(KEPT)
def pattern(text: str) -> Pattern:
    return Pattern(text)
