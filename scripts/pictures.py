"""Make the README's pictures from a real sweep, run now on a fleet on this machine: `watch`, the report, the leader.

    .venv/bin/python scripts/pictures.py examples/lunar.yaml

Like `tranquility local run` it goes on where it was when called again, and what has ended is not trained again: then
the picture of `watch` shows the end. It writes into docs/pictures: watch.svg, report.png (the report's first screens,
by Chromium), leader.gif, and SWEEP.json, the figures of the report.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import ViewportSize, sync_playwright
from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI

from producer.emulator.local import LocalOptions, default_instances, local_fleet, scaling
from producer.emulator.run import Director
from producer.fleet.scale_set import AzureScaleSet, Glances
from producer.report.page import make_report
from producer.results import answers
from producer.results.progress import ProgressReader
from producer.results.screen import Size, screen
from producer.results.view import View
from producer.results.watch import open_watcher, watch
from producer.session import Session
from producer.sweep.enqueue import enqueue
from producer.sweep.planning import plan_file
from worker.contract.plan import Plan

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 120
"""Columns of the terminal in the picture."""
PAGE = ViewportSize(width=1280, height=1500)
# Rich's own frame asks a server for its font; a picture asks nobody.
FRAME = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<title>tranquility watch: a sweep on a fleet, on a terminal</title>
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""


@dataclass
class Photographer:
    """Keeps the most telling moment of a sweep: something was evicted, and as much as possible is running."""

    file: Path
    best: tuple[int, ...] = ()

    def look(self, view: View) -> None:
        """Take a picture where this moment tells more than the best one so far."""
        made, total = view.sweep.steps
        in_the_middle = int(0.25 * total < made < 0.95 * total)
        done = view.sweep.counts.get("done", 0)
        worth = (in_the_middle, int(view.sweep.evictions > 0), len(view.sweep.alive), int(done > 0), len(view.happened))
        if worth > self.best:
            self.best = worth
            self.file.write_text(picture(view))


def picture(view: View) -> str:
    """Return a moment of a sweep as it looks on a terminal, as SVG."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(screen(view, Size(WIDTH, None, ascii_only=False)))
    return console.export_svg(
        title=f"tranquility watch {view.sweep.sweep}", theme=DIMMED_MONOKAI, code_format=FRAME, unique_id="watch"
    )


def main() -> None:
    """Run the sweep, and make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, help="the sweep file")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    arguments = parser.parse_args()
    plan = plan_file(arguments.sweep).plan
    out: Path = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    console = Console()
    with local_fleet(LocalOptions(default_instances()), console.print) as (fleet, session):
        enqueue(session, plan, confirm=lambda _question: True)
        photographer, director = Photographer(out / "watch.svg"), Director(fleet, evict=True)

        def until(view: View) -> bool:
            photographer.look(view)
            return director(view)

        with scaling(fleet, session, lambda _report: None):
            scale_set = Glances(lambda: AzureScaleSet(session.compute, session.target), session.runtime, 1.0)
            watcher = open_watcher(session, plan.sweep, scale_set)
            watch(watcher, console, session.runtime, fleet.failed, every_s=1.0, until=until)
        write_report(session, plan, out)
        film = ("play", f"{plan.sweep}/best", "--episodes", "2", "--video", str(out / "leader.gif"))
        subprocess.run(
            [sys.executable, "-m", "producer", *film], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
    console.print(f"{out}/")


def write_report(session: Session, plan: Plan, out: Path) -> None:
    """Write the report's picture and its figures, and the report itself where `tranquility report` puts it."""
    page = Path("runs") / plan.sweep / "report.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(make_report(session, plan.sweep))
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("The picture of the report needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport=PAGE)
        tab.goto(page.resolve().as_uri())
        tab.screenshot(path=out / "report.png", clip={"x": 0, "y": 0, "width": PAGE["width"], "height": PAGE["height"]})
        browser.close()
    progress = ProgressReader(session.blobs, plan.sweep, session.durations.visibility_timeout_s).read()
    figures = json.dumps(answers.document([progress]), indent=2, ensure_ascii=False)
    (out / f"{plan.sweep}.json").write_text(f"{figures}\n")


if __name__ == "__main__":
    main()
