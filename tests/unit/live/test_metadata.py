import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obnam.live import metadata
from obnam.live.metadata import (
    BadAttributes,
    decode_attributes,
    encode_attributes,
    read_attributes,
    read_attributes_at,
    read_link,
)
from tests.unit.live.trees import ODD_NAMES

ATTRIBUTES = ((b"user.a", b""), (b"user.b", b"\0\xff" * 50), (b"user.c", b"c"))

attribute_sets = st.dictionaries(
    st.binary(min_size=1, max_size=255).filter(lambda name: b"\0" not in name),
    st.binary(max_size=300),
    max_size=6,
).map(lambda each: tuple(sorted(each.items())))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.touch()
    try:
        os.setxattr(path, b"user.probe", b"")
        os.removexattr(path, b"user.probe")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    return path


def test_attributes_come_sorted_however_they_are_reached(file: Path) -> None:
    for name, value in reversed(ATTRIBUTES):
        os.setxattr(file, name, value)
    directory = os.open(file.parent, os.O_RDONLY)
    descriptor = os.open(file, os.O_RDONLY)

    assert read_attributes(descriptor) == ATTRIBUTES
    assert read_attributes_at(directory, b"file") == ATTRIBUTES
    assert read_attributes_at(-1, os.fsencode(file)) == ATTRIBUTES
    os.close(descriptor)
    os.close(directory)


def test_there_are_mostly_none(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    assert read_attributes(descriptor) == ()
    os.close(descriptor)


def test_links_are_not_followed(file: Path) -> None:
    os.setxattr(file, b"user.a", b"of the file")
    (file.parent / "link").symlink_to("file")
    directory = os.open(file.parent, os.O_RDONLY)
    assert read_attributes_at(directory, b"link") == ()
    os.close(directory)


def test_fifos_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    directory = os.open(tmp_path, os.O_RDONLY)
    assert read_attributes_at(directory, b"fifo") == ()
    os.close(directory)


def test_a_file_system_without_attributes_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object, *, follow_symlinks: bool = True) -> list[str]:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(os, "listxattr", refuse)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    assert read_attributes(descriptor) == ()
    os.close(descriptor)


def test_an_attribute_removed_meanwhile_is_left_out(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.setxattr(file, b"user.b", b"b")
    monkeypatch.setattr(os, "listxattr", lambda path, follow_symlinks=True: ["user.a", "user.b"])
    descriptor = os.open(file, os.O_RDONLY)
    assert read_attributes(descriptor) == ((b"user.b", b"b"),)
    os.close(descriptor)


def test_too_many_are_an_error(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "ATTRIBUTES_MAX", 100)
    os.setxattr(file, b"user.a", b"x" * 100)
    descriptor = os.open(file, os.O_RDONLY)
    with pytest.raises(OSError, match="more than 100 bytes"):
        read_attributes(descriptor)
    os.close(descriptor)


@pytest.mark.parametrize("target", [*ODD_NAMES, b"/etc/passwd", b"../..", b"t" * 4095])
def test_link_targets_are_bytes(tmp_path: Path, target: bytes) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    os.symlink(target, b"link", dir_fd=directory)
    assert read_link(directory, b"link") == target
    os.close(directory)


def test_the_layout_of_encoded_attributes_does_not_change() -> None:
    assert encode_attributes(((b"user.a", b"xyz"),)) == b"\x06\x03\0\0\0user.axyz"
    assert encode_attributes(()) == b""


@given(attribute_sets)
def test_what_is_encoded_is_decoded(attributes: tuple[tuple[bytes, bytes], ...]) -> None:
    assert decode_attributes(encode_attributes(attributes)) == attributes


@given(attribute_sets.filter(bool), st.data())
def test_what_is_cut_short_is_refused(
    attributes: tuple[tuple[bytes, bytes], ...], data: st.DataObject
) -> None:
    encoded = encode_attributes(attributes)
    ends = {len(encode_attributes(attributes[:count])) for count in range(len(attributes) + 1)}
    end = data.draw(st.integers(1, len(encoded)).filter(lambda end: end not in ends))
    with pytest.raises(BadAttributes):
        decode_attributes(encoded[:end])


@given(st.binary(max_size=100))
def test_decoding_anything_is_refused_or_can_be_encoded_again(data: bytes) -> None:
    try:
        attributes = decode_attributes(data)
    except BadAttributes:
        return
    assert encode_attributes(attributes) == data


@pytest.mark.parametrize(
    "attributes",
    [
        ((b"user.b", b""), (b"user.a", b"")),
        ((b"user.a", b""), (b"user.a", b"")),
        ((b"", b""),),
        ((b"user.\0", b""),),
        ((b"user.a", b"x" * (metadata.VALUE_MAX + 1)),),
    ],
)
def test_attributes_that_no_backup_writes_are_refused(
    attributes: tuple[tuple[bytes, bytes], ...],
) -> None:
    with pytest.raises(BadAttributes):
        decode_attributes(encode_attributes(attributes))


def test_more_than_the_limit_is_refused() -> None:
    with pytest.raises(BadAttributes):
        decode_attributes(b"x" * (metadata.ATTRIBUTES_MAX + 1))


def test_acls_that_xfs_shows_twice_are_kept_once(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root sees there how they are stored, too; see `test_elsewhere` for the real thing."""
    shown = ["user.a", "trusted.SGI_ACL_FILE", "trusted.SGI_ACL_DEFAULT", "trusted.own"]
    monkeypatch.setattr(os, "listxattr", lambda place, follow_symlinks=True: shown)
    monkeypatch.setattr(os, "getxattr", lambda place, name, follow_symlinks=True: name)
    descriptor = os.open(file, os.O_RDONLY)
    found = read_attributes(descriptor)
    os.close(descriptor)
    assert [name for name, _ in found] == [b"trusted.own", b"user.a"]
