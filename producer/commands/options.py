"""Options that several commands have, in one wording."""

from pathlib import Path
from typing import Annotated

import typer

SweepName = Annotated[str, typer.Argument(metavar="SWEEP", help="Name of the sweep.", show_default=False)]
TargetFile = Annotated[
    Path | None,
    typer.Option(
        "--target", metavar="FILE", help="Target to work on. Default: that of this folder.", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
AllowUnproven = Annotated[
    bool, typer.Option("--allow-unproven", help="Examine an environment that is not proven, and take it.")
]
