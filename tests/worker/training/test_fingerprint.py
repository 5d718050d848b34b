"""The fingerprint says what decides about bits, and is the same every time it is asked for."""

import os
import platform

import pytest
import torch

from worker.snapshot.fingerprint import differences
from worker.training.fingerprint import fingerprint


def test_a_machine_does_not_differ_from_itself() -> None:
    assert differences(fingerprint(), fingerprint()) == ()


def test_a_fingerprint_names_processor_libraries_and_threads() -> None:
    found = fingerprint()
    assert found["torch"] == torch.__version__
    assert found["machine"] == platform.machine()
    assert all(found.values())
    assert {"cpu", "isa", "blas", "libc", "threads", "numpy", "gymnasium", "stable-baselines3", "box2d"} <= set(found)


def test_another_number_of_threads_is_another_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint()
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", str((os.cpu_count() or 1) + 7))
    (difference,) = differences(before, fingerprint())
    assert difference.startswith("threads: ")


def test_a_machine_that_computes_by_other_instructions_is_another_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = fingerprint()
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    (difference,) = differences(before, fingerprint())
    assert difference.startswith("settings: ")
