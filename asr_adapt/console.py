"""Terminal output: results on standard output; lines, tables and progress bars on standard error."""

import contextlib
import errno
import io
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from asr_adapt.errors import DiskFull, printable

Item = TypeVar("Item")
_LOG_INTERVAL_S = 30.0
_RESULT_WIDTH = 120  # of tables that are written to a file or a pipe, too


class Console:
    """Where commands report. Progress is a moving bar on a terminal, and one line now and then in a log file."""

    def __init__(self, quiet: bool = False) -> None:
        self._rich = RichConsole(file=sys.stderr, quiet=quiet, soft_wrap=True, highlight=False)
        self._quiet = quiet

    def result(self, text: str = "") -> None:
        """Print one line of a command's result, on standard output.

        Raises:
            DiskFull: standard output is a file on a full disk. Nothing more is written to it.
            OSError: it cannot be written for another reason, such as a pipe that was closed.
        """
        if self._quiet:
            return
        try:
            print("\n".join(map(printable, text.split("\n"))), flush=True)
        except OSError as error:
            with contextlib.suppress(OSError):  # what is left in the buffer would raise again at exit
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
                raise DiskFull(
                    f"cannot be written ({error.strerror})", place="standard output", remedy="Make room."
                ) from error
            raise

    def heading(self, text: str) -> None:
        """Print the heading of a stage."""
        self._rich.print(f"\n[bold]{_safe(text)}[/bold]")

    def say(self, text: str) -> None:
        """Print one line."""
        self._rich.print(_safe(text))

    def warn(self, text: str) -> None:
        """Print one line that needs attention."""
        self._rich.print(f"[yellow]note:[/yellow] {_safe(text)}")

    def error(self, text: str) -> None:
        """Print one line about an item that failed."""
        self._rich.print(f"[red]error:[/red] {_safe(text)}")

    def table(
        self, title: str, header: Sequence[str], rows: Iterable[Sequence[str]], *, is_result: bool = False
    ) -> None:
        """Print a table; on standard output where it is the command's result."""
        table = Table(title=title, title_justify="left", title_style="italic", box=None, pad_edge=False)
        for name in header:
            table.add_column(_safe(name))
        for row in rows:
            table.add_row(*map(_safe, row))
        if not is_result:
            self._rich.print(table)
            return
        text = io.StringIO()
        RichConsole(file=text, width=max(self._rich.width, _RESULT_WIDTH), highlight=False).print(table)
        self.result(text.getvalue().rstrip("\n"))

    @contextmanager
    def progress(self, title: str, total: int) -> "Iterator[Bar]":
        """Show progress over `total` items."""
        if not self._rich.is_terminal:
            yield Bar(title, total, self, None, None)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                   TextColumn("{task.fields[note]}"))  # fmt: skip
        with Progress(*columns, console=self._rich, transient=True) as bar:
            yield Bar(title, total, self, bar, bar.add_task(title, total=total, note=""))


class Bar:
    """The progress of one stage."""

    def __init__(self, title: str, total: int, console: Console, bar: Progress | None, task: TaskID | None) -> None:
        self._title, self._total, self._console, self._bar, self._task = title, total, console, bar, task
        self._done = 0
        self._last_line = time.monotonic()

    def at(self, done: int, note: str = "") -> None:
        """Set the number of finished items."""
        self._done = done
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, note=note)
        elif time.monotonic() - self._last_line > _LOG_INTERVAL_S:
            self._last_line = time.monotonic()
            self._console.say(f"{self._title}: {done}/{self._total} {note}")

    def over(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items and count them."""
        for item in items:
            yield item
            self.at(self._done + 1)


def _safe(text: str) -> str:
    """Return text without rich's markup, terminal escapes or lone surrogates; line breaks are kept."""
    return escape("\n".join(map(printable, text.split("\n"))))
