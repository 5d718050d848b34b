"""The fingerprint of this machine. PyTorch promises equal bits on equal machines only."""

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from worker.snapshot.fingerprint import Fingerprint

PACKAGES = ("torch", "numpy", "gymnasium", "stable-baselines3", "box2d")
TUNING = ("MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "NPY_DISABLE_CPU_FEATURES", "ONEDNN_MAX_CPU_ISA")
"""Variables by which one machine computes by other instructions than another one like it; PyTorch's shows in isa."""
CPU_LINES = ("model name", "cpu family", "model", "stepping")
"""Lines of /proc/cpuinfo; on a virtual machine the name alone may be no more than the brand."""


def fingerprint() -> Fingerprint:
    """Return CPU, instruction set, BLAS, C library, thread count and the versions of what computes."""
    return {
        "cpu": _cpu(),
        "isa": torch.backends.cpu.get_cpu_capability(),
        "blas": f"torch {_torch_blas()}, NumPy {_numpy_blas()}",
        "libc": "-".join(platform.libc_ver()),
        "machine": platform.machine(),
        "settings": ", ".join(f"{name}={os.environ[name]}" for name in TUNING if name in os.environ) or "none",
        "threads": f"torch {torch.get_num_threads()}, BLAS of NumPy {_numpy_threads()}",
        **{package: _version(package) for package in PACKAGES},
    }


def _cpu() -> str:
    source = Path("/proc/cpuinfo")
    if not source.exists():
        return platform.processor()
    first = source.read_text().split("\n\n", 1)[0]
    lines = (line.partition(":") for line in first.splitlines())
    values = {name.strip(): value.strip() for name, _, value in lines}
    return " / ".join(values[name] for name in CPU_LINES if name in values)


def _numpy_blas() -> str:
    configuration: Mapping[str, Any] = np.show_config(mode="dicts")
    used = configuration["Build Dependencies"]["blas"]
    return f"{used['name']} {used['version']}"


def _numpy_threads() -> str:
    """Return what OpenBLAS goes by, in its order."""
    settings = (os.environ.get(name) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"))
    return next((setting for setting in settings if setting), str(os.cpu_count()))


def _torch_blas() -> str:
    settings = torch.__config__.show()
    return next((part.strip() for part in settings.split(",") if "BLAS_INFO=" in part), "unknown").split("=")[-1]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"
