"""What the template deploys, under the names that tests use."""

from dataclasses import replace

from producer.emulator.deployment import Deployment, deployed
from producer.emulator.description import SetDescription
from producer.emulator.tokens import Identity
from producer.target.committed import committed_snapshot

SUBSCRIPTION = "0b1f6471-1bf0-4dda-aec3-cb9272f09590"


def scale_set(identity: Identity) -> SetDescription:
    """Return the scale set of the template as `fleet` of `tests`: at most 4 VMs of one slot, with this identity."""
    known = deployed(committed_snapshot(), max_instances=4, slots_per_instance=1).scale_set
    users = {identity.resource_id: {"clientId": identity.client_id, "principalId": identity.principal_id}}
    resource = {**known.resource, "identity": {"type": "UserAssigned", "userAssignedIdentities": users}}
    return SetDescription(SUBSCRIPTION, "tests", "fleet", identity, resource)


def deployment(identity: Identity) -> Deployment:
    """Return a whole deployment of that scale set, without the wake: these tests change the capacity themselves."""
    known = deployed(committed_snapshot(), max_instances=4, slots_per_instance=1)
    names = {"subscription_id": SUBSCRIPTION, "resource_group": "tests", "scale_set": "fleet"}
    return replace(known, scale_set=scale_set(identity), target={**known.target, **names}, wake=None)


STORAGE = deployed(committed_snapshot(), max_instances=4, slots_per_instance=1).storage
"""The queues and containers of the template."""
