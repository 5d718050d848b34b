"""The wake on this machine: evaluates the workflow definition that bicep/modules/wake.bicep deploys as a Logic App.

Owns what an engine does with that definition: the order of actions, what a failed one leaves unrun, and how a run ends.
HTTP, waiting and time are given, so that a test answers as Azure has answered, and `local up` as the emulator does.
What the definition does not use is not here: it is refused with `UnsupportedWorkflow`.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal, Protocol

from producer.emulator.expressions import ExpressionError, UnsupportedWorkflow, evaluate, holds
from worker.contract.resource_types import WORKFLOWS

Status = Literal["Succeeded", "Failed", "TimedOut", "Skipped"]
_ACTION_KEYS: Final = frozenset({"type", "runAfter", "inputs", "expression", "actions", "else", "operationOptions"})
_HTTP_KEYS: Final = frozenset({"method", "uri", "headers", "body", "authentication", "retryPolicy"})
_UNIT_S: Final[Mapping[str, float]] = {"Second": 1.0, "Minute": 60.0, "Hour": 3600.0}


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One request of the wake, which the transport gives a token for `audience`."""

    method: str
    uri: str
    headers: Mapping[str, str]
    body: bytes | None
    audience: str


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What came back, whatever its status."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Surroundings(Protocol):
    """What a run needs of the world."""

    def send(self, call: HttpCall) -> HttpAnswer:
        """Send a request. Raises TimeoutError or another OSError where no answer came."""

    def wait(self, seconds: float) -> None:
        """Let time pass. An exception ends the run, for whoever shuts down."""

    def now(self) -> datetime:
        """The engine's time, UTC."""


@dataclass(frozen=True, slots=True)
class Action:
    """How one action of a run ended. `error` says why it failed."""

    status: Status
    outputs: Any = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """How a run ended: Azure's run history in short."""

    status: Literal["Succeeded", "Failed"]
    code: str
    message: str
    actions: Mapping[str, Action]


class _Headers(dict[str, str]):
    """Headers of an answer: HTTP gives their names no case, and servers write ETag in three ways."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__({name.lower(): value for name, value in headers.items()})

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


class _Terminated(Exception):
    def __init__(self, status: str, code: str, message: str) -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True, slots=True)
class Wake:
    """The deployed workflow: its definition, the values of its parameters, and the pause between two runs."""

    definition: Mapping[str, Any]
    parameters: Mapping[str, Any]
    interval_s: float

    @classmethod
    def from_snapshot(cls, snapshot: Mapping[str, Any]) -> "Wake | None":
        """Take the wake out of a Bicep snapshot; None where it was deployed without one."""
        for resource in snapshot["predictedResources"]:
            if resource["type"] == WORKFLOWS:
                properties = resource["properties"]
                (trigger,) = properties["definition"]["triggers"].values()
                recurrence = trigger["recurrence"]
                return cls(
                    definition=properties["definition"],
                    parameters={name: entry["value"] for name, entry in properties["parameters"].items()},
                    interval_s=recurrence["interval"] * _UNIT_S[recurrence["frequency"]],
                )
        return None

    def with_parameters(self, **values: Any) -> "Wake":
        """Return the same workflow with other values: the emulator's addresses, times shrunk together."""
        unknown = set(values) - set(self.parameters)
        if unknown:
            raise UnsupportedWorkflow(f"the definition has no parameter {', '.join(sorted(unknown))}")
        return replace(self, parameters={**self.parameters, **values})

    def run(self, surroundings: Surroundings) -> Run:
        """Run it once."""
        engine = _Engine(self.parameters, surroundings)
        try:
            status = engine.scope(self.definition["actions"])
        except _Terminated as end:
            return Run("Failed" if end.status == "Failed" else "Succeeded", end.code, end.message, engine.actions)
        if status == "Succeeded":
            return Run("Succeeded", "", "", engine.actions)
        failed = {name: action for name, action in engine.actions.items() if action.error}
        message = "; ".join(f"{name}: {action.error}" for name, action in failed.items())
        return Run("Failed", "ActionFailed", message, engine.actions)


class _Engine:
    """One run. Also the scope that its expressions are evaluated in."""

    def __init__(self, parameters: Mapping[str, Any], surroundings: Surroundings) -> None:
        self.actions: dict[str, Action] = {}
        self._parameters = parameters
        self._surroundings = surroundings
        self._types: Mapping[str, Callable[[Mapping[str, Any]], Action]] = {
            "Compose": lambda action: Action("Succeeded", evaluate(action["inputs"], self)),
            "Http": self._http,
            "If": self._if,
            "Terminate": self._terminate,
            "Wait": self._wait,
        }

    def parameter(self, name: str) -> Any:
        """See `expressions.Scope`."""
        if name not in self._parameters:
            raise UnsupportedWorkflow(f"parameter {name!r} has no value")
        return self._parameters[name]

    def outputs(self, action: str) -> Any:
        """See `expressions.Scope`."""
        return self.actions[action].outputs if action in self.actions else None

    def now(self) -> datetime:
        """See `expressions.Scope`."""
        return self._surroundings.now()

    def scope(self, actions: Mapping[str, Mapping[str, Any]]) -> Status:
        """Run the actions of one scope in the order that their runAfter demands, and return the scope's status."""
        for name in _in_order(actions):
            self.actions[name] = self._run(actions[name])
        followed = {before for action in actions.values() for before in action.get("runAfter", {})}
        return (
            "Failed"
            if any(self._went_wrong(name, actions) for name in actions if name not in followed)
            else "Succeeded"
        )

    def _went_wrong(self, name: str, actions: Mapping[str, Mapping[str, Any]]) -> bool:
        """Judge the end of a branch; one that was skipped is judged by what it was to follow."""
        status = self.actions[name].status
        if status == "Skipped":
            return any(self._went_wrong(before, actions) for before in actions[name].get("runAfter", {}))
        return status != "Succeeded"

    def _run(self, action: Mapping[str, Any]) -> Action:
        if not set(action) <= _ACTION_KEYS or action["type"] not in self._types:
            raise UnsupportedWorkflow(f"action of type {action.get('type')!r} with {', '.join(sorted(action))}")
        after = action.get("runAfter", {})
        if any(self.actions[before].status not in allowed for before, allowed in after.items()):
            return Action("Skipped")
        try:
            return self._types[action["type"]](action)
        except ExpressionError as error:
            return Action("Failed", error=str(error))

    def _if(self, action: Mapping[str, Any]) -> Action:
        branch = action["actions"] if holds(action["expression"], self) else action.get("else", {}).get("actions", {})
        status = self.scope(branch)
        return Action(status, error="" if status == "Succeeded" else "an action inside failed")

    def _http(self, action: Mapping[str, Any]) -> Action:
        inputs = evaluate(action["inputs"], self)
        if not set(inputs) <= _HTTP_KEYS or inputs["retryPolicy"] != {"type": "none"}:
            raise UnsupportedWorkflow(f"an Http action with {', '.join(sorted(inputs))}, or with retries")
        body = inputs.get("body")
        call = HttpCall(
            inputs["method"],
            inputs["uri"],
            inputs["headers"],
            None if body is None else json.dumps(body).encode(),
            inputs["authentication"]["audience"],
        )
        try:
            answer = self._surroundings.send(call)
        except TimeoutError as error:
            return Action("TimedOut", error=f"{call.method} {call.uri}: {error}")
        except OSError as error:
            return Action("Failed", error=f"{call.method} {call.uri}: {error}")
        if answer.status == 202 and action.get("operationOptions") != "DisableAsyncPattern":
            raise UnsupportedWorkflow("an Http action that polls after 202")
        headers = _Headers(answer.headers)
        outputs = {"statusCode": answer.status, "headers": headers, "body": _content(answer, headers)}
        if answer.status < 400:
            return Action("Succeeded", outputs)
        return Action("Failed", outputs, f"{call.method} {call.uri}: HTTP {answer.status}")

    def _wait(self, action: Mapping[str, Any]) -> Action:
        interval = evaluate(action["inputs"], self)["interval"]
        self._surroundings.wait(interval["count"] * _UNIT_S[interval["unit"]])
        return Action("Succeeded")

    def _terminate(self, action: Mapping[str, Any]) -> Action:
        inputs = evaluate(action["inputs"], self)
        error = inputs.get("runError", {})
        raise _Terminated(inputs["runStatus"], error.get("code", ""), error.get("message", ""))


def _in_order(actions: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield each action after all that it runs after. Branches that could run side by side run one by one."""
    left = dict.fromkeys(actions)
    while left:
        ready = [name for name in left if not set(actions[name].get("runAfter", {})) & set(left)]
        if not ready:
            raise UnsupportedWorkflow(f"actions wait for each other: {', '.join(left)}")
        for name in ready:
            del left[name]
            yield name


def _content(answer: HttpAnswer, headers: _Headers) -> Any:
    """The body as Azure hands it to expressions: JSON as a value, anything else as text."""
    if "json" in str(headers.get("Content-Type", "")):
        try:
            return json.loads(answer.body)
        except ValueError:
            pass
    return answer.body.decode(errors="replace")
