"""Generations and their entries as people and programs read them. Pure, but for `entries`."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

from obnam.generation.local import LocalEntry, LocalGeneration
from obnam.model.entry import Kind, printable
from obnam.repository.opening import OpenedGeneration
from obnam.wire.listing import ListedGeneration
from obnam.wire.messages import GenerationSummary


def generation_line(listed: ListedGeneration, zone: tzinfo | None = None) -> str:
    """One generation of ``obnam list``: the summary's line, and what was decided about it."""
    line = summary_line(listed.summary, zone)
    if listed.pinned is not None:
        line += f"  (pinned: {_safe(listed.pinned)})"
    if listed.trashed_ns is not None:
        line += f"  (in the trash since {local_time(listed.trashed_ns, zone)}{until(listed, zone)})"
    return line


def until(listed: ListedGeneration, zone: tzinfo | None = None) -> str:
    """Until when a generation can be had back from the trash, if the server has said so."""
    if listed.until_ns is None:
        return ""
    return f", until {local_time(listed.until_ns, zone)} at least"


def summary_line(summary: GenerationSummary, zone: tzinfo | None = None) -> str:
    """One generation: id, time of receipt, client."""
    when = local_time(summary.receipt.received_ns, zone)
    partial = "  (partial)" if summary.partial else ""
    return f"{summary.receipt.generation}  {when}  {summary.client}{partial}"


def generation_to_json(listed: ListedGeneration) -> dict[str, Any]:
    """The same for programs."""
    summary = listed.summary
    return {
        "generation": summary.receipt.generation,
        "received": iso_time(summary.receipt.received_ns),
        "client": summary.client,
        "partial": summary.partial,
        "chunks": summary.chunk_count,
        "pinned": listed.pinned,
        "trashed": None if listed.trashed_ns is None else iso_time(listed.trashed_ns),
        "until": None if listed.until_ns is None else iso_time(listed.until_ns),
    }


def description(opened: OpenedGeneration, verified: bool | None = None) -> dict[str, Any]:
    """What a generation knows about itself. Sizes in bytes.

    ``verified``: whether its receipt bears the signature of the server's key.
    """
    manifest = opened.manifest
    return {
        "generation": manifest.generation,
        "client": manifest.client,
        "host": manifest.host,
        "sequence": manifest.sequence,
        "previous": None if manifest.previous is None else manifest.previous.generation,
        "partial": manifest.partial,
        "started": iso_time(manifest.started_ns),
        "ended": iso_time(manifest.ended_ns),
        "received": iso_time(opened.received_ns),
        "receipt": opened.receipt.sequence,
        "receipt_verified": verified,
        "roots": [name_to_json(root) for root in manifest.roots],
        **dict(sorted(manifest.counts.items())),
        "chunks": manifest.chunks.count,
        "obnam_version": manifest.obnam_version,
    }


def description_lines(opened: OpenedGeneration, verified: bool | None = None) -> Iterator[str]:
    """The same for people, a fact a line."""
    for name, value in description(opened, verified).items():
        if name == "roots":
            for root in opened.manifest.roots:
                yield f"root: {printable(root)}"
        else:
            text = {"None": "none", "True": "yes", "False": "no"}.get(str(value), str(value))
            yield f"{name.replace('_', '-')}: {_safe(text)}"


def entries(path: Path) -> Iterator[LocalEntry]:
    """All entries of the generation database at ``path``. Blocks; raises `DamagedGeneration`."""
    generation = LocalGeneration(path)
    try:
        yield from generation.walk()
    finally:
        generation.close()


def entry_line(entry: LocalEntry) -> str:
    """One entry of ``obnam list-files``: kind letter, path, reason."""
    return f"{Kind(entry.row.kind).letter} {printable(entry.path)} ({entry.reason.word})"


def entry_to_json(entry: LocalEntry) -> dict[str, Any]:
    """The same for programs. Times: ns since the epoch."""
    row = entry.row
    value: dict[str, Any] = {
        **name_to_json(entry.path),
        "kind": Kind(row.kind).letter,
        "reason": entry.reason.word,
        "mode": None if row.mode is None else f"{row.mode:04o}",
        "uid": row.uid,
        "gid": row.gid,
        "mtime_ns": row.mtime_ns,
    }
    if row.kind == Kind.FILE:
        value["size"] = row.size
    if row.target is not None:
        value["target"] = name_to_json(row.target)
    return value


def name_to_json(name: bytes) -> dict[str, str]:
    """A name or path: ``path`` is text; one that is not UTF-8 has ``path_base64`` instead."""
    try:
        return {"path": name.decode("utf-8")}
    except UnicodeDecodeError:
        return {"path_base64": base64.b64encode(name).decode("ascii")}


def _safe(text: str) -> str:
    """A text that another end wrote, with nothing in it that could play with a terminal."""
    return text if text.isprintable() else ascii(text)


def local_time(time_ns: int, zone: tzinfo | None = None) -> str:
    """For people; ``zone`` ``None``: that of this computer."""
    return f"{datetime.fromtimestamp(time_ns // 10**9, UTC).astimezone(zone):%Y-%m-%d %H:%M:%S}"


def iso_time(time_ns: int) -> str:
    """For programs: UTC, ISO 8601."""
    return f"{datetime.fromtimestamp(time_ns // 10**9, UTC):%Y-%m-%dT%H:%M:%SZ}"
