"""The disk of a machine: an overlay over this machine's own, in memory, with what its spec makes different."""

import shutil
import subprocess
from pathlib import Path

from producer.emulator.errors import EmulatorError
from producer.emulator.nspawn.spec import NspawnSpec

FOREIGN = ("/etc/systemd/system/*", "/etc/rc?.d/*", "/var/lib/systemd/timers/*")
"""What would start this machine's own services there."""


def mount_disk(folder: Path) -> Path:
    """Mount an overlay of / below `folder`, for this mount namespace only; returns its root.

    What is written there is in memory, up to half of it, and gone when the last process of the namespace is.
    """
    folder.mkdir()
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tranquility-disk", str(folder))
    upper, work, root = folder / "upper", folder / "work", folder / "root"
    for each in (upper, work, root):
        each.mkdir()
    layers = f"lowerdir=/,upperdir={upper},workdir={work}"
    _run("mount", "-t", "overlay", "-o", layers, "tranquility-root", str(root))
    return root


def unmount_disk(folder: Path) -> None:
    """Undo `mount_disk`."""
    _run("umount", "--recursive", str(folder))
    folder.rmdir()


def furnish(root: Path, spec: NspawnSpec) -> None:
    """Make the disk that of the spec. EmulatorError where a path of it leads out of `root`."""
    for pattern in (*FOREIGN, *spec.removed):
        for path in root.glob(pattern.lstrip("/")):
            _remove(inside(root, str(path.relative_to(root))))
    files = {"/etc/machine-id": "", "/etc/hostname": f"{spec.hostname}\n", **spec.files}
    for name, content in files.items():
        path = _free(root, name)
        path.write_text(content, encoding="utf-8")
        path.chmod(0o644)
    for name, target in spec.links.items():
        _free(root, name).symlink_to(target)
    for name in spec.binds:
        inside(root, name).mkdir(parents=True, exist_ok=True)


def inside(root: Path, name: str) -> Path:
    """The path of `name` below `root`. EmulatorError where a link on the way leads out of it, onto this machine."""
    path = root / name.lstrip("/")
    parent = path.parent.resolve()
    if not parent.is_relative_to(root.resolve()):
        raise EmulatorError(f"{name} leads out of the machine's disk, to {parent}.")
    return parent / path.name


def _free(root: Path, name: str) -> Path:
    path = inside(root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove(path)
    return path


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EmulatorError(f"{' '.join(command)}: {done.stderr.strip()}")
