"""The page in a real browser: it opens without a network, everything is drawn, and everybody can use it."""

import json
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.fakes.plans import jobs_of
from tests.producer.report.conftest import SWEEPS

ReportOf = Callable[[str], Path]
WIDE, NARROW = 1280, 400


class Visit:
    """A page that is open, and what went wrong in it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.troubles: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.troubles.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def ask(self, script: str) -> Any:
        return self.page.evaluate(script)


@pytest.fixture
def visit(browser: Browser, report_of: ReportOf) -> Iterator[Callable[..., Visit]]:
    contexts = []

    def open_page(name: str, width: int = WIDE, **options: Any) -> Visit:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        visit = Visit(context.new_page())
        visit.page.goto(report_of(name).as_uri(), wait_until="load")
        return visit

    yield open_page
    for context in contexts:
        context.close()


DRAWN = """() => [...document.querySelectorAll("svg.plot")].map(plot => ({
  name: plot.getAttribute("aria-labelledby"),
  width: plot.getBoundingClientRect().width,
  height: plot.getBoundingClientRect().height,
  lines: [...plot.querySelectorAll("path")].filter(path => {
    const box = path.getBBox();
    return box.width + box.height > 5 && getComputedStyle(path).stroke !== "none";
  }).length,
  texts: plot.querySelectorAll("text").length,
  title: plot.querySelector("title").textContent,
  description: plot.querySelector("desc").textContent,
}))"""


PLOTS = {"large": 14, "three seeds": 4, "confirmed": 4, "one run": 1, "nothing finished": 2}


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("name", SWEEPS)
def test_nothing_goes_wrong_nothing_leaves_the_page_and_every_plot_is_drawn_and_told(
    visit: Callable[..., Visit], report_of: ReportOf, name: str, width: int
) -> None:
    seen = visit(name, width)
    assert seen.troubles == []
    assert [url for url in seen.requests if not url.startswith("data:")] == [report_of(name).as_uri()]
    assert seen.ask("document.documentElement.scrollWidth") <= width
    found = seen.ask(DRAWN)
    assert len(found) == PLOTS[name]
    for plot in found:
        assert plot["width"] > 300, plot
        assert plot["height"] > 100, plot
        assert plot["lines"] > 3, plot
        assert plot["texts"] > 3, plot
        assert len(plot["title"]) > 10
        assert len(plot["description"]) > 20


def test_no_shade_of_a_plot_is_left_without_its_variable(report_of: ReportOf) -> None:
    text = report_of("large").read_text()
    assert "var(--accent)" in text
    assert re.findall(r"#(0[1-6a-e])\1\1\b", text) == []


def test_ids_are_unique_and_every_link_in_the_page_leads_somewhere(visit: Callable[..., Visit]) -> None:
    seen = visit("large")
    ids = seen.ask("[...document.querySelectorAll('[id]')].map(one => one.id)")
    assert len(ids) == len(set(ids))
    links = seen.ask("[...document.querySelectorAll('a[href^=\"#\"]')].map(one => one.hash.slice(1))")
    assert len(links) > 30
    assert set(links) <= set(ids)
    lines = seen.ask("[...document.querySelectorAll('[data-line]')].map(one => one.dataset.line)")
    assert set(lines) <= set(ids)


@pytest.mark.parametrize(("name", "scheme"), [("large", "dark"), ("confirmed", "light"), ("nothing finished", "light")])
def test_axe_finds_nothing_that_keeps_anybody_out(visit: Callable[..., Visit], name: str, scheme: str) -> None:
    """Contrast in both schemes, names, headings in order, table headers, regions: all rules of axe-core."""
    found = Axe().run(visit(name, color_scheme=scheme).page).response["violations"]
    told = [(one["id"], one["help"], [node["html"][:120] for node in one["nodes"]][:3]) for one in found]
    assert told == []


def test_headings_are_in_order_and_table_headers_say_what_they_head(visit: Callable[..., Visit]) -> None:
    seen = visit("confirmed")
    levels = seen.ask("[...document.querySelectorAll('h1,h2,h3,h4')].map(one => Number(one.tagName[1]))")
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert seen.ask("document.querySelectorAll('th:not([scope])').length") == 0
    assert seen.ask("[...document.querySelectorAll('tbody tr')].every(row => row.querySelector('th[scope=row]'))")


def test_the_keyboard_reaches_everything_and_does_everything(visit: Callable[..., Visit]) -> None:
    seen = visit("three seeds")
    keyboard = seen.page.keyboard
    keyboard.press("Tab")
    assert seen.ask("document.activeElement.className") == "skip"
    keyboard.press("Enter")
    assert seen.ask("document.activeElement.id") == "main"
    reachable = "a[href], button, summary, video, [tabindex='0']"
    visible = f'[...document.querySelectorAll("{reachable}")].filter(one => one.checkVisibility())'
    expected = seen.ask(f"{visible}.length")
    seen.ask("document.activeElement.blur(), document.body.focus(), getSelection().removeAllRanges()")
    seen.page.evaluate("window.reached = new Set()")
    for _ in range(expected + 10):
        keyboard.press("Tab")
        seen.ask("reached.add(document.activeElement)")
    missed = seen.ask(f"{visible}.filter(one => !reached.has(one) && !one.matches('.skip')).map(one => one.outerHTML)")
    assert [html[:100] for html in missed] == []


def test_a_table_is_sorted_by_its_headings(visit: Callable[..., Visit]) -> None:
    seen = visit("large")
    button = seen.page.get_by_role("button", name="Worst")
    button.focus()
    rows = "[...document.querySelectorAll('#board-0 ~ .scroll tbody tr')]"
    column = f"{rows}.map(row => Number(row.cells[5].dataset.value))"
    seen.page.keyboard.press("Enter")
    down = seen.ask(column)
    assert down == sorted(down, reverse=True)
    seen.page.keyboard.press("Enter")
    assert seen.ask(column) == sorted(down)
    assert seen.ask("document.querySelector('[aria-sort]').getAttribute('aria-sort')") == "ascending"


def test_a_row_lights_up_its_line_and_a_command_can_be_copied(visit: Callable[..., Visit]) -> None:
    seen = visit("three seeds", permissions=["clipboard-read", "clipboard-write"])
    row = seen.page.locator("tr[data-line]").first
    row.hover()
    assert seen.ask("document.querySelector('svg .hot').id") == row.get_attribute("data-line")
    command = seen.page.locator("#finished ~ .scroll code.command").first
    command.locator("xpath=following-sibling::button").click()
    assert seen.ask("navigator.clipboard.readText()") == command.text_content()
    assert seen.troubles == []


def test_printed_it_shows_what_is_folded_and_drops_what_can_only_be_clicked(visit: Callable[..., Visit]) -> None:
    seen = visit("large")
    seen.page.emulate_media(media="print")
    seen.ask("dispatchEvent(new Event('beforeprint'))")
    assert seen.ask("[...document.querySelectorAll('details')].every(one => one.open)")
    assert not seen.page.locator("button.copy").first.is_visible()
    assert not seen.page.locator("nav").is_visible()
    assert seen.ask("getComputedStyle(document.querySelector('.scroll')).maxHeight") == "none"


def test_without_a_script_everything_can_be_read(visit: Callable[..., Visit]) -> None:
    seen = visit("three seeds", java_script_enabled=False)
    text = seen.page.locator("main").inner_text()
    assert "leads with" in text
    assert "tranquility train lunar.yaml --job 0" in text


# ---- what it says ----------------------------------------------------------------------------------------------------


@pytest.fixture
def text_of(visit: Callable[..., Visit]) -> Callable[[str], str]:
    def text(name: str) -> str:
        seen = visit(name)
        seen.ask("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        return re.sub(r"[ \t]+", " ", seen.page.locator("body").inner_text())

    return text


def test_it_says_how_far_the_leader_can_be_believed_and_what_is_wrong(text_of: Callable[[str], str]) -> None:
    text = text_of("large")
    assert "The sweep is not finished: this report shows it as it stands." in text
    assert "120 jobs: 88 waiting, 29 done, 2 running, 1 failed." in text
    assert "not confirmed on fresh seeds." in text
    assert "Not every run has a result: 19 sets lack seeds and 3 sets have none." in text
    assert "runs resumed on another kind of machine" in text
    assert "failed: diverged: the critic's loss is NaN" in text
    assert "seen. The bars say how much its error grows" in text
    assert "jobs went on from a checkpoint. Begun anew each time, they would have made" in text
    assert "Spend" in text
    assert "vanished" in text
    assert "AMD EPYC 9V45" in text


def test_a_small_sweep_says_why_there_is_no_importance_and_no_band(
    text_of: Callable[[str], str], report_of: ReportOf
) -> None:
    text = text_of("three seeds")
    assert "no parameter importance: 3 sets have results, and below 20 it would mostly be chance" in text
    assert "There is no band below 5 seeds." in report_of("three seeds").read_text()


def test_fresh_seeds_have_a_table_of_their_own(text_of: Callable[[str], str]) -> None:
    text = text_of("confirmed")
    assert "On fresh seeds" in text
    assert re.search(r"(No winner|Winner): ", text)
    assert re.search(r"tranquility train [0-9a-f]{16}\.json", text)


def test_an_unfinished_sweep_gets_a_report_too(text_of: Callable[[str], str]) -> None:
    text = text_of("nothing finished")
    assert "4 jobs: 3 running, 1 waiting." in text
    assert "No run has finished yet, so nothing can be ranked." in text


def test_no_price_means_time_only(text_of: Callable[[str], str]) -> None:
    text = text_of("one run")
    assert "No price is known for this target, so only time is shown" in text
    assert "Spend" not in text


def test_what_a_sweep_calls_itself_is_never_markup(browser: Browser) -> None:
    from producer.report.page import make_report
    from tests.fakes.sweeps import Storage, make_plan, running
    from worker.contract.manifest import Outcome

    evil = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    storage = Storage()
    plan = make_plan([{"tau": 0.01}], [0], source=evil)
    storage.put_plan(plan)
    (job,) = jobs_of(plan)
    storage.put_manifest(running(job, 1_000, status="failed", worker=evil, outcome=Outcome(reason=evil)))
    html = make_report(storage.session(), "lunar", with_video=False)
    context = browser.new_context()
    page = context.new_page()
    page.set_content(html)
    assert page.title() == "lunar · tranquility report"
    assert page.locator("main img").count() == 0
    assert "<img src=x" in page.locator("main").inner_text()
    context.close()
    assert json.dumps(evil) not in html
