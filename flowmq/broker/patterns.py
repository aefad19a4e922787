"""Regular expressions that somebody else wrote, on names that somebody else chose: none of them takes long.

RE2 finds in a time that grows with the pattern and the name, whatever they are. In return it knows no backreferences,
no lookbehind, and of lookahead what begins a pattern: `^(?!amq\\.).*`, which RabbitMQ's users write, is taken apart
into what must not be found at the beginning and what must. Everything else is refused when it is set.

A pattern is found anywhere in a name. Octets that are no UTF-8 count as one character each.
"""

import re
from functools import lru_cache

import re2

PATTERN_CHARACTERS_MAX = 65536
MEMORY_BYTES_MAX = 1048576  # of what RE2 remembers of one pattern; it goes on without remembering more
KEPT = 256
MULTILINE = re.compile(r"\(\?[a-zA-Z]*m")
LOOKAHEADS = ("(?!", "(?=")
ONLY_SO_MUCH = "lookahead is taken at the beginning only, as in ^(?!amq\\.), lookbehind and backreferences are not"
END = r"(?:\n?\z)"  # `$` of PCRE: a line break may follow


class PatternError(ValueError):
    """One line for whoever gave the pattern."""


class Pattern:
    """`text` is the expression as it was given."""

    __slots__ = ("must", "must_not", "text")

    def __init__(self, text: str, *, ignore_case: bool = False) -> None:
        self.text = text
        self.must: list[re2._Regexp] = []
        self.must_not: list[re2._Regexp] = []
        if len(text) > PATTERN_CHARACTERS_MAX:
            raise PatternError(f"pattern {text[:20]!r}...: longer than {PATTERN_CHARACTERS_MAX} characters")
        try:
            lookaheads, rest = parted(text)
            for is_wanted, inner in lookaheads:
                (self.must if is_wanted else self.must_not).append(compiled(f"^(?:{inner})", ignore_case))
            self.must.append(compiled(rest, ignore_case))
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
        # Octets go in and out as they are: the library would count characters in a text.
        return all(one.search(octets) for one in self.must) and not any(one.search(octets) for one in self.must_not)


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


def parted(text: str) -> tuple[list[tuple[bool, str]], str]:
    """The lookaheads that a pattern begins with (True: it must be found), and the rest of it with its `^`."""
    if not text.startswith(tuple(f"^{mark}" for mark in LOOKAHEADS)):
        return [], text
    lookaheads = []
    rest = text[1:]
    while rest.startswith(LOOKAHEADS):
        end = closing_parenthesis(rest)
        if end < 0 or rest[end + 1 : end + 2] in ("*", "+", "?", "{"):
            return [], text
        lookaheads.append((rest.startswith("(?="), rest[3:end]))
        rest = rest[end + 1 :]
    if has_alternatives(rest):
        return [], text  # the lookaheads belong to the first of them alone
    return lookaheads, f"^{rest}"


def closing_parenthesis(text: str) -> int:
    """Where the one is that belongs to the first; -1 without one."""
    return next((at for at, depth in depths(text) if depth == 0), -1)


def has_alternatives(text: str) -> bool:
    return any(text[at] == "|" and depth == 0 for at, depth in depths(text))


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
