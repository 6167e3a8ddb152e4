"""What both ends' files of settings have in common."""

from pathlib import Path

import pytest

from obnam.errors import ConfigurationError
from obnam.settings_file import SettingsFile

KEYS = ("text", "number", "flag", "more")


def read(folder: Path, text: str) -> SettingsFile:
    path = folder / "some.yaml"
    path.write_text(text)
    return SettingsFile.read(path, KEYS)


@pytest.mark.parametrize("text", ["", "{}", "# nothing", "text:\nnumber:\nflag:\nmore:\n"])
def test_what_is_not_given_is_the_askers_to_know(tmp_path: Path, text: str) -> None:
    file = read(tmp_path, text)
    assert file.text("text") is None
    assert file.place("text") is None
    assert file.number("number", 7, 1) == 7
    assert file.flag("flag", default=True)
    assert not file.flag("flag", default=False)


def test_what_is_given(tmp_path: Path) -> None:
    file = read(tmp_path, "text: a/b\nnumber: 3\nflag: false\n")
    assert file.text("text") == "a/b"
    assert file.place("text") == tmp_path / "a/b"
    assert file.number("number", 7, 3, 3) == 3
    assert not file.flag("flag", default=True)


@pytest.mark.parametrize("value", ["4", "1", "2.0", "true", "'3'", "[3]", "x"])
def test_numbers_have_bounds(tmp_path: Path, value: str) -> None:
    file = read(tmp_path, f"number: {value}")
    with pytest.raises(ConfigurationError, match=r"whole number from 2 to 3$"):
        file.number("number", 2, 2, 3)


def test_a_bound_that_there_is_not(tmp_path: Path) -> None:
    file = read(tmp_path, f"number: {1 << 80}")
    assert file.number("number", 2, 2) == 1 << 80
    with pytest.raises(ConfigurationError, match=f"number: must be a whole number, {1 << 81} or"):
        file.number("number", 2, 1 << 81)


def test_a_mapping_within(tmp_path: Path) -> None:
    file = read(tmp_path, "more: [{x: 1}, {y: 2}, 3]")
    given = file.get("more")
    assert isinstance(given, list)
    first, second, third = given
    within = file.within("more", first, ["x"])
    assert within.number("x", 0, 0) == 1
    with pytest.raises(ConfigurationError, match=r"some\.yaml: more: x: must be a text"):
        within.text("x")
    with pytest.raises(ConfigurationError, match="more: unknown key 'y'; the known keys are x"):
        file.within("more", second, ["x"])
    with pytest.raises(ConfigurationError, match="more: must be a mapping with the keys x"):
        file.within("more", third, ["x"])


def test_one_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        SettingsFile.read(tmp_path / "none.yaml", KEYS)
    with pytest.raises(ConfigurationError, match="does not exist; make one"):
        SettingsFile.read(tmp_path / "none.yaml", KEYS, advice="make one")
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        SettingsFile.read(tmp_path, KEYS, advice="make one")
