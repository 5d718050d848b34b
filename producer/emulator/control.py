"""What the emulator does and Azure has no request for: an eviction without notice, asked for in another terminal."""

from collections.abc import Sequence

from azure.core import PipelineClient
from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError
from azure.core.pipeline.policies import BearerTokenCredentialPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest, HttpResponse
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from producer.emulator.arm import authenticate
from producer.emulator.errors import EmulatorError
from producer.emulator.model import ScaleSetModel
from producer.emulator.states import Refused
from producer.emulator.tokens import ARM_AUDIENCE, InvalidToken, TokenAuthority
from worker.contract.settings import Target

EVICT_PATH = "/emulator/evict"


def eviction_route(model: ScaleSetModel, tokens: TokenAuthority, operator_id: str) -> Route:
    """`POST /emulator/evict` {"instance": name or null, "notice": bool, "preferred": names}, for the person
    who runs the fleet only.
    """

    async def evict(request: Request) -> Response:
        try:
            principal = authenticate(request, tokens)
        except InvalidToken as error:
            return _problem(401, str(error))
        if principal.object_id != operator_id:
            return _problem(403, "only the person who runs this fleet may evict its instances")
        try:
            body = await request.json()
            instance, notice, preferred = body["instance"], body["notice"], tuple(body["preferred"])
        except (ValueError, KeyError, TypeError):
            return _problem(400, 'expected {"instance": name or null, "notice": true or false, "preferred": [name]}')
        try:
            return JSONResponse({"instance": model.evict(instance, notice=bool(notice), preferred=preferred)})
        except Refused as refused:
            return _problem(409, refused.problem.message)

    return Route(EVICT_PATH, evict, methods=["POST"])


def evict(
    target: Target, credential: TokenCredential, instance: str | None, *, notice: bool, preferred: Sequence[str] = ()
) -> str:
    """Have the fleet of a local target evict this instance, or any running one, if it can a preferred one.

    Returns its name.

    Raises EmulatorError when the fleet does not run, or refuses.
    """
    policy = BearerTokenCredentialPolicy(credential, f"{ARM_AUDIENCE}/.default")
    transport = RequestsTransport(
        connection_timeout=3, read_timeout=10, connection_verify=str(target.ca_file), use_env_settings=False
    )
    body = {"instance": instance, "notice": notice, "preferred": list(preferred)}
    request = HttpRequest("POST", EVICT_PATH, json=body)
    client: PipelineClient[HttpRequest, HttpResponse] = PipelineClient(
        target.arm_endpoint, policies=[policy], transport=transport
    )
    with client:
        request.url = client.format_url(request.url)
        try:
            response = client.send_request(request)
        except AzureError as error:
            raise EmulatorError(
                f"No fleet answers at {target.arm_endpoint} ({error.message}). Start it: tranquility local up."
            ) from error
        answer = response.json()
    if response.status_code != 200:
        raise EmulatorError(f"No instance was evicted: {answer['error']}.")
    return str(answer["instance"])


def _problem(status: int, text: str) -> Response:
    return JSONResponse({"error": text.rstrip(".")}, status)
