"""The custom data and its units, as the programs that read them on a VM judge them."""

import base64
import json
import shutil
import subprocess
from pathlib import Path

from tests.needs import program

BICEP = Path(__file__).parents[2] / "bicep"


def test_cloud_init_finds_the_custom_data_valid(tmp_path: Path) -> None:
    cloud_init = program("cloud-init", "Debian package cloud-init")
    snapshot = json.loads((BICEP / "snapshots" / "first.snapshot.json").read_text())
    (scale_set,) = [one for one in snapshot["predictedResources"] if one["type"].endswith("/virtualMachineScaleSets")]
    user_data = tmp_path / "user-data"
    user_data.write_bytes(base64.b64decode(scale_set["properties"]["virtualMachineProfile"]["osProfile"]["customData"]))
    done = subprocess.run([cloud_init, "schema", "--config-file", user_data], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Valid" in done.stdout


def test_systemd_finds_the_units_valid(tmp_path: Path) -> None:
    analyze = program("systemd-analyze", "Debian package systemd")
    units = [path for path in (BICEP / "cloud-init").iterdir() if path.suffix in {".service", ".timer"}]
    copies = [shutil.copy(path, tmp_path) for path in units]
    done = subprocess.run([analyze, "verify", *copies], capture_output=True, text=True)
    assert len(copies) == 3
    assert (done.returncode, done.stderr) == (0, "")
