"""`make bench`: python -m tests.bench [PART …]. Without a part, all but `learning`, which takes hours of a fleet."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from tests.bench import answers, checkpoints, learning, speed
from tests.bench.page import write_page
from tests.bench.turns import Tell

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
PARTS: Mapping[str, Callable[[speed.Effort, Tell], None]] = {
    "per-core": speed.per_core,
    "machine": speed.machine,
    "checkpoints": lambda _effort, tell: checkpoints.checkpoints(tell),
    "late": speed.late,
    "answers": lambda _effort, tell: answers.answers(tell),
}


def tell(line: str) -> None:
    """Show progress."""
    sys.stderr.write(f"{line}\n")


@app.command(epilog="Example: python -m tests.bench per-core --rounds 20")
def main(
    parts: Annotated[list[str] | None, typer.Argument(help=f"{', '.join(PARTS)}, learning, page.")] = None,
    rounds: Annotated[int, typer.Option(help="Turns of each contestant.", min=1)] = 12,
    steps: Annotated[int, typer.Option(help="Steps of a turn.", min=1)] = 400,
    early: Annotated[int, typer.Option(help="Steps before the first turn.", min=0)] = 5_000,
    runs: Annotated[Path, typer.Option(help="Where the runs of `learning` were downloaded to.")] = Path("runs"),
) -> None:
    """Measure, keep the figures in docs/benchmarks/, and write docs/benchmarks.md."""
    effort = speed.Effort(rounds=rounds, steps=steps, early=early)
    for part in parts or list(PARTS):
        tell(f"== {part}")
        if part == "learning":
            learning.learning(runs)
        elif part in PARTS:
            PARTS[part](effort, tell)
        elif part != "page":
            raise typer.BadParameter(f"{part} is none of {', '.join(PARTS)}, learning, page")
        write_page()


if __name__ == "__main__":
    app()
