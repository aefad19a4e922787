"""docs/configuration.md tells the truth: its example is accepted, and it names every key with its default."""

import re
import tomllib
from pathlib import Path

import msgspec

from flowmq.server.config import LISTS, Settings, load_settings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "configuration.md").read_text()


def test_every_setting_stands_there_with_its_default() -> None:
    expected = {
        f"{section}.{key}": value
        for section, values in msgspec.to_builtins(Settings()).items()
        if not isinstance(values, list)
        for key, value in values.items()
    }
    found = {}
    for block in re.split(r"^## ", PAGE, flags=re.MULTILINE):
        if title := re.match(r"`\[(\w+)\]`", block):
            for key, default in re.findall(r"^\| `(\w+)` \| `?([^|`]+)`? \|", block, re.MULTILINE):
                found[f"{title[1]}.{key}"] = tomllib.loads(f"value = {default}")["value"]
    assert found == expected


def test_the_example_is_accepted_and_the_environment_says_the_same(tmp_path: Path) -> None:
    [example] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    file = tmp_path / "flowmq.toml"
    file.write_text(example)
    from_file = load_settings(str(file), {}, {})
    environ = {name: text.strip("'") for name, text in re.findall(r"^export (\w+)=(.*)$", PAGE, re.MULTILINE)}
    from_environment = load_settings(None, environ, {})
    lists = {name: getattr(from_file, name) for name in LISTS}
    assert msgspec.structs.replace(from_environment, **lists) == from_file
    assert [user.name for user in from_file.users] == ["orders"]
    assert [policy.name for policy in from_file.all_policies()] == ["retry", "bounds"]
