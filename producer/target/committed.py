"""What a first deployment with all defaults sends to Azure, as the Bicep compiler says: packaged with this code."""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any


def committed_snapshot() -> Mapping[str, Any]:
    """Return the committed snapshot of a first deployment."""
    snapshot: Mapping[str, Any] = json.loads(
        files("producer.target").joinpath("first.snapshot.json").read_text("utf-8")
    )
    return snapshot
