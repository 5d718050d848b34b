"""Azure Resource Manager for one scale set: the HTTP that the unchanged azure-mgmt-compute client speaks.

Paths, fields and accepted statuses are those of Microsoft.Compute 2026-04-01. It knows who asks, from the bearer
token, and lets everyone in: what a role allows is decided elsewhere.
"""

import json
import math
import re
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from producer.emulator import arm_documents
from producer.emulator.faults import Faults, RequestFault
from producer.emulator.model import ScaleSetModel
from producer.emulator.states import Operation, Refused, Status
from producer.emulator.throttle import LIMITS, Throttle
from producer.emulator.tokens import ARM_AUDIENCE, InvalidToken, Principal, TokenAuthority
from worker.contract.resource_types import SETS

Handler = Callable[[Request], Awaitable[Response]]

_GROUP = "/subscriptions/{subscription}/resourceGroups/{group}"
_COMPUTE = f"{_GROUP}/providers/Microsoft.Compute"
_SET = f"{_COMPUTE}/virtualMachineScaleSets/{{name}}"
_VM = f"{_COMPUTE}/virtualMachines/{{vm}}"
_LOCATION = "/subscriptions/{subscription}/providers/Microsoft.Compute/locations/{location}"
_FILTER = re.compile(r"\s*'virtualMachineScaleSet/id'\s+eq\s+'([^']*)'\s*", re.IGNORECASE)

_STATUS_OF = {
    "BadRequest": 400,
    "InvalidParameter": 400,
    "InvalidRequestContent": 400,
    "MissingApiVersionParameter": 400,
    "NotFound": 404,
    "OperationNotAllowed": 409,
    "PreconditionFailed": 412,
    "ResourceGroupNotFound": 404,
    "ResourceNotFound": 404,
    "SubscriptionNotFound": 404,
}


@dataclass(frozen=True)
class ArmSettings:
    """How this endpoint answers: VMs per page, and the pause between polls that it asks for (0: the client's own)."""

    page_size: int = 100
    retry_after_s: int = 1
    throttle_speed: float = 1.0


@dataclass(frozen=True)
class Answer:
    """What a GET of `path` is answered with: one document, or a list in pages."""

    path: str
    documents: Callable[[], list[arm_documents.Document] | arm_documents.Document | None]
    """None where there is no such thing."""


class ArmApp:
    """The application. It is served by one thread; the model behind it is shared."""

    def __init__(
        self,
        model: ScaleSetModel,
        tokens: TokenAuthority,
        faults: Faults,
        clock: Callable[[], datetime],
        settings: ArmSettings,
        extra_routes: Sequence[Route] = (),
        beside: Sequence["Answer"] = (),
    ) -> None:
        """`beside` is what else of the group and its location can be asked for."""
        self._model = model
        self._tokens = tokens
        self._faults = faults
        self._settings = settings
        self._throttle = Throttle(clock, settings.throttle_speed)
        self.app = Starlette(
            routes=[
                self._route("GET", _SET, self._get_set, "GetVMScaleSet"),
                self._route("PATCH", _SET, self._patch_set, "UpdateVMScaleSet"),
                self._route("POST", f"{_SET}/delete", self._delete_instances, "DeleteVMScaleSetVM"),
                self._route("GET", f"{_SET}/virtualMachines", self._list_members, "GetVMScaleSetVM"),
                self._route("GET", f"{_COMPUTE}/virtualMachines", self._list_vms, "HighCostGetVM"),
                self._route("GET", _VM, self._get_vm, "LowCostGetVM"),
                self._route("DELETE", _VM, self._delete_vm, "DeleteVM"),
                self._route("GET", f"{_VM}/instanceView", self._instance_view, "LowCostGetVM"),
                self._route("POST", f"{_VM}/simulateEviction", self._simulate_eviction, "DeleteVM"),
                self._route("GET", f"{_LOCATION}/operations/{{operation}}", self._get_operation, "GetOperation"),
                *(self._route("GET", one.path, self._listed(one), "LowCostGetVM") for one in beside),
                *extra_routes,
            ],
            exception_handlers={HTTPException: _unknown_path},
        )

    # What is asked

    async def _get_set(self, _: Request) -> Response:
        return self._set_document()

    async def _patch_set(self, request: Request) -> Response:
        body = await _json_object(request)
        sku = body.get("sku")
        capacity = sku.get("capacity") if isinstance(sku, dict) else None
        if not body:  # changes nothing, once the ETag was compared
            self._model.compare(request.headers.get("if-match"))
            return self._set_document()
        if set(body) != {"sku"} or not isinstance(capacity, int) or isinstance(capacity, bool):
            text = 'The emulated scale set takes one kind of PATCH: {"sku": {"capacity": <integer>}}.'
            raise Refused("InvalidRequestContent", text)
        operation = self._model.set_capacity(capacity, request.headers.get("if-match"))
        response = self._set_document(updating=True)
        self._announce(request, response, operation)
        return response

    async def _delete_instances(self, request: Request) -> Response:
        body = await _json_object(request)
        names = body.get("instanceIds")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise Refused("InvalidParameter", "The instanceIds must be a list of VM names.")
        return self._accepted(request, self._model.delete_instances(names))

    async def _list_members(self, request: Request) -> Response:
        description = self._model.description
        return self._page(request, [arm_documents.set_member(description, vm) for vm in self._model.vms()])

    async def _list_vms(self, request: Request) -> Response:
        wanted = request.query_params.get("$filter")
        expand = request.query_params.get("$expand")
        if expand is not None and wanted is None:
            raise Refused(
                "InvalidParameter", "$expand is supported together with a $filter by virtualMachineScaleSet/id only."
            )
        if wanted is not None:
            found = _FILTER.fullmatch(wanted)
            if found is None:
                raise Refused("InvalidParameter", f"The $filter {wanted} is not supported.")
            if found.group(1).casefold() != self._model.description.id.casefold():
                return self._page(request, [])
        description = self._model.description
        expanded = expand is not None and expand.casefold() == "instanceview"
        return self._page(
            request, [arm_documents.vm(description, vm, instance_view=expanded) for vm in self._model.vms()]
        )

    async def _get_vm(self, request: Request) -> Response:
        expanded = request.query_params.get("$expand", "").casefold() == "instanceview"
        vm = self._model.vm(request.path_params["vm"])
        return JSONResponse(arm_documents.vm(self._model.description, vm, instance_view=expanded))

    async def _instance_view(self, request: Request) -> Response:
        return JSONResponse(arm_documents.vm_instance_view(self._model.vm(request.path_params["vm"])))

    async def _delete_vm(self, request: Request) -> Response:
        operation = self._model.delete_vm(request.path_params["vm"])
        return Response(status_code=204) if operation is None else self._accepted(request, operation)

    async def _simulate_eviction(self, request: Request) -> Response:
        self._model.evict(request.path_params["vm"], notice=True)
        return Response(status_code=204)

    def _listed(self, answer: Answer) -> Handler:
        async def handle(request: Request) -> Response:
            found = answer.documents()
            if found is None:
                raise Refused("ResourceNotFound", f"The Resource '{request.url.path}' was not found.")
            return JSONResponse(found) if isinstance(found, dict) else self._page(request, found)

        return handle

    async def _get_operation(self, request: Request) -> Response:
        operation = self._model.operation(request.path_params["operation"])
        headers = {"Retry-After": _seconds(self._settings.retry_after_s)}
        if request.query_params.get("monitor") != "true":
            return JSONResponse(arm_documents.operation(operation), headers=headers)
        if operation.status is Status.IN_PROGRESS:
            return Response(status_code=202, headers=headers)
        if operation.problem is not None:
            return _error(
                _STATUS_OF.get(operation.problem.code, 409), operation.problem.code, operation.problem.message
            )
        return self._set_document() if operation.updates_set else Response(status_code=204)

    # What is common to all answers

    def _route(self, method: str, path: str, handler: Handler, policy: str) -> Route:
        async def answer(request: Request) -> Response:
            fault = self._faults.take_answer(request.method, request.url.path)
            if fault is not None and not fault.applied:
                return _faulty(fault)
            try:
                response = await self._checked(request, handler, policy)
            except Refused as refused:
                response = _refusal(refused)
            response.headers["x-ms-request-id"] = str(uuid.uuid4())
            return response if fault is None else _faulty(fault)

        return Route(path, answer, methods=[method])

    async def _checked(self, request: Request, handler: Handler, policy: str) -> Response:
        try:
            authenticate(request, self._tokens)
        except InvalidToken as error:
            return _unauthenticated(str(error))
        if not request.query_params.get("api-version"):
            raise Refused("MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required.")
        self._check_scope(request.path_params)
        verdict = self._throttle.ask(policy, request.url.path.casefold())
        if not verdict.passes:
            return _faulty(RequestFault.throttled(verdict.retry_after_s), target=policy)
        response = await handler(request)
        response.headers["x-ms-ratelimit-remaining-resource"] = f"Microsoft.Compute/{policy};{verdict.remaining}"
        return response

    def _check_scope(self, named: dict[str, str]) -> None:
        description = self._model.description
        if named["subscription"].casefold() != description.subscription_id.casefold():
            raise Refused("SubscriptionNotFound", f"The subscription '{named['subscription']}' could not be found.")
        if "group" in named and named["group"].casefold() != description.resource_group.casefold():
            raise Refused("ResourceGroupNotFound", f"Resource group '{named['group']}' could not be found.")
        if "name" in named and named["name"].casefold() != description.name.casefold():
            path = f"{SETS}/{named['name']}"
            text = f"The Resource '{path}' under resource group '{named['group']}' was not found."
            raise Refused("ResourceNotFound", text)

    def _set_document(self, *, updating: bool = False) -> Response:
        document = arm_documents.scale_set(self._model)
        if updating:
            document["properties"]["provisioningState"] = "Updating"
        return JSONResponse(document, headers={"ETag": document["etag"]})

    def _accepted(self, request: Request, operation: Operation) -> Response:
        response = Response(status_code=202)
        self._announce(request, response, operation)
        return response

    def _announce(self, request: Request, response: Response, operation: Operation) -> None:
        description = self._model.description
        path = _LOCATION.format(subscription=description.subscription_id, location=description.location)
        query = urlencode({"api-version": request.query_params["api-version"]})
        url = f"{str(request.base_url).rstrip('/')}{path}/operations/{operation.operation_id}?{query}"
        response.headers["Azure-AsyncOperation"] = url
        response.headers["Retry-After"] = _seconds(self._settings.retry_after_s)
        response.headers["Location"] = f"{url}&monitor=true"

    def _page(self, request: Request, documents: list[arm_documents.Document]) -> Response:
        """A page of what is there now. The token is an offset: what goes or comes between two pages shifts them."""
        token = request.query_params.get("$skipToken", "0")
        start = int(token) if token.isdigit() else 0
        end = start + self._settings.page_size
        page: dict[str, Any] = {"value": documents[start:end]}
        if end < len(documents):
            page["nextLink"] = str(request.url.include_query_params(**{"$skipToken": end}))
        return JSONResponse(page)


def authenticate(request: Request, tokens: TokenAuthority) -> Principal:
    """Who sent this request. InvalidToken says why that is not known."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.casefold() != "bearer" or not token:
        raise InvalidToken("the 'Authorization' header is missing or has no bearer token")
    return tokens.principal(token, ARM_AUDIENCE)


async def _json_object(request: Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Refused("InvalidRequestContent", "The request content was invalid: a JSON object is expected.")
    return body


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None, **more: Any) -> Response:
    return JSONResponse({"error": {"code": code, "message": message, **more}}, status, headers)


def _unauthenticated(reason: str) -> Response:
    challenge = 'Bearer authorization_uri="https://login.microsoftonline.com/common", error="invalid_token"'
    return _error(
        401, "InvalidAuthenticationToken", f"The access token is invalid: {reason}.", {"WWW-Authenticate": challenge}
    )


def _faulty(fault: RequestFault, target: str = "") -> Response:
    """The answer of a fault. A throttled request learns in `details` which bucket was empty."""
    headers = {} if fault.retry_after_s is None else {"Retry-After": _seconds(fault.retry_after_s)}
    if not target:
        return _error(fault.status, fault.code, fault.message, headers)
    group = {"operationGroup": target, "allowedRequestCount": int(LIMITS[target].burst)}
    detail = {"code": "TooManyRequests", "target": target, "message": json.dumps(group)}
    headers["x-ms-ratelimit-remaining-resource"] = f"Microsoft.Compute/{target};0"
    return _error(fault.status, fault.code, fault.message, headers, details=[detail])


def _refusal(refused: Refused) -> Response:
    return _error(_STATUS_OF[refused.problem.code], refused.problem.code, refused.problem.message)


async def _unknown_path(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    return _error(
        status, "NotFound", f"The emulated Azure Resource Manager has no {request.method} {request.url.path}."
    )


def _seconds(duration_s: float) -> str:
    """Whole seconds: azure-mgmt-compute raises ValueError at a Retry-After with a fraction."""
    return str(math.ceil(duration_s))
