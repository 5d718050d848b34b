#!/usr/bin/env python3
"""End a VM that never became a worker: it would be billed for ever.

Owns that one decision. It depends on no release: ready means that systemd has seen a `sweep-worker@` unit active, which
Type=notify makes it once the worker says so, and it says so when the storage has answered it. A timer starts it every
minute, so a deletion that fails is tried again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from azure_rest import STORAGE_AUDIENCE, TARGET_FILE, AzureError, Target, delete_instance, log, put_blob, token, vm_name

WORKERS = "sweep-worker@*.service"
TIMER = "tranquility-deadman.timer"
CLOUD_INIT_LOGS = (Path("/var/log/cloud-init.log"), Path("/var/log/cloud-init-output.log"))
LOG_LIMIT = 500_000  # bytes of each log: what went wrong stands at the end
Query = Callable[[Sequence[str]], str]


def worker_was_ready(query: Query) -> bool:
    """Has a worker been active since boot? Systemd remembers it through crashes and restarts of the unit."""
    answer = query(["systemctl", "show", "--property=ActiveEnterTimestampMonotonic", "--value", WORKERS])
    return any(line.strip() not in ("", "0") for line in answer.splitlines())


def age_s(query: Query, monotonic: Callable[[], float]) -> float:
    """Seconds since systemd started, which is since boot also where the kernel is older (a container)."""
    started_us = query(["systemctl", "show", "--property=UserspaceTimestampMonotonic", "--value"])
    return monotonic() - int(started_us) / 1e6


def collect_log(query: Query, logs: Sequence[Path] = CLOUD_INIT_LOGS) -> bytes:
    """What a person needs to find out why: the journal of the bootstrap and cloud-init's own logs."""
    parts = [query(["journalctl", "--no-pager", "--output=short-iso", "--unit=tranquility-bootstrap.service"]).encode()]
    parts += [path.read_bytes() if path.exists() else b"(absent)" for path in logs]
    titles = ["journal of tranquility-bootstrap.service", *map(str, logs)]
    return b"\n".join(f"==== {title}\n".encode() + part[-LOG_LIMIT:] for title, part in zip(titles, parts, strict=True))


def end(target: Target, query: Query, limit_s: float) -> None:
    """Upload the log as `control/failed-boots/VM` and delete this VM; without the log rather than not at all."""
    name = vm_name(target)
    try:
        bearer = token(target, STORAGE_AUDIENCE)
        put_blob(target, f"control/failed-boots/{name}", collect_log(query), "text/plain; charset=utf-8", bearer)
    except (AzureError, OSError, subprocess.CalledProcessError) as error:
        log(f"the log of this boot is not uploaded: {error}")
    delete_instance(target, name)
    log(f"no worker became ready in {limit_s:.0f} s: asked the scale set to delete {name}")


def look(target_file: Path, limit_s: float, query: Query, monotonic: Callable[[], float]) -> None:
    """Stop looking once a worker was ready; delete this VM when it is too late for one."""
    if worker_was_ready(query):
        query(["systemctl", "stop", TIMER])
        log("a worker is ready: the dead man's switch is off")
    elif age_s(query, monotonic) >= limit_s:
        end(Target.read(target_file), query, limit_s)


def run_query(command: Sequence[str]) -> str:
    """Run a program and return what it printed."""
    return subprocess.run(command, check=True, capture_output=True, text=True, errors="replace").stdout


def main() -> int:
    """Look once; 1 marks the unit as failed, and the timer comes again."""
    try:
        look(TARGET_FILE, float(os.environ["TRANQUILITY_READY_WITHIN_S"]), run_query, time.monotonic)
    except (AzureError, OSError, subprocess.CalledProcessError) as error:
        log(f"the dead man's switch failed, the next look is in a minute: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
