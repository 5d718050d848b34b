"""The wake of a fleet on this machine: the deployed workflow on its schedule, with an identity of its own.

Owns what the workflow's parameters are here: the same calls at the emulator's addresses, all times shrunk together.
"""

import http
import http.client
import json
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from producer.emulator.deployment import DeployedWake
from producer.emulator.errors import EmulatorError
from producer.emulator.expressions import UnsupportedWorkflow
from producer.emulator.tokens import TokenAuthority
from producer.emulator.wake import HttpAnswer, HttpCall, Run, Surroundings, Wake
from worker.contract.permissions import UnknownRequest, need_of_storage_url
from worker.contract.runtime import Event, Runtime

ANSWER_S: Final = 30.0
KEPT_RUNS: Final = 100
FRESHNESS_MIN_S: Final = 10
"""A slow machine needs real time to answer: the same floor as `Durations.read_to_write_s` has."""
PULSE_AGE_MIN_S: Final = 60
"""A slow machine needs real time to import torch, between a raise of the capacity and the first pulse of the VM."""


def here(wake: Wake, addresses: Mapping[str, str], time_scale: float) -> Wake:
    """Return the same workflow for this machine.

    `addresses` maps the endpoints that were deployed to those here. Raises EmulatorError for an address of the workflow
    that is none of them.
    """
    given = wake.parameters
    moved = {name: _moved(given[name], addresses) for name in ("scaleSetUri", "countUri", "controlUri")}
    paced = wake.with_parameters(
        **moved,
        freshness_s=max(FRESHNESS_MIN_S, round(given["freshness_s"] * time_scale)),
        pulseAge_s=max(PULSE_AGE_MIN_S, round(given["pulseAge_s"] * time_scale)),
        clearDelay_s=max(1, round(given["clearDelay_s"] * time_scale)),
        rest_s=max(1, round(given["rest_s"] * time_scale)),
    )
    return replace(paced, interval_s=wake.interval_s * time_scale)


def _moved(uri: str, addresses: Mapping[str, str]) -> str:
    for deployed, local in addresses.items():
        if uri.startswith(f"{deployed.rstrip('/')}/"):
            return local.rstrip("/") + uri.removeprefix(deployed.rstrip("/"))
    raise EmulatorError(f"The wake calls {uri}, which is no endpoint of the target.")


@dataclass(frozen=True)
class RunEnded:
    """One run, as Azure's run history shows it."""

    started: datetime
    ended: datetime
    status: str
    code: str = ""
    message: str = ""


@dataclass
class WakeHistory:
    """The wake as Azure Resource Manager shows it; `name` is empty where none was deployed."""

    name: str = ""
    interval_s: float = 0.0
    runs: deque[RunEnded] = field(default_factory=lambda: deque(maxlen=KEPT_RUNS))
    """Those that have ended, the newest last."""
    began: datetime | None = None
    """When the run that is going on began; None between two runs."""


class _Stopped(Exception):
    """The fleet shuts down in the middle of a run."""


class WakeRuns:
    """Runs of the wake, one after the other."""

    def __init__(
        self,
        wake: DeployedWake,
        tokens: TokenAuthority,
        ca_file: Path,
        runtime: Runtime,
        now: Callable[[], datetime],
        say: Callable[[str], None],
        history: WakeHistory | None = None,
        asleep: Callable[[], bool] = lambda: False,
    ) -> None:
        """`wake` is for this machine (see `here`). `say` gets one sentence for what changed, and for a new problem.

        While `asleep` holds, no run begins.
        """
        self._wake = wake
        self._tokens = tokens
        self._ca_file = ca_file
        self._runtime = runtime
        self._now = now
        self._say = say
        self._history = history or WakeHistory()
        self._asleep = asleep
        self._problem = ""

    def run(self, stop: Event) -> None:
        """Run at once, as Azure does after a deployment, and then on schedule until `stop` is set."""
        while self.run_once(stop):
            self._runtime.wait(stop, self._wake.workflow.interval_s)

    def run_once(self, stop: Event) -> bool:
        """Run now; return whether another run can follow."""
        if stop.is_set():
            return False
        world = _Loopback(self._tokens, self._wake, self._ca_file, self._runtime, stop, self._now)
        # Before it is known whether it may run: whoever waits for its end sees it.
        self._history.began = self._now()
        try:
            if not self._asleep():
                self._tell(self._run(world), world)
        except _Stopped:
            return False
        except UnsupportedWorkflow as error:
            self._say(f"The wake cannot run on this machine: {error}.")
            return False
        finally:
            self._history.began = None
        return True

    def _run(self, world: "_Loopback") -> Run:
        started = self._now()
        run = self._wake.workflow.run(world)
        failed = run.status != "Succeeded"
        ended = RunEnded(started, self._now(), run.status, run.code if failed else "", run.message if failed else "")
        self._history.runs.append(ended)
        return run

    def _tell(self, run: Run, world: "_Loopback") -> None:
        for capacity in world.capacities:
            self._say(f"The wake set the capacity to {capacity}.")
        problem = ""
        if run.status != "Succeeded":
            problem = " ".join((f"A run of the wake failed: {run.code}: {run.message}", *world.denials))
        if problem and problem != self._problem:
            self._say(problem)
        self._problem = problem


def _denial(call: HttpCall, answer: HttpAnswer, parameters: Mapping[str, str]) -> str:
    """Say what a call lacked: Azure Resource Manager names it, storage does not."""
    queue, blob = (parameters[name].rpartition("/")[0] for name in ("countUri", "controlUri"))
    try:
        if call.uri.startswith(queue):
            return f"It takes {need_of_storage_url('queue', queue, call.method, call.uri)}."
        if call.uri.startswith(blob):
            return f"It takes {need_of_storage_url('blob', blob, call.method, call.uri)}."
        return str(json.loads(answer.body)["error"]["message"])
    except (UnknownRequest, ValueError, LookupError):
        return answer.body.decode(errors="replace")


class _Loopback(Surroundings):
    """What one run asks of this machine. `capacities` are those that it set, `denials` says what it may not do."""

    def __init__(
        self,
        tokens: TokenAuthority,
        wake: DeployedWake,
        ca_file: Path,
        runtime: Runtime,
        stop: Event,
        now: Callable[[], datetime],
    ) -> None:
        self.capacities: list[int] = []
        self.denials: list[str] = []
        self._tokens = tokens
        self._wake = wake
        self._tls = ssl.create_default_context(cafile=str(ca_file))
        self._runtime = runtime
        self._stop = stop
        self._now = now

    def send(self, call: HttpCall) -> HttpAnswer:
        """See `Surroundings`."""
        if self._stop.is_set():
            raise _Stopped
        url = urlsplit(call.uri)
        token = self._tokens.issue(self._wake.identity, call.audience).text
        connection = http.client.HTTPSConnection(url.hostname or "", url.port, timeout=ANSWER_S, context=self._tls)
        try:
            headers = {**call.headers, "Authorization": f"Bearer {token}"}
            connection.request(call.method, f"{url.path}?{url.query}", call.body, headers)
            response = connection.getresponse()
            answer = HttpAnswer(response.status, dict(response.getheaders()), response.read())
        except http.client.HTTPException as error:
            raise OSError(f"no answer that is HTTP: {error!r}") from error
        finally:
            connection.close()
        if call.method == "PATCH" and answer.status < 300:
            self.capacities.append(json.loads(call.body or b"")["sku"]["capacity"])
        if answer.status == http.HTTPStatus.FORBIDDEN:
            self.denials.append(_denial(call, answer, self._wake.workflow.parameters))
        return answer

    def wait(self, seconds: float) -> None:
        """See `Surroundings`."""
        if self._runtime.wait(self._stop, seconds):
            raise _Stopped

    def now(self) -> datetime:
        """See `Surroundings`."""
        return self._now()
