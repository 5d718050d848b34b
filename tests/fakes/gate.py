"""A gate in front of Azurite and the emulated Azure Resource Manager: it decides as Azure does, by role assignments.

Azurite checks that a token is one, and not what its bearer may do. Here every request is held against the roles of the
template's snapshot; what they do not allow is answered as Azure answers, and never reaches the service behind.
"""

import threading
import uuid
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

import urllib3
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from producer.emulator.certificates import Certificates, ensure_certificates
from producer.emulator.deployment import Deployment
from producer.emulator.fleet import Endpoints
from producer.emulator.ports import bind_loopback
from producer.emulator.serving import HttpHost
from producer.emulator.tokens import ARM_AUDIENCE, STORAGE_AUDIENCE, InvalidToken, TokenAuthority
from producer.target.permissions import OPERATIONS, Principal
from producer.target.roles import Grant, grants_of
from worker.contract.permissions import Need, Service, UnknownRequest, need_of_request

METHODS: Final = ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE")
OF_THE_CONNECTION: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "date"})
"""Headers that the gate's own server writes. Its clock is that of the services behind."""


def without(grants: Iterable[Grant], principal: Principal, need: Need) -> tuple[Grant, ...]:
    """Return the assignments with the actions of this need taken away from the principal's roles."""
    return tuple(_lesser(one, need) if one.principal == principal and one.covers(need.scope) else one for one in grants)


def _lesser(grant: Grant, need: Need) -> Grant:
    role, gone = grant.role, frozenset(need.any_of)
    if need.is_data:
        return replace(grant, role=replace(role, data_actions=role.data_actions - gone))
    return replace(grant, role=replace(role, actions=role.actions - gone))


@dataclass(frozen=True)
class Check:
    """What was looked up for one request: somebody, and one thing that it needs."""

    principal: Principal
    need: Need


class Gate:
    """The decisions, and what they were."""

    def __init__(self, deployment: Deployment) -> None:
        self.grants = grants_of(deployment.snapshot)
        """Who may do what now. A test takes something away, and the next request meets it."""
        self.used: set[Check] = set()
        """What was needed and granted."""
        self.denied: list[Check] = []
        self.unknown: list[str] = []
        """Requests that no rule of ours names. None of them passed."""
        identity = deployment.scale_set.identity
        self._who: dict[str, Principal] = {
            identity.principal_id: "vm",
            deployment.operator.principal_id: "operator",
        }
        if deployment.wake is not None:
            self._who[deployment.wake.identity.principal_id] = "wake"
        self._group = deployment.scale_set.group_id
        self._ids: list[str] = [resource["id"] for resource in deployment.snapshot["predictedResources"]]
        self._lock = threading.Lock()

    def refusal(self, service: Service, object_id: str, request: Request, path: str) -> Response | None:
        """Return Azure's answer to someone who may not, or None for someone who may."""
        query = dict(request.query_params)
        try:
            need = need_of_request(service, request.method, path, query)
        except UnknownRequest as error:
            with self._lock:
                self.unknown.append(str(error))
            return _denied_by_storage() if service != "arm" else _denied_by_arm(object_id, str(error), path)
        principal = self._who[object_id]
        with self._lock:
            for one in (need, *_linked(need, query)):
                check = Check(principal, one)
                if not any(grant.meets(one) for grant in self.grants if grant.principal == principal):
                    self.denied.append(check)
                    return self._answer(service, object_id, path, need, one)
                self.used.add(check)
        return None

    def _answer(self, service: Service, object_id: str, path: str, need: Need, missing: Need) -> Response:
        if service != "arm":
            return _denied_by_storage()
        action = missing.any_of[0]
        if missing == need:
            return _denied_by_arm(object_id, action, path)
        if not missing.scope:
            return _denied_by_arm(object_id, action, self._group)
        linked = self._resource_id(missing.scope)
        text = (
            f"has permission to perform action '{need.any_of[0]}' on scope '{path}'; however, it does not have "
            f"permission to perform action(s) '{action}' on the linked scope(s) '{linked}' (respectively) or the "
            "linked scope(s) are invalid."
        )
        return _arm_error("LinkedAuthorizationFailed", object_id, text)

    def _resource_id(self, scope: str) -> str:
        """Return the id of what a scope with an open name means in this deployment."""
        before, _, after = scope.partition("*")
        start = f"{self._group}/providers/{before}"
        named = (one for one in self._ids if one.startswith(start) and "/" not in one.removeprefix(start))
        return next(named) + after


def _linked(need: Need, query: Mapping[str, str]) -> tuple[Need, ...]:
    """Return what Azure checks besides. A list of VMs needs more only where it is to show their state."""
    for operation in OPERATIONS:
        if operation.need == need and operation.linked:
            return operation.linked if operation.call != "virtual_machines.list" or "$expand" in query else ()
    return ()


def _denied_by_storage() -> Response:
    """403 with a code and no word of which action was missing: "Common REST API error codes" of Azure Storage."""
    code, text = "AuthorizationPermissionMismatch", "This request is not authorized to perform this operation using"
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{text} this permission.</Message>'
    headers = {"x-ms-error-code": code, "x-ms-request-id": str(uuid.uuid4())}
    return Response(f"{body}</Error>", 403, headers, "application/xml")


def _denied_by_arm(object_id: str, action: str, scope: str) -> Response:
    text = (
        f"does not have authorization to perform action '{action}' over scope '{scope}' or the scope is invalid. "
        "If access was recently granted, please refresh your credentials."
    )
    return _arm_error("AuthorizationFailed", object_id, text)


def _arm_error(code: str, object_id: str, text: str) -> Response:
    """403 as Azure Resource Manager words it: "Troubleshoot Azure RBAC" quotes both codes."""
    message = f"The client '{object_id}' with object id '{object_id}' {text}"
    return JSONResponse({"error": {"code": code, "message": message}}, 403)


class GateServer:
    """The gate's addresses. Pair its making with `close`."""

    def __init__(self, gate: Gate, tokens: TokenAuthority, certificates: Certificates) -> None:
        self._gate = gate
        self._tokens = tokens
        self._certificates = certificates
        self._undo = ExitStack()
        self._http = HttpHost()
        self._http.start()
        self._undo.callback(self._http.stop)
        self._pool = urllib3.PoolManager(maxsize=32, ca_certs=str(certificates.ca_file))
        self._undo.callback(self._pool.clear)

    @classmethod
    def of_fleet(cls, gate: Gate, folder: Path) -> Self:
        """Return one that knows the tokens and certificates of the fleet in this folder."""
        tokens = TokenAuthority.in_folder(folder, lambda: datetime.now(UTC))
        return cls(gate, tokens, ensure_certificates(folder / "certificates", datetime.now(UTC)))

    def close(self) -> None:
        """Answer nothing any more."""
        self._undo.close()

    def before(self, behind: Endpoints) -> Endpoints:
        """Stand in front of these services; return where."""
        return replace(
            behind,
            blob_url=self._serve("blob", behind.blob_url),
            queue_url=self._serve("queue", behind.queue_url),
            arm_url=self._serve("arm", behind.arm_url),
        )

    def _serve(self, service: Service, url: str) -> str:
        """Stand in front of one service; its account, if it has one, stays in the path."""
        parts = urllib3.util.parse_url(url)
        account = parts.path or ""
        origin = url.removesuffix(account)

        async def answer(request: Request) -> Response:
            refusal = self._ask(service, request, request.url.path.removeprefix(account))
            body = await request.body()
            return await run_in_threadpool(self._forward, origin, request, body) if refusal is None else refusal

        app = Starlette(routes=[Route("/{path:path}", answer, methods=list(METHODS))])
        return self._http.serve(app, bind_loopback(), self._certificates).url + account

    def _ask(self, service: Service, request: Request, path: str) -> Response | None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        try:
            known = self._tokens.principal(token, ARM_AUDIENCE if service == "arm" else STORAGE_AUDIENCE)
        except InvalidToken:
            return None  # the service behind says so itself
        return self._gate.refusal(service, known.object_id, request, path)

    def _forward(self, origin: str, request: Request, body: bytes) -> Response:
        target = request.scope["raw_path"].decode() + (f"?{request.url.query}" if request.url.query else "")
        answer = self._pool.request(
            request.method,
            origin + target,
            body=body,
            headers={name: value for name, value in request.headers.items() if name not in OF_THE_CONNECTION},
            retries=False,
            redirect=False,
            decode_content=False,
        )
        headers = {name: value for name, value in answer.headers.items() if name.lower() not in OF_THE_CONNECTION}
        return Response(answer.data, answer.status, headers)
