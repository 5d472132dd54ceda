"""Progress that is seen: a bar in a terminal, a line in a notebook, lines elsewhere."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import time
from html import escape
from typing import Any, Protocol

from waterfill._util.progress import Progress, duration

DELAY = 0.5
"""Seconds before progress is shown: short calls show none."""

_LINE_SECONDS = 10.0  # between lines where there is no terminal


class Display(Protocol):
    """Shows progress."""

    def show(self, progress: Progress) -> None:
        """Show how far a call is."""

    def note(self, line: str) -> None:
        """Show a line that stays."""

    def close(self) -> None:
        """Show no more."""


def display(wanted: bool | None) -> Display | None:
    """Return what shows progress here.

    Parameters
    ----------
    wanted : bool or None
        None: only in a terminal or a notebook.
    """
    notebook = in_notebook()
    terminal = sys.stderr is not None and sys.stderr.isatty()  # None in a program without a console
    if wanted is None:
        wanted = notebook or terminal
    if not wanted:
        return None
    if notebook:
        return NotebookLine()
    if not terminal:
        return Lines()
    return RichBar() if importlib.util.find_spec("rich") is not None else Lines()


def in_notebook() -> bool:
    """Return whether the call was made in a notebook, which has no terminal but can show HTML."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return type(shell).__name__ == "ZMQInteractiveShell"


class Lines:
    """Lines on stderr: one for each phase, and one from time to time."""

    def __init__(self) -> None:
        self._phase, self._next = "", time.monotonic() + DELAY

    def show(self, progress: Progress) -> None:
        """Print a line if it is time."""
        now = time.monotonic()
        if now < self._next:
            return
        self._phase, self._next = progress.phase, now + _LINE_SECONDS
        self.note(str(progress))

    def note(self, line: str) -> None:
        """Print a line."""
        print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing is left to do."""


class RichBar:
    """A bar of the package rich, which disappears at the end."""

    def __init__(self) -> None:
        rich = importlib.import_module("rich.progress")
        console = importlib.import_module("rich.console").Console(stderr=True)
        columns = (
            rich.TextColumn("{task.description}"),
            rich.BarColumn(),
            rich.TextColumn("{task.fields[rate]}"),
            rich.TimeElapsedColumn(),
            rich.TextColumn("{task.fields[left]}"),
        )
        self._bar = rich.Progress(*columns, console=console, transient=True)
        self._task: Any = None
        self._phase: Any = None
        self._lock = threading.Lock()
        self._ended = False
        self._timer = threading.Timer(DELAY, self._start)  # a phase may tell nothing for long
        self._timer.daemon = True
        self._timer.start()

    def _start(self) -> None:
        with self._lock:
            if not self._ended:
                self._bar.start()

    def show(self, progress: Progress) -> None:
        """Update the bar."""
        fields = {"rate": progress.speed, "left": progress.left}
        if self._phase != progress.phase:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._phase = progress.phase
            self._task = self._bar.add_task(progress.phase, total=progress.total, **fields)
        self._bar.update(self._task, completed=progress.done, **fields)

    def note(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(line, markup=False, highlight=False)

    def close(self) -> None:
        """Remove the bar."""
        self._timer.cancel()
        with self._lock:
            self._ended = True
            self._bar.stop()


class NotebookLine:
    """A line of HTML below the cell, which is updated; without JavaScript and widgets."""

    def __init__(self) -> None:
        self._begun, self._handle = time.monotonic(), None
        self._phase = ""

    def show(self, progress: Progress) -> None:
        """Update the line."""
        self._phase = progress.phase
        if time.monotonic() - self._begun < DELAY:
            return
        self._put(str(progress), _bar_html(progress))

    def note(self, line: str) -> None:
        """Print a line that stays."""
        print(line)

    def close(self) -> None:
        """Say how long it took, in place of the bar."""
        if self._handle is not None:
            text = f"{self._phase}: ended after {duration(time.monotonic() - self._begun)}"
            self._put(text, escape(text))

    def _put(self, text: str, html: str) -> None:
        show = importlib.import_module("IPython.display").display
        content = {"text/plain": text, "text/html": html}
        if self._handle is None:
            self._handle = show(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


def _bar_html(progress: Progress) -> str:
    value = "" if progress.total is None else f' max="{progress.total}" value="{progress.done}"'
    return f"<progress{value}></progress> {escape(str(progress))}"
