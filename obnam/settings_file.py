"""A YAML file with settings that somebody wrote: read whole, and asked key by key.

Both ends have one. Whatever is wrong is one line that names the file, the key, and what there may
be. What is not said is the asker's to know: each question has its default.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from obnam.errors import ConfigurationError
from obnam.model.shown import shown

FILE_MAX = 1 << 20
"""Bytes of a file of settings, or of secrets: more is some other file, or a device."""


@frozen
class SettingsFile:
    """A mapping of known keys to values. A key without a value counts as not given.

    ``where``: what stands before a key in a message, for a mapping within the file's.
    """

    path: Path
    _values: Mapping[object, object]
    where: str = ""

    @classmethod
    def read(cls, path: Path, keys: Sequence[str], *, advice: str = "") -> "SettingsFile":
        """Read it; ``advice``: what to do when there is none. An empty one gives nothing.

        Raises `ConfigurationError`, also for a key that is not among ``keys``.
        """
        values = read_yaml(path, advice=advice)
        return cls(path, {})._known({} if values is None else values, keys)

    def within(self, key: str, values: object, keys: Sequence[str]) -> "SettingsFile":
        """A mapping that is (in) the value of ``key``, with known keys of its own."""
        return evolve(self, where=f"{self.where}{key}: ")._known(values, keys)

    def get(self, key: str, default: object = None) -> object:
        """The value, whatever it is: ``None`` for a key that has none."""
        return self._values.get(key, default)

    def text(self, key: str) -> str | None:
        """A text, which is not empty; ``None``: not given."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value or "\0" in value:
            raise self.wrong(key, "must be a text")
        return value

    def place(self, key: str) -> Path | None:
        """A path, from the folder that the file is in, or from a home directory (``~``)."""
        text = self.text(key)
        return None if text is None else self.path.parent / os.path.expanduser(text)

    def number(self, key: str, default: int, low: int, high: int | None = None) -> int:
        """A whole number from ``low`` to ``high`` (``None``: to any)."""
        value = self.get(key)
        if value is None:
            return default
        if (
            isinstance(value, int)
            and not isinstance(value, bool)
            and low <= value
            and (high is None or value <= high)
        ):
            return value
        bounds = f", {low} or more" if high is None else f" from {low} to {high}"
        raise self.wrong(key, f"must be a whole number{bounds}")

    def flag(self, key: str, *, default: bool) -> bool:
        """Yes or no."""
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(key, "must be true or false")
        return value

    def wrong(self, key: str, problem: str) -> ConfigurationError:
        """What is to be raised for the value of a key."""
        return ConfigurationError(str(self.path), f"{self.where}{key}: {problem}")

    def _known(self, values: object, keys: Sequence[str]) -> "SettingsFile":
        """These values, if they are a mapping of such keys."""
        names = ", ".join(keys)
        if not isinstance(values, dict):
            problem = f"{self.where}must be a mapping with the keys {names}"
            raise ConfigurationError(str(self.path), problem)
        for key in values:
            if key not in keys:
                problem = f"{self.where}unknown key {shown(key)}; the known keys are {names}"
                raise ConfigurationError(str(self.path), problem)
        return evolve(self, values=values)


def read_yaml(path: Path, *, advice: str = "") -> object:
    """What is in a YAML file; ``advice``: what to do when there is none. `ConfigurationError`."""
    import yaml  # only here: not every command has a configuration

    text = _read_text(path, advice)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        node = loader.get_single_node()
        _refuse_twice(path, node)
        return None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigurationError(str(path), f"is not YAML{_why(error)}") from error
    finally:
        loader.dispose()


def _read_text(path: Path, advice: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_MAX + 1)
    except OSError as error:
        missing = advice and isinstance(error, FileNotFoundError)
        problem = f"does not exist; {advice}" if missing else f"cannot be read: {error.strerror}"
        raise ConfigurationError(str(path), problem) from error
    if len(data) > FILE_MAX:
        problem = f"is larger than {FILE_MAX} bytes: it is some other file"
        raise ConfigurationError(str(path), problem)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(str(path), "is not UTF-8 text") from error


def _why(error: Exception) -> str:
    """Where YAML ends in a text, and why, as far as is known."""
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f" (line {mark.line + 1}): {getattr(error, 'problem', '')}"
    character = getattr(error, "character", None)
    if isinstance(character, int):
        return f": it holds the character {character:#x}"
    return f": {error}" if isinstance(error, ValueError) else ""


def _refuse_twice(path: Path, node: Any) -> None:
    """A key that is there twice has one value in YAML, the last: the other would be lost."""
    pairs = node.value if getattr(node, "id", "") == "mapping" else []
    seen: set[str] = set()
    for key in (key for key, _ in pairs if isinstance(key.value, str)):
        if key.value in seen:
            line = key.start_mark.line + 1
            problem = f"{key.value}: is there twice (line {line}); write it once"
            raise ConfigurationError(str(path), problem)
        seen.add(key.value)
