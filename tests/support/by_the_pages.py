"""Reads a repository by what ``docs/format/`` says, and with nothing of Obnam's own.

Each part is as short as its page allows. What is not as the page says fails an assertion.
"""

import base64
import hashlib
import json
import sqlite3
import struct
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xxhash
import zstandard
from attrs import define, field, frozen
from blake3 import blake3
from nacl._sodium import ffi, lib  # type: ignore[import-not-found]
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as xchacha20
from nacl.pwhash import argon2id
from nacl.signing import SigningKey, VerifyKey
from pyroaring import BitMap64

CHUNKS, COMMIT, KEYRING, COMPACTED = 1, 2, 3, 6
DATA, DATABASE, MANIFEST = 1, 2, 3


def derived(key: bytes, context: bytes) -> bytes:
    """keys.md"""
    return hashlib.blake2b(context, key=key, person=b"obnam keys 1", digest_size=32).digest()


@frozen
class Frame:
    """A frame of a segment, and its chunk's number."""

    id: bytes
    number: int
    content: bytes


def part(name: str) -> bytes:
    """segment.md: the id of a frame that is not a sealed chunk."""
    return b"\0" + name.encode("ascii").ljust(32, b"\0")


def segment(path: Path, repository_id: bytes) -> tuple[int, list[Frame]]:
    """segment.md: its kind, and its frames."""
    content = path.read_bytes()
    magic, version, kind, its_id = struct.unpack(">8sBB6x16s", content[:32])
    assert (magic, version, its_id) == (b"obnamseg", 1, repository_id)
    *said, count, its_id, number, _, end, checksum = struct.unpack(
        ">8sBB2xI16sQQQ16s", content[-72:]
    )
    assert said == [b"obnamend", 1, kind]
    assert its_id == repository_id
    assert path.name == f"{number:016x}"
    assert path.parent.name == f"{number >> 12:04x}"
    assert len(content) == end + 69 * count + 72
    assert xxhash.xxh3_128_digest(content[end:-16]) == checksum
    found, at = [], 32
    for entry in struct.iter_unpack(">33sQQI16s", content[end : end + 69 * count]):
        chunk_id, chunk_number, offset, length, digest = entry
        assert content[at : at + 37] == struct.pack(">33sI", chunk_id, length)
        assert offset == at + 37
        at = offset + length
        assert xxhash.xxh3_128_digest(content[offset:at]) == digest
        found.append(Frame(chunk_id, chunk_number, content[offset:at]))
    assert at == end
    return kind, found


def master_key(slots: list[dict[str, str]], passphrase: str) -> bytes:
    """keyring.md"""
    marks, found = set(), set()
    for slot in slots:
        sealed = base64.b64decode(slot["sealed"])
        if sealed[:2] == b"\1\0":
            marks.add(sealed[2:])
            continue
        form, function, passes, memory, salt, commitment, nonce = struct.unpack(
            "<BBIQ16s32s24s", sealed[:86]
        )
        assert (form, function) == (1, 1)
        typed = unicodedata.normalize("NFC", passphrase).encode("utf-8")
        stretched = argon2id.kdf(32, typed, salt, opslimit=passes, memlimit=memory)
        if derived(stretched, b"slot commitment") != commitment:
            continue
        bound = b"obnam keyring slot 1\x04" + bytes.fromhex(slot["slot"]) + sealed[:62]
        key = derived(stretched, b"slot seal")
        found.add(envelope(xchacha20(sealed[86:], bound, nonce, key)))
    (key,) = found
    assert marks == {derived(key, b"key mark")}
    return key


def envelope(content: bytes) -> bytes:
    """chunk.md: the plaintext."""
    compression, length = struct.unpack("<BI", content[:5])
    payload, padding = content[5 : 5 + length], content[5 + length :]
    if compression == 1:
        frame = zstandard.ZstdDecompressor().decompressobj()
        payload, padding = frame.decompress(content[5:]), frame.unused_data
    assert len(payload) == length
    assert not any(padding)
    return payload


def aegis256(ciphertext: bytes, bound: bytes, nonce: bytes, key: bytes) -> bytes:
    """libsodium's; PyNaCl has no function of its own for it."""
    plain = ffi.new("unsigned char[]", len(ciphertext) - 32)
    given = ciphertext, len(ciphertext), bound, len(bound), nonce, key
    assert lib.crypto_aead_aegis256_decrypt(plain, ffi.NULL, ffi.NULL, *given) == 0
    return bytes(ffi.buffer(plain))


@define
class Repository:
    """The repository in a data directory that has only one; it is opened by a passphrase."""

    data: Path
    passphrase: str
    home: Path = field(init=False)
    id: bytes = field(init=False)
    chunks: dict[bytes, Frame] = field(init=False, factory=dict)
    commits: list[dict[bytes, bytes]] = field(init=False, factory=list)
    master: bytes = field(init=False)

    def __attrs_post_init__(self) -> None:
        (self.home,) = (self.data / "repositories").iterdir()
        self.id = bytes.fromhex(json.loads((self.home / "repository").read_text())["id"])
        keyrings = []
        for path in sorted((self.home / "segments").glob("*/*")):
            kind, frames = segment(path, self.id)
            if kind in (CHUNKS, COMPACTED):
                self.chunks.update({frame.id: frame for frame in frames})
            elif kind == COMMIT:
                self.commits.append({frame.id: frame.content for frame in frames})
            elif kind == KEYRING:
                assert [frame.id for frame in frames] == [part("keyring")]
                keyrings.append(json.loads(frames[0].content))
        newest = max(keyrings, key=lambda keyring: int(keyring["version"]))
        self.master = master_key(newest["slots"], self.passphrase)

    def open(self, kind: int, chunk_id: bytes, sealed: bytes) -> bytes:
        """chunk.md"""
        form, suite, epoch = struct.unpack("<BBH", sealed[:4])
        assert (form, epoch) == (1, 0)
        decrypt, size = {1: (xchacha20, 24), 2: (aegis256, 32)}[suite]
        bound = b"obnam chunk 1" + sealed[:4] + bytes([kind]) + chunk_id
        key = derived(self.master, b"data" if kind == DATA else b"metadata")
        plain = envelope(decrypt(sealed[4 + size :], bound, sealed[4 : 4 + size], key))
        name = {DATA: b"id data", DATABASE: b"id generation database", MANIFEST: b"id manifest"}
        assert chunk_id == b"\1" + blake3(plain, key=derived(self.master, name[kind])).digest()
        return plain

    def chunk(self, kind: int, chunk_id: bytes) -> bytes:
        """One that is stored."""
        return self.open(kind, chunk_id, self.chunks[chunk_id].content)

    def generations(self) -> Iterator[dict[str, Any]]:
        """receipt.md, manifest.md: all manifests, oldest first."""
        verify = VerifyKey(
            bytes.fromhex(json.loads((self.data / "server-key").read_text())["public"])
        )
        ours = SigningKey(derived(self.master, b"signing")).verify_key
        before = bytes(32)
        said = [(json.loads(commit[part("receipt")]), commit) for commit in self.commits]
        for receipt, commit in sorted(said, key=lambda each: int(each[0]["sequence"])):
            manifest_id = bytes.fromhex(receipt["manifest_id"])
            client = receipt["client"].encode("ascii")
            signed = b"obnam receipt 1\n" + self.id
            signed += struct.pack(">QQ", receipt["sequence"], receipt["received_ns"])
            signed += bytes.fromhex(receipt["generation"]) + manifest_id + before
            signed += bytes([len(client)]) + client
            verify.verify(signed, bytes.fromhex(receipt["countersigned"]["signature"]))
            before = hashlib.sha256(signed).digest()

            plain = self.open(MANIFEST, manifest_id, commit[manifest_id])
            line, signature, document = plain[:17], plain[17:81], plain[81:]
            assert line == b"obnam manifest 1\n"
            ours.verify(b"obnam signature 1\x11" + line + document, signature)
            manifest: dict[str, Any] = json.loads(document)
            assert manifest["generation"] == receipt["generation"]
            assert manifest["chunks"] == [receipt["chunk_count"], receipt["xor"]]
            numbers = BitMap64.deserialize(commit[part("chunk set")])
            ids = [each.id for each in self.chunks.values() if each.number in numbers]
            xor = 0
            for chunk_id in ids:
                xor ^= int.from_bytes(chunk_id, "big")
            assert manifest["chunks"] == [len(ids), f"{xor:066x}"]
            yield manifest

    def database(self, manifest: dict[str, Any], path: Path) -> sqlite3.Connection:
        """manifest.md: the database that its page map leads to."""
        page_map = manifest["database"]
        chunks = [self.chunk(DATABASE, bytes.fromhex(name)) for name, _ in page_map["chunks"]]
        assert [len(chunk) // 4096 for chunk in chunks] == [n for _, n in page_map["chunks"]]
        content = b""
        for page, count, chunk, start in page_map["runs"]:
            assert page * 4096 == len(content)
            content += chunks[chunk][start * 4096 : (start + count) * 4096]
        assert xxhash.xxh3_128_hexdigest(content) == page_map["checksum"]
        path.write_bytes(content)
        database = sqlite3.connect(path)
        assert database.execute("PRAGMA application_id").fetchone() == (0x4F424E4D,)
        return database

    def files(self, database: sqlite3.Connection) -> Iterator[tuple[bytes, bytes | None]]:
        """generation-database.md: path, and content of files; ``None`` of all else."""
        chunks = dict(database.execute("SELECT number, id FROM chunk"))
        waiting: list[tuple[int, bytes]] = [(0, b"")]
        while waiting:
            directory, before = waiting.pop()
            for name, kind, size, checksum, chunk, start, number in database.execute(
                "SELECT name, kind, size, checksum, chunk, start, number FROM entry "
                "WHERE directory = ?",
                (directory,),
            ):
                if kind == 2:
                    waiting.append((number, before + name + b"/"))
                if kind != 1:
                    yield before + name, None
                    continue
                pieces = [(0, chunk, start, size)] if chunk is not None else []
                if number is not None:
                    pieces = database.execute(
                        "SELECT position, chunk, start, length FROM extent WHERE file = ?",
                        (number,),
                    ).fetchall()
                content = bytearray(size)
                for position, chunk_number, at, length in pieces:
                    plain = self.chunk(DATA, chunks[chunk_number])
                    content[position : position + length] = plain[at : at + length]
                assert xxhash.xxh3_128_digest(content) == checksum
                yield before + name, bytes(content)
