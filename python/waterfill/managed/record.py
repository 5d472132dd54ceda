"""The record of what maintenance has decided and done: a line of JSON each, never rewritten."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import Any

from waterfill.training.manifest import utc_now

RECORD = "MANAGED.record"
"""The file in the folder."""


@dataclass(frozen=True)
class Event:
    """Something that maintenance decided or did.

    Attributes
    ----------
    what : str
        ``asked`` (other settings), ``trained``, ``kept`` (a new codec was refused), ``encoded``,
        ``measured``, ``drift``, ``rolled back`` or ``failed``.
    words : str
        In words, with the reason.
    vectors : int
        Number of vectors at that time.
    time : str
        UTC, ISO 8601.
    figures : dict
        What was measured, and fingerprints of codecs.
    """

    what: str
    words: str
    vectors: int
    time: str = field(default_factory=utc_now)
    figures: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.time}  {self.vectors:>12,} vectors  {self.what}: {self.words}"


class Record:
    """The events of a folder, in its file.

    A line that a crash cut off is left out when the record is read, and the next event starts a
    line of its own.
    """

    def __init__(self, path: str) -> None:
        self._name = os.path.join(path, RECORD)

    def append(self, event: Event) -> None:
        """Append an event and sync the file."""
        line = json.dumps(asdict(event)).encode() + b"\n"
        with open(self._name, "a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def events(self) -> list[Event]:
        """Return all events, the oldest first."""
        try:
            with open(self._name, "rb") as file:
                lines = file.read().splitlines()
        except FileNotFoundError:
            return []
        events = []
        for line in lines:
            try:
                events.append(Event(**json.loads(line)))
            except (ValueError, TypeError):  # cut off by a crash
                continue
        return events
