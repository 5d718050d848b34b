"""What bicep/ creates in a storage account, created in the emulated one: queues and containers."""

from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

from worker.contract import names


def prepare(blobs: BlobServiceClient, queues: QueueServiceClient) -> None:
    """Create the queues and containers that are missing; what is there stays as it is."""
    for queue in (names.JOBS_QUEUE, names.POISON_QUEUE):
        try:
            queues.create_queue(queue)
        except ResourceExistsError:
            continue
    for container in names.CONTAINERS:
        try:
            blobs.create_container(container)
        except ResourceExistsError:
            continue
