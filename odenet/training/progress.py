"""What a training says while it runs: a bar in a terminal, a line an epoch elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class TrainingProgress:
    """A bar with loss, metric and time left, on standard error; plain lines where that is no terminal.

    Args:
        title: what is trained.
        steps: of the whole training.
        done: of them, before this process started.
        visible: False on all processes but the first.
    """

    def __init__(self, title: str, steps: int, done: int = 0, *, visible: bool = True) -> None:
        self.title = title
        self.console = Console(stderr=True, quiet=not visible)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
        live = visible and self.console.is_terminal
        self.bar = Progress(*columns, TimeRemainingColumn(), console=self.console, transient=True, disable=not live)
        self.task = self.bar.add_task(title, total=steps, completed=done)

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def step(self, status: str | None = None) -> None:
        """One step is done; `status` replaces what stands behind the title."""
        self.bar.update(self.task, advance=1, description=None if status is None else f"{self.title}  {status}")

    def line(self, text: str) -> None:
        """A line that stays."""
        self.console.print(f"{self.title}  {text}", highlight=False)
