import errno
import os
import resource
import stat
from pathlib import Path

import pytest

from obnam.errors import BadRoot
from obnam.live import scan
from obnam.live.scan import CACHE_TAG_NAME, CACHE_TAG_SIGNATURE, Listing, Walk, is_cache_directory
from obnam.open_files import DIRECTORIES_MOST
from tests.unit.live.trees import (
    ODD_NAMES,
    as_ordinary_user,
    make_chain,
    open_descriptors,
    place_for_all,
    walk_all,
)


def test_lists_directories_depth_first_and_names_in_byte_order(tmp_path: Path) -> None:
    for name in ("b", "b/z", "b/a", "a", "B", "b/a/deep"):
        (tmp_path / name).mkdir()
    (tmp_path / "b" / "m").write_bytes(b"x")
    top = os.fsencode(tmp_path)

    listings = walk_all(top)

    assert [listing.path.removeprefix(top) for listing in listings] == [
        b"", b"/B", b"/a", b"/b", b"/b/a", b"/b/a/deep", b"/b/z",
    ]  # fmt: skip
    assert listings[0].names == [b"B", b"a", b"b"]
    assert listings[3].names == [b"a", b"m", b"z"]
    assert all(listing.first and listing.last for listing in listings)


def test_bytes_not_characters_are_what_is_sorted(tmp_path: Path) -> None:
    # As text, U+10000 comes before the surrogates that stand for bytes that are not UTF-8.
    names = ["\U00010000".encode(), b"\xff", b"\xf5", "\ufb01".encode()]
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).touch()

    assert walk_all(os.fsencode(tmp_path))[0].names == sorted(names)


def test_odd_names_come_as_they_are(tmp_path: Path) -> None:
    top = os.fsencode(tmp_path)
    for name in ODD_NAMES:
        os.mkdir(os.path.join(top, name))

    listings = walk_all(top)

    assert listings[0].names == sorted(ODD_NAMES)
    assert [listing.path for listing in listings[1:]] == [
        os.path.join(top, name) for name in sorted(ODD_NAMES)
    ]


def test_stats_are_of_links_themselves(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "loop").symlink_to(".")

    (listing,) = walk_all(os.fsencode(tmp_path))

    modes = [status.st_mode for status in listing.stats if not isinstance(status, OSError)]
    assert [stat.S_IFMT(mode) for mode in modes] == [stat.S_IFREG, stat.S_IFLNK, stat.S_IFLNK]


def test_only_what_the_caller_enters_is_walked(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name / "below").mkdir(parents=True)

    with Walk(os.fsencode(tmp_path)) as walk:
        next(walk)
        walk.enter([b"c"])
        walk.enter([b"a"])
        paths = [os.path.basename(listing.path) for listing in walk]

    assert paths == [b"a", b"c"]


def test_a_huge_directory_comes_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "SLICE_ENTRIES", 4)
    for number in range(10):
        (tmp_path / f"{number}").mkdir()

    with Walk(os.fsencode(tmp_path)) as walk:
        listings = []
        for listing in walk:
            listings.append(listing)
            if listing.path == walk.root:
                walk.enter([listing.names[-1]])

    slices, below = listings[:3], listings[3:]
    assert [len(each.names) for each in slices] == [4, 4, 2]
    assert [len(each.stats) for each in slices] == [4, 4, 2]
    assert [(each.first, each.last) for each in slices] == [
        (True, False), (False, False), (False, True),
    ]  # fmt: skip
    assert [os.path.basename(each.path) for each in below] == [b"3", b"7", b"9"]


@pytest.mark.parametrize("count", [0, 4, 8])
def test_slices_end_where_the_names_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(scan, "SLICE_ENTRIES", 4)
    for number in range(count):
        (tmp_path / f"{number}").touch()

    listings = walk_all(os.fsencode(tmp_path))

    assert sum(len(listing.names) for listing in listings) == count
    assert [listing.last for listing in listings] == [False] * (len(listings) - 1) + [True]
    assert len(listings) == max(count // 4, 1)


def test_paths_may_be_longer_than_path_max(tmp_path: Path) -> None:
    names = [b"%02d" % number + b"n" * 198 for number in range(30)]
    bottom = make_chain(tmp_path, names)

    listings = walk_all(os.fsencode(tmp_path))

    assert len(bottom) > 4096
    assert listings[-1].path == bottom
    assert len(listings) == len(names) + 1


def test_descriptors_are_bounded_and_closed_directories_are_found_again(tmp_path: Path) -> None:
    depth = DIRECTORIES_MOST + 100
    make_chain(tmp_path, [b"d"] * depth, beside=b"e")
    before, most, seen = open_descriptors(), 0, []

    with Walk(os.fsencode(tmp_path)) as walk:
        for listing in walk:
            most = max(most, open_descriptors())
            seen.append(listing)
            walk.enter(listing.names)

    assert [listing.error for listing in seen] == [None] * (1 + 2 * depth)
    assert len({listing.path for listing in seen}) == 1 + 2 * depth
    assert most - before <= DIRECTORIES_MOST + 3
    assert open_descriptors() == before


@pytest.mark.parametrize("also_renamed", [False, True])
def test_a_tree_moved_meanwhile_is_left_and_the_rest_is_walked(
    tmp_path: Path, also_renamed: bool
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    depth = DIRECTORIES_MOST + 50
    make_chain(root, [b"d"] * depth, beside=b"e")
    failed: list[Listing] = []
    fine: list[Listing] = []

    def levels_down(listing: Listing) -> int:
        return listing.path.removeprefix(os.fsencode(root)).count(b"/d")

    with Walk(os.fsencode(root)) as walk:
        for listing in walk:
            (failed if listing.error else fine).append(listing)
            walk.enter(listing.names)
            if levels_down(listing) == depth:
                # Far up, where descriptors are closed: ".." now leads out of the root.
                os.rename(root.joinpath(*"d" * 20), tmp_path / "elsewhere")
                if also_renamed:
                    os.rename(root.joinpath(*"d" * 10), root.joinpath(*"d" * 9, "other"))
    outside = [each for each in fine if not each.path.startswith(os.fsencode(root))]

    assert outside == []
    # Without the rename, all is found again by its names from the root.
    lost = list(range(19, 9, -1)) if also_renamed else []
    assert [levels_down(each) for each in failed] == lost
    assert len(fine) + len(failed) == 1 + 2 * depth


def test_a_directory_swapped_for_a_link_is_not_entered(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "inside").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret").touch()

    with Walk(os.fsencode(root)) as walk:
        walk.enter(next(walk).names)
        (root / "inside").rmdir()
        (root / "inside").symlink_to(outside)
        rest = list(walk)

    (listing,) = rest
    assert listing.path == os.fsencode(root / "inside")
    assert isinstance(listing.error, NotADirectoryError)
    assert (listing.names, listing.first, listing.last) == ([], True, True)


def test_entries_that_vanish_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "SLICE_ENTRIES", 1)
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()

    with Walk(os.fsencode(tmp_path)) as walk:
        next(walk)
        (tmp_path / "b").unlink()
        second = next(walk)

    assert second.names == [b"b"]
    assert isinstance(second.stats[0], FileNotFoundError)
    assert second.error is None


def test_a_directory_that_vanished_is_reported_and_the_walk_goes_on(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()

    with Walk(os.fsencode(tmp_path)) as walk:
        walk.enter(next(walk).names)
        (tmp_path / "a").rmdir()
        gone, there = walk

    assert isinstance(gone.error, FileNotFoundError)
    assert there.error is None


def test_unreadable_and_unsearchable_directories_are_reported() -> None:
    with place_for_all() as place:

        def walk() -> list[tuple[bytes, list[bytes], int | None]]:
            for name, mode in (("a", 0o755), ("b", 0o300), ("c", 0o600), ("d", 0o755)):
                (place / name / "sub").mkdir(parents=True)
                (place / name).chmod(mode)
            try:
                return [
                    (
                        os.path.basename(each.path),
                        each.names,
                        each.error.errno if each.error else None,
                    )
                    for each in walk_all(os.fsencode(place))
                ]
            finally:
                for name in "abcd":
                    (place / name).chmod(0o700)

        found = as_ordinary_user(walk)

    assert [(name, names, error) for name, names, error in found if error] == [
        (b"b", [], errno.EACCES),
        (b"c", [b"sub"], errno.EACCES),
    ]
    assert [name for name, _, error in found[1:] if not error] == [b"a", b"sub", b"d", b"sub"]


def test_descriptor_is_that_of_the_listed_directory(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()

    with Walk(os.fsencode(tmp_path)) as walk:
        for listing in walk:
            assert os.fstat(listing.descriptor).st_ino == os.stat(listing.path).st_ino
            walk.enter(listing.names)
        assert walk.root_status.st_ino == tmp_path.stat().st_ino


def test_entering_without_a_listing_is_refused(tmp_path: Path) -> None:
    with Walk(os.fsencode(tmp_path)) as walk:
        walk.enter([])
        with pytest.raises(ValueError, match="current listing"):
            walk.enter([b"a"])


def test_bad_roots_say_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    before = open_descriptors()

    for name, why in (
        ("missing", "there is no such directory"),
        ("file", "not a directory"),
        ("link", "it is a symbolic link"),
    ):
        with pytest.raises(BadRoot, match=why) as caught:
            Walk(os.fsencode(tmp_path / name))
        assert str(tmp_path / name) in str(caught.value)
    assert open_descriptors() == before


def test_an_unreadable_root_is_bad() -> None:
    with place_for_all() as place:

        def walk() -> str:
            (place / "root").mkdir(mode=0o000)
            with pytest.raises(BadRoot) as caught:
                Walk(os.fsencode(place / "root"))
            return str(caught.value)

        assert "permission denied" in as_ordinary_user(walk)


def _is_tagged(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return is_cache_directory(descriptor)
    finally:
        os.close(descriptor)


def test_cache_directories_are_known_by_the_signature(tmp_path: Path) -> None:
    tag = tmp_path / os.fsdecode(CACHE_TAG_NAME)
    assert not _is_tagged(tmp_path)
    tag.write_bytes(CACHE_TAG_SIGNATURE[:-1])
    assert not _is_tagged(tmp_path)
    tag.write_bytes(b" " + CACHE_TAG_SIGNATURE)
    assert not _is_tagged(tmp_path)
    tag.write_bytes(CACHE_TAG_SIGNATURE + b"\n# made by something\n")
    assert _is_tagged(tmp_path)


def test_cache_tags_that_are_no_regular_files_do_not_count(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_bytes(CACHE_TAG_SIGNATURE)
    tag = tmp_path / os.fsdecode(CACHE_TAG_NAME)
    tag.symlink_to(real)
    assert not _is_tagged(tmp_path)
    tag.unlink()
    os.mkfifo(tag)  # would wait for a writer, if it was opened to be read
    assert not _is_tagged(tmp_path)
    tag.unlink()
    tag.mkdir()
    assert not _is_tagged(tmp_path)


def test_few_directories_are_open_where_few_files_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda what: (40, 40))
    make_chain(tmp_path, [b"d"] * 60, beside=b"e")
    before, most = open_descriptors(), 0
    with Walk(os.fsencode(tmp_path)) as walk:
        for listing in walk:
            assert listing.error is None
            most = max(most, open_descriptors())
            walk.enter(listing.names)
    assert most - before <= 10 + 3
