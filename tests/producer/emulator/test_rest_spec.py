"""Every answer of the emulated Azure Resource Manager against the public REST specification and the SDK's models."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from azure.core import MatchConditions
from azure.core.credentials import TokenCredential
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest
from azure.mgmt.compute import ComputeManagementClient, models
from azure.mgmt.compute._utils.model_base import Model

from producer.emulator.arm import ArmApp, ArmSettings
from producer.emulator.certificates import Certificates
from producer.emulator.faults import Allocation, Faults
from producer.emulator.model import ScaleSetModel
from producer.emulator.ports import bind_loopback
from producer.emulator.serving import HttpHost
from producer.emulator.states import Latencies
from producer.emulator.tokens import Identity, TokenAuthority
from tests.fakes.deployed import scale_set
from tests.fakes.hand_clock import HandClock
from tests.producer.emulator.rest_spec import COUNTED, ERROR, OPERATIONS, OperationSpec, differences

GROUP, SET, SAME = "tests", "fleet", MatchConditions.IfNotModified


@dataclass(frozen=True)
class Exchange:
    """One request, and what came back."""

    operation: OperationSpec
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    def __str__(self) -> str:
        return f"{self.operation.name}: {self.status}"


class Recorder(SansIOHTTPPolicy[Any, Any]):
    """Keeps what passes."""

    def __init__(self) -> None:
        super().__init__()
        self.exchanges: list[Exchange] = []

    def on_response(self, request: PipelineRequest[Any], response: PipelineResponse[Any, Any]) -> None:
        asked, came = request.http_request, response.http_response
        url = urlsplit(asked.url)
        query = dict(parse_qsl(url.query))
        known = [one for one in OPERATIONS if one.is_asked(asked.method, url.path, query)]
        assert len(known) == 1, f"{asked.method} {asked.url}"
        headers = {name.lower(): value for name, value in came.headers.items()}
        self.exchanges.append(Exchange(known[0], came.status_code, headers, came.body()))


class Everything:
    """Makes the emulator give every answer that it can."""

    def __init__(
        self,
        client: ComputeManagementClient,
        recorder: Recorder,
        model: ScaleSetModel,
        faults: Faults,
        clock: HandClock,
    ) -> None:
        self.client, self.recorder = client, recorder
        self.sets, self.vms, self.members = (
            client.virtual_machine_scale_sets,
            client.virtual_machines,
            client.virtual_machine_scale_set_vms,
        )
        self.model, self.faults, self.clock = model, faults, clock

    def ask(self) -> None:
        """Ask for everything once, in each state of the set."""
        self.sets.get(GROUP, SET)
        self._look()
        poller = self.sets.begin_update(GROUP, SET, self._capacity(3))
        monitor = next(one.headers["location"] for one in self.recorder.exchanges if "location" in one.headers)
        self._look()
        self.client.send_request(HttpRequest("GET", monitor))
        self.clock.pass_s(30)
        self._look()
        self.clock.pass_s(30)
        self.client.send_request(HttpRequest("GET", monitor))  # the SDK asks the set itself, as the other way allows
        poller.result()
        self._look()
        first, second, third = (vm.name for vm in self.model.vms())
        self.vms.simulate_eviction(GROUP, first)
        self.clock.pass_s(30)
        deletion = self.sets.begin_delete_instances(GROUP, SET, {"instanceIds": [second]})
        self._look()
        self.clock.pass_s(20)
        deletion.result()
        deletion = self.vms.begin_delete(GROUP, third)
        self.clock.pass_s(20)
        deletion.result()
        self.vms.begin_delete(GROUP, third).result()
        self._fail()

    def _fail(self) -> None:
        self.faults.allocate(Allocation.FAILS)
        poller = self.sets.begin_update(GROUP, SET, self._capacity(1))
        self.clock.pass_s(60)
        with contextlib.suppress(HttpResponseError):
            poller.result()
        self._look()
        self.faults.quota = 1
        wrong: list[Callable[[], object]] = [
            lambda: self.sets.begin_update(GROUP, SET, self._capacity(9), polling=False),
            lambda: self.sets.begin_update(
                GROUP,
                SET,
                self._capacity(1),
                etag='"old"',
                match_condition=MatchConditions.IfNotModified,
                polling=False,
            ),
            lambda: self.sets.begin_delete_instances(GROUP, SET, {"instanceIds": ["nobody"]}, polling=False),
            lambda: self.vms.get(GROUP, "nobody"),
            lambda: self.vms.simulate_eviction(GROUP, "nobody"),
            lambda: self.sets.get(GROUP, "other"),
        ]
        for ask in wrong:
            with pytest.raises(HttpResponseError):
                ask()
        with pytest.raises(HttpResponseError) as caught:
            self._ask_too_often()
        assert caught.value.status_code == 429

    def _ask_too_often(self) -> None:
        for _ in range(20):
            self.sets.begin_update(GROUP, SET, self._capacity(1), polling=False, retry_total=0)

    def _look(self) -> None:
        self.sets.get(GROUP, SET)
        mine = f"'virtualMachineScaleSet/id' eq '{self.model.description.id}'"
        list(self.vms.list(GROUP, filter=mine, expand="instanceView"))
        list(self.vms.list(GROUP))
        list(self.members.list(GROUP, SET))
        for vm in self.model.vms():
            self.vms.get(GROUP, vm.name)
            self.vms.get(GROUP, vm.name, expand="instanceView")
            self.vms.instance_view(GROUP, vm.name)

    @staticmethod
    def _capacity(value: int) -> models.VirtualMachineScaleSetUpdate:
        return models.VirtualMachineScaleSetUpdate(sku=models.Sku(capacity=value))


@pytest.fixture(scope="module")
def exchanges(
    token_authority: TokenAuthority,
    credential: TokenCredential,
    identity: Identity,
    local_ca: Certificates,
    http: HttpHost,
) -> Iterator[list[Exchange]]:
    """Everything that passed while everything was asked for."""
    clock, faults, description = HandClock(), Faults(), scale_set(identity)
    model = ScaleSetModel(description, Latencies(60, 20, 30), faults, clock, Random(1))
    arm = ArmApp(model, token_authority, faults, clock, ArmSettings(page_size=2, retry_after_s=0))
    endpoint = http.serve(arm.app, bind_loopback(), local_ca)
    recorder = Recorder()
    with ComputeManagementClient(
        credential,
        description.subscription_id,
        base_url=endpoint.url,
        credential_scopes=["https://management.azure.com/.default"],
        transport=RequestsTransport(connection_verify=str(local_ca.ca_file), use_env_settings=False),
        per_retry_policies=[recorder],
        retry_backoff_factor=0,
        polling_interval=0,
    ) as client:
        Everything(client, recorder, model, faults, clock).ask()
        yield recorder.exchanges


def test_every_operation_was_asked_and_every_good_answer_seen(exchanges: list[Exchange]) -> None:
    seen = {(one.operation.name, one.status) for one in exchanges}
    # 200 without a body is what Azure says of a deletion that took no time.
    expected = {
        (one.name, status) for one in OPERATIONS for status in one.answers if one.answers[status].fields or status > 200
    }
    assert sorted(expected - seen) == []
    assert {one.status for one in exchanges if one.status >= 400} == {400, 404, 409, 412, 429}


def test_every_answer_has_the_statuses_headers_and_fields_of_the_specification(exchanges: list[Exchange]) -> None:
    for one in exchanges:
        answer = one.operation.answers.get(one.status)
        assert answer is not None or one.status >= 400, str(one)
        assert COUNTED in one.headers or one.status >= 400, str(one)
        assert "x-ms-request-id" in one.headers, str(one)
        fields = ERROR if answer is None else answer.fields
        if fields is None:
            assert one.body == b"", str(one)
        else:
            assert list(differences(fields, one.document)) == [], str(one)
        assert not set(answer.headers if answer else ()) - set(one.headers), str(one)


def test_a_throttled_answer_says_when_to_come_back_and_which_bucket_was_empty(exchanges: list[Exchange]) -> None:
    (throttled,) = [one for one in exchanges if one.status == 429]
    assert int(throttled.headers["retry-after"]) > 0
    assert throttled.headers[COUNTED] == "Microsoft.Compute/UpdateVMScaleSet;0"
    (detail,) = throttled.document["error"]["details"]
    assert (detail["code"], detail["target"]) == ("TooManyRequests", "UpdateVMScaleSet")


MODELS: Mapping[str, type[Model]] = {
    "VirtualMachineScaleSets_Get": models.VirtualMachineScaleSet,
    "VirtualMachineScaleSets_Update": models.VirtualMachineScaleSet,
    "VirtualMachines_Get": models.VirtualMachine,
    "VirtualMachines_Get expanded": models.VirtualMachine,
    "VirtualMachines_InstanceView": models.VirtualMachineInstanceView,
}
ENTRIES: Mapping[str, type[Model]] = {
    "VirtualMachines_List": models.VirtualMachine,
    "VirtualMachines_List expanded": models.VirtualMachine,
    "VirtualMachineScaleSetVMs_List": models.VirtualMachineScaleSetVM,
}


def test_the_models_of_the_sdk_know_every_field(exchanges: list[Exchange]) -> None:
    read = 0
    for one in exchanges:
        if one.status == 200 and one.operation.name in MODELS:
            assert list(unknown(MODELS[one.operation.name], one.document)) == [], str(one)
            read += 1
        if one.operation.name in ENTRIES:
            for entry in one.document["value"]:
                assert list(unknown(ENTRIES[one.operation.name], entry)) == [], str(one)
                read += 1
    assert read > 20


def unknown(kind: type[Model], document: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield the fields that a model reads no attribute from, or another value than was sent."""
    instance = kind(document)
    attributes = {field._rest_name: name for name, field in instance._attr_to_rest_field.items()}
    for key, sent in document.items():
        if key not in attributes:
            yield f"{path}.{key} of {kind.__name__}"
            continue
        value = getattr(instance, attributes[key])
        pairs = [(value, sent)]
        if isinstance(sent, list):
            pairs = list(zip(value, sent, strict=True))
        elif isinstance(value, dict):
            pairs = [(value[name], sent[name]) for name in sent]
        for read, written in pairs:
            if isinstance(read, Model):
                yield from unknown(type(read), written, f"{path}.{key}")
            elif not isinstance(read, datetime) and read != written:
                yield f"{path}.{key}: {written!r} became {read!r}"


def test_a_field_of_no_model_a_wrong_type_and_a_missing_field_are_told() -> None:
    fields = {"name": "string", "tags.*": "string?", "entries[].code": "code", "size": "integer"}
    document = {"name": 1, "tags": {"a": "b"}, "entries": [{"code": "PowerState/running", "new": True}]}
    assert sorted(differences(fields, document)) == [
        "entries[].new = True is in no model",
        "name = 1 is no string",
        "size is missing",
    ]


def test_a_set_whose_change_failed_is_failed_until_the_next(exchanges: list[Exchange]) -> None:
    sets = [
        one.document for one in exchanges if one.operation.name == "VirtualMachineScaleSets_Get" and one.status == 200
    ]
    states = [document["properties"]["provisioningState"] for document in sets]
    assert states[0] == "Succeeded"
    assert "Updating" in states
    assert states[-1] == "Failed"
