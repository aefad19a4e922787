"""Patterns that operators write, against Python's own engine where both know them; and none of them takes long."""

import random
import re
import time

import pytest

from flowmq.broker.patterns import Pattern, PatternError

NAMES = [
    "",
    "a",
    "b",
    "ab",
    "ba",
    "amq.gen-1",
    "orders.eu",
    "orders",
    "xorders.eu",
    "a\n",
    "\n",
    "a\nb",
    "ä",
    "a|b",
    "$",
    ")",
]
COMMON = [
    ".*",
    "^$",
    "^a",
    "a$",
    "^a$",
    "a|b",
    "^(a|b)$",
    r"^orders\.",
    r"^orders(\..*)?$",
    "[ab]",
    "[^ab]",
    "[]a]",
    "[$]",
    r"\$",
    "^(?!amq\\.).*",
    "^(?!amq\\.)",
    "^(?=a)",
    "^(?!a)(?!b)",
    "^(?=.*b)(?!a).*$",
    "^(?!(a|b)$).+",
    r"^(?![)\]]).",
    r"^(?!a\)).*",
    "(?i)ORDERS",
    "a{1,2}$",
    r"\bgen\b",
    "^(?!)",
    "^(?!a|o).*$",
    "^(?!a)b|o",
    "b$|^(?!a).*(?<!s)$",
    r"^((?!amq\.).)*$",
    "^(?:(?!amq|rs).)*$",
    "^((?!b).)+$",
    "^((?!b|).)*?$",
    r"^((?!\n).)*$",
    "^((?!b$).)*$",
    "(?<!eu)$",
    r"^(?!amq\.).*(?<!rs)$",
    "(?<=[ab])(?<!^a)$",
    "^.*(?<!a)$",
    r"^(?!o)((?!\.gen).)*(?<!b)$",
    "^((?!amq).*)$",
    "(?i)^(?!AMQ).*(?<!EU)$",
    r"^[(?!)]*\)$",
]
REFUSED = [
    "(",
    ")",
    "*a",
    "a(?!b)",
    "(?!a)b",
    "^(?!a)b|c(?!d)",
    "^(?!a)(?i)b|c",
    "(?<=a)b",
    "^.*(?<!a)",
    "^(?<!a$)$",
    "(?m)^(?<!a)$",
    "^((?!a).)*",
    "^(?:(?!a)(?:(?!b).))*$",
    r"^.*(?<!a)\$",
    "^.*(?<!a)[$",
    "^((?!a).)*b$",
    "^((?!a).){2}$",
    "^((?!a)..)*$",
    "^((?!(?!a)).)*$",
    "(?<!(?<!a)b)$",
    r"(a)\1",
    "a++",
    "(?>a)",
    "x{1001}",
    "^(?!a",
    "^(?!a)*b",
    "[[:beta:]]",
    "\ud800",
    "x" * 70000,
    "(?:a{1000}){1000}",
    "^(?!(?!a))b",
]
TERRIBLE = [
    "^(a+)+$",
    "(x+x+)+y",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "(.*a){30}b",
    "(a|aa)*b",
    "^(?!(a+)+$)x",
    "^((?!(a+)+b).)*$",
    "^((?!" + "a?" * 100 + "a" * 100 + "b).)*$",
    "^.*(?<!(a|aa)+b)$",
    "(?:a?){300}a{300}b",
    ".*a" * 60 + "b",
    "(a|b|ab)*" * 50 + "c",
]


@pytest.mark.parametrize("text", COMMON)
def test_common_patterns_mean_what_they_mean_elsewhere(text: str) -> None:
    for name in NAMES:
        assert Pattern(text).found_in(name) == (re.search(text, name) is not None), name


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_taken_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(PatternError) as caught:
        Pattern(text)
    assert "\n" not in str(caught.value)


def test_who_writes_for_another_engine_is_told() -> None:
    with pytest.raises(PatternError, match="lookahead is taken at the beginning, as in"):
        Pattern("a(?!b)")


@pytest.mark.parametrize("text", TERRIBLE)
def test_no_pattern_takes_long(text: str) -> None:
    """With Python's engine each of them takes longer than anybody waits."""
    pattern = Pattern(text)
    began = time.process_time()
    for name in ("a" * 255, "x" * 255, "a" * 254 + "!", "ab" * 127):
        pattern.found_in(name)
    assert time.process_time() - began < 0.5


def test_octets_that_are_no_text_are_characters() -> None:
    name = b"a\xff\xfeb".decode("utf-8", "surrogateescape")
    assert Pattern("^a..b$").found_in(name)
    assert Pattern("^a..b$").found_in(b"a\xff\xfeb")
    assert not Pattern("^a.b$").found_in(name)


def test_ignoring_case() -> None:
    assert Pattern("ORDERS", ignore_case=True).found_in("my orders")
    assert Pattern("^(?!ORDERS)", ignore_case=True).found_in("mine")
    assert not Pattern("^(?!ORDERS)", ignore_case=True).found_in("orders")


def assert_agrees_with_python(text: str, name: str) -> bool:
    """Was it taken?"""
    try:
        pattern = Pattern(text)
    except PatternError:
        return False
    assert pattern.found_in(name) == (re.search(text, name) is not None), (text, name)
    return True


def test_random_patterns_agree_with_python() -> None:
    dice = random.Random(7)
    pieces = ["a", "b", ".", "^", "$", "(a|b)", "[ab]", "[^a]", "a*", "b?", "(ab)+", "|", r"\.", "(?:a|$)"]
    for _ in range(3000):
        begin = dice.choice(["", "", "^(?!a)", "^(?=b|a)", "^(?!b$)"])
        text = begin + "".join(dice.choice(pieces) for _ in range(dice.randint(0, 5)))
        assert_agrees_with_python(text, "".join(dice.choice("ab.") for _ in range(dice.randint(0, 6))))


def test_random_patterns_that_look_around_agree_with_python() -> None:
    dice = random.Random(11)
    pieces = ["a", "b", ".", ".*", "(a|b)", "[ab]", "[^a]", "a*", "b?", "(ab)+", r"\.", r"\b", r"\n"]
    ahead = ["a", "ab", "a|b", r"\.", "a$", "$", "", "a*", "b.", "[ab]b", "^a", r"\n", r"\b", ".*b"]
    behind = ["a", "b", "ab", "a|b", r"\.", "[ab]b", "^a", r"\n", "..", r"a\b"]

    def looks_ahead() -> str:
        return f"{dice.choice(['(?!', '(?='])}{dice.choice(ahead)})"

    def looks_behind() -> str:
        return f"{dice.choice(['(?<!', '(?<='])}{dice.choice(behind)})"

    def some() -> str:
        return "".join(dice.choice(pieces) for _ in range(dice.randint(0, 3)))

    def free_of() -> str:
        return dice.choice(["((?!{}).)*", "(?:(?!{}).)+", "((?!{}).)*?"]).format(dice.choice(ahead))

    shapes = [
        lambda: f"^{free_of()}$",
        lambda: f"{some()}{looks_behind()}$",
        lambda: f"^{looks_ahead()}{free_of()}{looks_behind()}$",
        lambda: f"^{looks_ahead()}{some()}{looks_behind()}{looks_behind()}$",
        lambda: f"^({looks_ahead()}{some()}){some()}$",
        lambda: f"^{looks_ahead()}{some()}|{some()}{looks_behind()}$",
    ]
    taken = 0
    for _ in range(1000):
        text = dice.choice(["", "", "(?i)"]) + dice.choice(shapes)()
        for _ in range(4):
            taken += assert_agrees_with_python(text, "".join(dice.choice("abA.\n") for _ in range(dice.randint(0, 6))))
    assert taken > 3000
