"""Texts in messages: what JSON can say, and no disk and no terminal can take."""

import json

import pytest

from obnam.wire.members import BadMessage, text


@pytest.mark.parametrize("said", [r'"\ud800"', r'"a\udfff"', r'"\udc80b"', r'"\ude00\ud83d"'])
def test_half_a_character_is_none(said: str) -> None:
    with pytest.raises(BadMessage, match="no Unicode text"):
        text(json.loads(f'{{"label": {said}}}'), "label")


@pytest.mark.parametrize("said", [r'"\ud83d\ude00"', '"\u00fc\ud7ff\ue000"', r'"\u0000"'])
def test_whole_ones_are(said: str) -> None:
    found = text(json.loads(f'{{"label": {said}}}'), "label")
    assert found.encode("utf-8").decode("utf-8") == found
