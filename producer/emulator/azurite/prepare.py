"""What bicep/ creates in a storage account, created in the emulated one: queues and containers."""

from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

from producer.emulator.deployment import StorageDescription


def prepare(blobs: BlobServiceClient, queues: QueueServiceClient, storage: StorageDescription) -> None:
    """Create the queues and containers that are missing; what is there stays as it is."""
    for queue in storage.queues:
        try:
            queues.create_queue(queue)
        except ResourceExistsError:
            continue
    for container in storage.containers:
        try:
            blobs.create_container(container)
        except ResourceExistsError:
            continue
