"""What runs on an instance, in the words of systemd units, and how systemd judges the end of a process.

Standard library only: the supervisor of every instance imports it.
"""

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

CLEAN_SIGNALS = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE})
"""Signals that systemd takes for a clean exit of a service."""

NOT_EXECUTABLE = 203
"""The exit status that systemd reports where the program cannot be started (EXIT_EXEC)."""


@dataclass(frozen=True)
class Process:
    """One service. Durations are in seconds."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    """The whole environment, but for what the supervisor adds; nothing is inherited."""
    restart: bool = False
    """Restart=always: whatever its end, it is started again, unless it was stopped or a status forbids it."""
    no_restart_statuses: frozenset[int] = frozenset()
    """RestartPreventExitStatus."""
    restart_after_s: float = 5.0
    """RestartSec; doubled with each failure in a row …"""
    restart_after_max_s: float = 5.0
    """… up to this."""
    after_exit: tuple[str, ...] | None = None
    """ExecStopPost: runs after every end, with SERVICE_RESULT, EXIT_CODE and EXIT_STATUS."""
    watchdog_s: float | None = None
    """WatchdogSec: from READY=1 on, WATCHDOG=1 is due within each such time."""
    stop_timeout_s: float = 25.0
    """TimeoutStopSec: from SIGTERM, or the watchdog's SIGABRT, to SIGKILL for the whole group."""


@dataclass(frozen=True)
class InstanceSpec:
    """Everything that runs on one instance."""

    processes: tuple[Process, ...]

    @property
    def supervisor(self) -> tuple[str, ...]:
        """The program that stands in for systemd, and for the power switch."""
        return (sys.executable, "-P", "-m", "producer.emulator.supervisor")

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "processes": [
                asdict(process) | {"no_restart_statuses": sorted(process.no_restart_statuses)}
                for process in self.processes
            ]
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """What `to_json` wrote."""
        return cls(tuple(_process(**process) for process in document["processes"]))


def _process(**fields: Any) -> Process:
    fields["argv"] = tuple(fields["argv"])
    fields["no_restart_statuses"] = frozenset(fields["no_restart_statuses"])
    if fields["after_exit"] is not None:
        fields["after_exit"] = tuple(fields["after_exit"])
    return Process(**fields)


@dataclass(frozen=True)
class End:
    """How a process ended: what systemd puts into SERVICE_RESULT, EXIT_CODE and EXIT_STATUS."""

    result: str
    code: str
    status: str

    @property
    def clean(self) -> bool:
        """Whether systemd would call it a success."""
        return self.result == "success"

    def environment(self) -> dict[str, str]:
        """For ExecStopPost."""
        return {"SERVICE_RESULT": self.result, "EXIT_CODE": self.code, "EXIT_STATUS": self.status}


def count_oom_kills(vmstat: str = "/proc/vmstat") -> int:
    """Processes that the kernel killed for want of memory since it booted; 0 where it does not say (macOS)."""
    try:
        with open(vmstat, encoding="ascii") as lines:  # noqa: PTH123 - pathlib is slow to import, in every instance
            return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0


@dataclass
class Circumstances:
    """What the supervisor saw of a process while it ran."""

    watchdog_fired: bool = False
    stop_timed_out: bool = False
    oom_kills_at_start: int = field(default_factory=count_oom_kills)


def judge(wait_status: int, seen: Circumstances, oom_kills: int) -> End:
    """How systemd would call the end with this wait status. `oom_kills` is the kernel's count now."""
    code, status, result = _plainly(wait_status)
    if seen.watchdog_fired:
        result = "watchdog"
    elif seen.stop_timed_out:
        result = "timeout"
    elif status == "KILL" and oom_kills > seen.oom_kills_at_start:
        # systemd asks the unit's cgroup. Without one, a SIGKILL that nobody here sent while the kernel counted an OOM
        # kill is taken for that kill.
        result = "oom-kill"
    return End(result, code, status)


def _plainly(wait_status: int) -> tuple[str, str, str]:
    if os.WIFEXITED(wait_status):
        status = os.WEXITSTATUS(wait_status)
        return "exited", str(status), "success" if status == 0 else "exit-code"
    number = os.WTERMSIG(wait_status)
    name = signal.Signals(number).name.removeprefix("SIG") if number in set(signal.Signals) else str(number)
    if os.WCOREDUMP(wait_status):
        return "dumped", name, "core-dump"
    return "killed", name, "success" if number in CLEAN_SIGNALS else "signal"
