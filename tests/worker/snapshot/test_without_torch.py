"""What a job's loop imports of a run costs no torch."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_a_runs_values_and_interfaces_load_without_torch_and_gymnasium() -> None:
    modules = [f"worker.snapshot.{path.stem}" for path in (ROOT / "worker" / "snapshot").glob("[a-z]*.py")]
    script = f"""
import importlib, sys
for name in {["worker.training_run", *modules]!r}:
    importlib.import_module(name)
print([name for name in ("torch", "gymnasium", "stable_baselines3") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)
    assert len(modules) >= 6
    assert done.stdout.strip() == "[]"
