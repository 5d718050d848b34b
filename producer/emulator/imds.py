"""Instance metadata (IMDS): what http://169.254.169.254 answers inside a VM. Each VM has an endpoint of its own.

Identity tokens, `/metadata/instance` and `/metadata/scheduledevents`. The laptop of the person who runs the fleet has
one too, for tokens only: it stands for `az login`.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from producer.emulator.description import SetDescription
from producer.emulator.faults import Faults
from producer.emulator.model import ScaleSetModel
from producer.emulator.states import Refused, Vm
from producer.emulator.tokens import Identity, TokenAuthority

INSTANCE_VERSIONS = ("2017-08-01", "2019-08-15", "2020-09-01", "2021-02-01", "2021-12-13", "2023-11-15")
EVENTS_VERSIONS = ("2017-11-01", "2019-01-01", "2019-04-01", "2019-08-01", "2020-07-01")


def operator_app(tokens: TokenAuthority, identity: Identity, faults: Faults) -> Starlette:
    """The endpoint of the person's own machine: tokens for `identity`, named in the request or not."""

    async def token(request: Request) -> Response:
        return _token(request, tokens, identity, None, may_be_implied=True)

    return _application({"/metadata/identity/oauth2/token": token}, faults)


class VmMetadata:
    """The endpoint of one VM."""

    def __init__(
        self,
        model: ScaleSetModel,
        vm: Vm,
        tokens: TokenAuthority,
        faults: Faults,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sleep = sleep
        self._model = model
        self._vm = vm
        self._tokens = tokens
        self._faults = faults
        self._events_enabled = False
        self.app = _application(
            {
                "/metadata/identity/oauth2/token": self._token,
                "/metadata/instance": self._instance,
                "/metadata/instance/{path:path}": self._instance,
                "/metadata/scheduledevents": self._scheduled_events,
            },
            faults,
        )

    async def _token(self, request: Request) -> Response:
        description = self._model.description
        vm_id = description.vm_id(self._vm.name)
        return _token(request, self._tokens, description.identity, vm_id, may_be_implied=False)

    async def _instance(self, request: Request) -> Response:
        refusal = _check_version(request, INSTANCE_VERSIONS)
        if refusal is not None:
            return refusal
        node: Any = instance_document(self._model.description, self._vm)
        for part in request.path_params.get("path", "").split("/"):
            if part:
                node = _child(node, part)
        if isinstance(node, dict | list):
            return JSONResponse(node)
        if request.query_params.get("format") != "text":
            return _bad_request("Bad request. A leaf of the metadata is shown as text only: add format=text.")
        return PlainTextResponse(str(node))

    async def _scheduled_events(self, request: Request) -> Response:
        refusal = _check_version(request, EVENTS_VERSIONS)
        if refusal is not None:
            return refusal
        if request.method == "POST":
            return await self._acknowledge(request)
        if not self._events_enabled:
            await self._sleep(self._faults.scheduled_events_delay_s)
            self._events_enabled = True
        return JSONResponse(self._model.scheduled_events())

    async def _acknowledge(self, request: Request) -> Response:
        try:
            body = await request.json()
            event_ids = [str(start["EventId"]) for start in body["StartRequests"]]
        except (ValueError, KeyError, TypeError):
            return _bad_request('Bad request. Expected {"StartRequests": [{"EventId": "..."}]}.')
        try:
            self._model.start_events(event_ids)
        except Refused as refused:
            return _bad_request(refused.problem.message)
        return Response(status_code=200)


def instance_document(description: SetDescription, vm: Vm) -> dict[str, Any]:
    """What `/metadata/instance` says of a VM."""
    profile = description.profile
    tags = description.tags
    return {
        "compute": {
            "azEnvironment": "AzurePublicCloud",
            "evictionPolicy": profile.get("evictionPolicy", ""),
            "location": description.location,
            "name": vm.name,
            "osType": "Linux",
            "priority": profile.get("priority", "Regular"),
            "provider": "Microsoft.Compute",
            "resourceGroupName": description.resource_group,
            "resourceId": description.vm_id(vm.name),
            "subscriptionId": description.subscription_id,
            "tags": ";".join(f"{name}:{value}" for name, value in tags.items()),
            "tagsList": [{"name": name, "value": value} for name, value in tags.items()],
            "userData": profile.get("userData", ""),
            "virtualMachineScaleSet": {"id": description.id},
            "vmId": vm.vm_id,
            "vmScaleSetName": description.name,
            "vmSize": description.vm_size,
            "zone": "",
        },
        "network": {"interface": []},
    }


class _MetadataRules:
    """What every request must keep to, and the faults that meet it."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        fault = self._faults.take_answer(request.method, request.url.path)
        response: ASGIApp = self._app
        if fault is not None:
            headers = {} if fault.retry_after_s is None else {"Retry-After": str(math.ceil(fault.retry_after_s))}
            response = JSONResponse({"error": fault.code, "error_description": fault.message}, fault.status, headers)
        elif request.headers.get("metadata", "").casefold() != "true":
            response = _bad_request("Bad request. Required metadata header not specified")
        elif "x-forwarded-for" in request.headers:
            response = _bad_request("Bad request. X-Forwarded-For is not allowed: the request came through a proxy")
        await response(scope, receive, send)


def _application(handlers: Mapping[str, Callable[[Request], Any]], faults: Faults) -> Starlette:
    return Starlette(
        routes=[
            Route(path, handler, methods=["GET", "POST"] if path.endswith("scheduledevents") else ["GET"])
            for path, handler in handlers.items()
        ],
        middleware=[Middleware(_MetadataRules, faults=faults)],
        exception_handlers={HTTPException: _not_found},
    )


def _token(
    request: Request, tokens: TokenAuthority, identity: Identity, vm_id: str | None, *, may_be_implied: bool
) -> Response:
    query = request.query_params
    if not query.get("api-version"):
        return _oauth_error("invalid_request", "Required query variable 'api-version' is missing")
    audience = query.get("resource")
    if not audience:
        return _oauth_error("invalid_request", "Required query variable 'resource' is missing")
    named = {"client_id": query.get("client_id"), "object_id": query.get("object_id")}
    resource_id = query.get("msi_res_id") or query.get("mi_res_id")
    implied = may_be_implied and not any((*named.values(), resource_id))
    if not implied and not identity.is_called(**named, resource_id=resource_id):
        return _oauth_error("invalid_request", "Identity not found")
    token = tokens.issue(identity, audience, vm_id)
    return JSONResponse(
        {
            "access_token": token.text,
            "client_id": identity.client_id,
            "expires_in": str(int((token.expires - token.issued).total_seconds())),
            "expires_on": str(int(token.expires.timestamp())),
            "ext_expires_in": str(int((token.expires - token.issued).total_seconds())),
            "not_before": str(int(token.issued.timestamp())),
            "resource": audience,
            "token_type": "Bearer",
        }
    )


def _check_version(request: Request, versions: tuple[str, ...]) -> Response | None:
    version = request.query_params.get("api-version")
    if version in versions:
        return None
    problem = "was not specified in the request" if version is None else "is invalid or not supported"
    text = f"Bad request. api-version {problem}. For more information refer to aka.ms/azureimds"
    return JSONResponse({"error": text, "newest-versions": list(reversed(versions))[:3]}, 400)


def _child(node: Any, part: str) -> Any:
    if isinstance(node, dict) and part in node:
        return node[part]
    if isinstance(node, list) and part.isdigit() and int(part) < len(node):
        return node[int(part)]
    raise HTTPException(404)


def _bad_request(text: str) -> Response:
    return JSONResponse({"error": text}, 400)


def _oauth_error(code: str, text: str) -> Response:
    return JSONResponse({"error": code, "error_description": text}, 400)


async def _not_found(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    return JSONResponse({"error": "Not found" if status == 404 else "Method not allowed"}, status)
