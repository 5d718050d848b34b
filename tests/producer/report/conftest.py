"""Pages of stored sweeps for a real browser."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from producer.report.page import make_report
from producer.sweep.confirm import with_fresh_seeds
from tests.fakes.reported import lunar_plan, store_sweep
from tests.fakes.sweeps import Storage


def price(**more: Any) -> dict[str, Any]:
    return {"vm_size": "Standard_F8als_v6", **more}


def large() -> Storage:
    """Return 24 sets: two with all five seeds, and of the others one seed each, some of which are not finished."""
    waiting = [number for number in range(120) if number >= 10 and number % 5]
    return store_sweep(lunar_plan(24, 5), unfinished=(10, 15), failed=(20,), waiting=waiting)


SWEEPS: dict[str, Callable[[], tuple[Storage, dict[str, Any]]]] = {
    "large": lambda: (large(), price(price_usd=0.16)),
    "three seeds": lambda: (store_sweep(lunar_plan(3, 3)), price()),
    "confirmed": lambda: (store_sweep(with_fresh_seeds(lunar_plan(3, 3), [0, 1], 5)), price()),
    "one run": lambda: (store_sweep(lunar_plan(1, 1)), {"kind": "local"}),
    "nothing finished": lambda: (store_sweep(lunar_plan(2, 2), unfinished=(0, 1, 2), waiting=(3,)), price()),
}


@pytest.fixture(scope="session")
def report_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a maker of pages; each is made once."""
    folder = tmp_path_factory.mktemp("reports")

    def make(name: str) -> Path:
        path = folder / f"{name}.html"
        if not path.exists():
            storage, target = SWEEPS[name]()
            path.write_text(make_report(storage.session(**target), "lunar", with_video=False))
        return path

    return make
