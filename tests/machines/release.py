"""A release for the Python of this machine's system, which is the one that machines have."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from producer.commands.release import build
from producer.target.release import Bundle, bundle
from producer.target.sources import Checkout
from producer.target.wheelhouse import TORCH_INDEX, Platform
from tests.needs import missing

SYSTEM_PYTHON: Final = "/usr/bin/python3"
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "tranquility"
"""The wheels of others, 300 MB, are downloaded once and kept there, for the next runs …"""
KEPT: Final = 3
"""… of so many lock files."""


def system_platform() -> Platform:
    """Return the platform of the system's own Python."""
    if not Path(SYSTEM_PYTHON).exists():
        missing(f"there is no {SYSTEM_PYTHON}: Debian package python3")
    tell = "import sys; print(f'cp{sys.version_info.major}{sys.version_info.minor}')"
    done = subprocess.run([SYSTEM_PYTHON, "-c", tell], capture_output=True, text=True, check=True)
    return Platform(done.stdout.strip())


def real_release(folder: Path) -> Bundle:
    """Return the release of this checkout, as `release publish` makes it; our own wheel is always made anew."""
    checkout, platform = Checkout(), system_platform()
    key = hashlib.sha256(checkout.constraints.read_bytes() + (checkout.root / "pyproject.toml").read_bytes())
    kept = CACHE / f"wheels-{platform.python}-{key.hexdigest()[:16]}"
    if not kept.is_dir():
        _keep(checkout, platform, kept)
    wheels = folder / "wheels"
    shutil.copytree(kept, wheels)
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    sources = checkout.copy_to(folder / "sources")
    subprocess.run([*wheel, "--wheel-dir", str(wheels), str(sources)], check=True, capture_output=True)
    return bundle(checkout.version, platform.python, wheels.glob("*.whl"), checkout.units, folder)


def _keep(checkout: Checkout, platform: Platform, kept: Path) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as made:
        build(checkout, platform, TORCH_INDEX, Path(made))
        (ours,) = (Path(made) / "wheels").glob("tranquility-*.whl")
        ours.unlink()
        (Path(made) / "wheels").rename(kept)
    for old in sorted(CACHE.glob("wheels-*"), key=lambda folder: folder.stat().st_mtime)[:-KEPT]:
        shutil.rmtree(old)
