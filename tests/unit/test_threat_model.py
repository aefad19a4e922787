"""The tests that the pages about safety name exist, and so do the pages that they point to."""

import re

import pytest

from tests.support.broker import ROOT

PAGES = ("docs/threat-model.md", "docs/limits.md", "SECURITY.md")


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page: str) -> None:
    text = (ROOT / page).read_text()
    named = re.findall(r"`((?:tests|deploy)/[\w./-]+)`", text)
    linked = re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", text)
    missing = [name for name in named if not (ROOT / name).exists()]
    missing += [name for name in linked if not ((ROOT / page).parent / name).exists()]
    assert named
    assert not missing
