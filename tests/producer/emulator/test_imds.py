"""Instance metadata over real HTTP, and azure-identity against it."""

import json
from http.client import HTTPConnection
from random import Random
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
from azure.identity import CredentialUnavailableError, ManagedIdentityCredential

from producer.emulator.description import SetDescription
from producer.emulator.faults import Faults, RequestFault
from producer.emulator.imds import VmMetadata, operator_app
from producer.emulator.model import ScaleSetModel
from producer.emulator.ports import bind_loopback
from producer.emulator.serving import HttpHost
from producer.emulator.states import Boot, Kill, Latencies
from producer.emulator.tokens import Identity, TokenAuthority
from tests.fakes.hand_clock import HandClock

EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
INSTANCE = "/metadata/instance?api-version=2021-02-01"
TOKEN = "/metadata/identity/oauth2/token"
METADATA = {"Metadata": "true"}


class Vms:
    """Two running VMs of a set, each with its metadata endpoint."""

    def __init__(self, model: ScaleSetModel, faults: Faults, clock: HandClock, names: list[str]) -> None:
        self.model = model
        self.faults = faults
        self.clock = clock
        self.urls: dict[str, str] = {}
        self.slept_s: list[float] = []
        self.first, self.second = names

    def get(self, vm: str, path: str, headers: dict[str, str] = METADATA) -> tuple[int, Any]:
        return ask("GET", self.urls[vm] + path, headers)

    def acknowledge(self, vm: str, body: str) -> tuple[int, Any]:
        return ask("POST", self.urls[vm] + EVENTS, METADATA, body)


def ask(method: str, url: str, headers: dict[str, str], body: str | None = None) -> tuple[int, Any]:
    """Status and body, parsed where it is JSON. http.client knows no proxies."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=30)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", body, headers)
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    is_json = response.headers.get("content-type") == "application/json"
    return response.status, json.loads(text) if is_json else text


@pytest.fixture
def vms(description: SetDescription, token_authority: TokenAuthority, http: HttpHost, clock: HandClock) -> Vms:
    faults = Faults()
    model = ScaleSetModel(description, Latencies(1, 1, 30), faults, clock, Random(1))
    model.set_capacity(2)
    clock.pass_s(1)
    booted = [effect.vm for effect in model.take_effects() if isinstance(effect, Boot)]
    found = Vms(model, faults, clock, [vm.name for vm in booted])

    async def sleep(seconds: float) -> None:
        found.slept_s.append(seconds)

    for vm in booted:
        metadata = VmMetadata(model, vm, token_authority, faults, sleep)
        found.urls[vm.name] = http.serve(metadata.app, bind_loopback()).url
    return found


@pytest.fixture
def operator_url(token_authority: TokenAuthority, identity: Identity, http: HttpHost) -> str:
    return http.serve(operator_app(token_authority, identity, Faults()), bind_loopback()).url


@pytest.mark.parametrize("path", [EVENTS, INSTANCE, f"{TOKEN}?api-version=2018-02-01&resource=r"])
def test_without_the_metadata_header_nothing_is_said(vms: Vms, path: str) -> None:
    assert vms.get(vms.first, path, {})[0] == 400
    assert vms.get(vms.first, path, METADATA | {"X-Forwarded-For": "10.0.0.1"})[0] == 400


def test_a_vm_learns_who_it_is(vms: Vms, description: SetDescription) -> None:
    status, document = vms.get(vms.first, INSTANCE)
    compute = document["compute"]
    assert status == 200
    assert compute["name"] == vms.first
    assert compute["vmId"] == vms.model.vm(vms.first).vm_id
    assert compute["resourceId"] == description.vm_id(vms.first)
    assert compute["vmScaleSetName"] == "fleet"
    assert (compute["subscriptionId"], compute["resourceGroupName"]) == (description.subscription_id, "tests")
    assert (compute["priority"], compute["evictionPolicy"], compute["vmSize"]) == (
        "Spot",
        "Delete",
        "Standard_F8als_v6",
    )
    assert {"name": "tranquility-max-instances", "value": "4"} in compute["tagsList"]
    assert {tag["name"]: tag["value"] for tag in compute["tagsList"]} == dict(description.tags)


def test_one_leaf_is_plain_text(vms: Vms) -> None:
    leaf = "/metadata/instance/compute/name?api-version=2021-02-01"
    assert vms.get(vms.second, f"{leaf}&format=text") == (200, vms.second)
    assert vms.get(vms.second, leaf)[0] == 400
    assert vms.get(vms.second, "/metadata/instance/compute/nothing?api-version=2021-02-01")[0] == 404


@pytest.mark.parametrize("path", ["/metadata/instance", "/metadata/scheduledevents"])
def test_an_api_version_is_required_and_checked(vms: Vms, path: str) -> None:
    for query in ("", "?api-version=1999-01-01"):
        status, document = vms.get(vms.first, path + query)
        assert status == 400
        assert document["newest-versions"]


def test_every_vm_sees_every_event_and_the_incarnation_tells_of_changes(vms: Vms) -> None:
    before = vms.get(vms.first, EVENTS)[1]
    assert before["Events"] == []
    vms.model.evict(vms.second)
    seen = [vms.get(vm, EVENTS)[1] for vm in (vms.first, vms.second)]
    assert seen[0] == seen[1]
    assert seen[0]["DocumentIncarnation"] > before["DocumentIncarnation"]
    (event,) = seen[0]["Events"]
    assert event.pop("EventId")
    assert event == {
        "EventType": "Preempt",
        "ResourceType": "VirtualMachine",
        "Resources": [vms.second],
        "EventStatus": "Scheduled",
        "NotBefore": "Sun, 01 Mar 2026 12:00:31 GMT",
        "Description": "",
        "EventSource": "Platform",
        "DurationInSeconds": -1,
    }


def test_an_acknowledged_event_starts_at_once(vms: Vms) -> None:
    vms.model.evict(vms.first)
    (event,) = vms.get(vms.first, EVENTS)[1]["Events"]
    body = json.dumps({"StartRequests": [{"EventId": event["EventId"]}]})
    assert vms.acknowledge(vms.first, body)[0] == 200
    assert vms.model.take_effects() == (Kill(vms.first),)
    (event,) = vms.get(vms.second, EVENTS)[1]["Events"]
    assert (event["EventStatus"], event["NotBefore"]) == ("Started", "")
    vms.clock.pass_s(1)
    assert vms.get(vms.second, EVENTS)[1]["Events"] == []


@pytest.mark.parametrize("body", ["", "{}", "[]", '{"StartRequests": [{}]}', '{"StartRequests": [{"EventId": "no"}]}'])
def test_a_malformed_acknowledgement_starts_nothing(vms: Vms, body: str) -> None:
    vms.model.evict(vms.first)
    assert vms.acknowledge(vms.first, body)[0] == 400
    assert vms.model.take_effects() == ()


def test_a_vm_gets_a_token_that_names_its_identity_and_the_vm(
    vms: Vms, description: SetDescription, monkeypatch: pytest.MonkeyPatch, token_authority: TokenAuthority
) -> None:
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", vms.urls[vms.first])
    identity = description.identity
    by_client, by_resource = {"client_id": identity.client_id}, {"resource_id": identity.resource_id}
    for named in (by_client, by_resource):
        with ManagedIdentityCredential(identity_config=named) as credential:
            token = credential.get_token("https://management.azure.com/.default").token
        principal = token_authority.principal(token, "https://management.azure.com")
        assert principal.object_id == identity.principal_id
        assert principal.vm_resource_id == description.vm_id(vms.first)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["iss"] == f"https://sts.windows.net/{identity.tenant_id}/"
    assert claims["nbf"] <= claims["iat"] < claims["exp"]


@pytest.mark.parametrize("named", [{}, {"client_id": "00000000-0000-0000-0000-000000000000"}])
def test_a_vm_must_say_which_identity_it_means(
    vms: Vms, monkeypatch: pytest.MonkeyPatch, named: dict[str, str]
) -> None:
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", vms.urls[vms.first])
    with (
        ManagedIdentityCredential(identity_config=named) as credential,
        pytest.raises(CredentialUnavailableError, match="Identity not found"),
    ):
        credential.get_token("https://storage.azure.com/.default")


def test_the_operator_need_not_name_an_identity(
    operator_url: str, identity: Identity, monkeypatch: pytest.MonkeyPatch, token_authority: TokenAuthority
) -> None:
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", operator_url)
    with ManagedIdentityCredential() as credential:
        token = credential.get_token("https://storage.azure.com/.default").token
    principal = token_authority.principal(token, "https://storage.azure.com")
    assert (principal.object_id, principal.vm_resource_id) == (identity.principal_id, None)


def test_the_operators_laptop_is_no_vm(operator_url: str) -> None:
    assert ask("GET", operator_url + INSTANCE, METADATA)[0] == 404
    assert ask("GET", operator_url + EVENTS, METADATA)[0] == 404


def test_a_token_request_says_what_it_wants(vms: Vms) -> None:
    for query in ("", "api-version=2018-02-01", "resource=https://storage.azure.com"):
        status, document = vms.get(vms.first, f"{TOKEN}?{query}")
        assert (status, document["error"]) == (400, "invalid_request")


def test_an_identity_that_is_not_ready_is_waited_for(
    vms: Vms, description: SetDescription, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", vms.urls[vms.first])
    vms.faults.answer(RequestFault(404, "not_ready", path="/metadata/identity"))
    with ManagedIdentityCredential(client_id=description.identity.client_id) as credential:
        assert credential.get_token("https://storage.azure.com/.default").token


def test_the_first_call_of_each_vm_for_events_may_be_slow_and_the_next_are_not(vms: Vms) -> None:
    vms.faults.scheduled_events_delay_s = 120
    for vm in (vms.first, vms.first, vms.second):
        assert vms.get(vm, EVENTS)[0] == 200
    assert vms.slept_s == [120, 120]


def test_metadata_can_fail(vms: Vms) -> None:
    vms.faults.answer(RequestFault.unavailable(path="/metadata/scheduledevents"))
    assert [vms.get(vms.first, EVENTS)[0] for _ in range(2)] == [503, 200]
