"""checkov scans what Azure would be sent; each of its rules that is not kept has its reason in bicep/checkov.yaml.

The snapshots are scanned, not the sources: checkov's parser does not know user-defined types.
"""

import json
import re
import subprocess
from pathlib import Path

from tests.needs import program

BICEP = Path(__file__).parents[2] / "bicep"
CONFIG = BICEP / "checkov.yaml"
SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"


def test_the_scanner_finds_nothing_that_is_not_explained(tmp_path: Path) -> None:
    scanner = program("checkov", "set $CHECKOV, or `pipx install checkov`", variable="CHECKOV")
    for path in [BICEP / "snapshots" / f"{name}.snapshot.json" for name in ("first", "mix", "nat", "no-wake")]:
        resources = json.loads(path.read_text())["predictedResources"]
        template = {"$schema": SCHEMA, "contentVersion": "1.0.0.0", "resources": resources}
        (tmp_path / f"{path.name.partition('.')[0]}.json").write_text(json.dumps(template, indent=1))
    command = [scanner, "--directory", str(tmp_path), "--framework", "arm", "--skip-download", "--output", "json"]
    done = subprocess.run([*command, "--config-file", str(CONFIG)], capture_output=True, text=True)
    report = json.loads(done.stdout)
    assert [(one["check_id"], one["check_name"], one["file_path"]) for one in report["results"]["failed_checks"]] == []
    assert report["summary"]["passed"] > 80
    assert report["summary"]["parsing_errors"] == 0


def test_every_rule_that_is_not_kept_has_its_reason_above_it() -> None:
    lines = CONFIG.read_text().splitlines()
    skipped = [number for number, line in enumerate(lines) if re.match(r"\s+- CKV", line)]
    assert skipped
    for number in skipped:
        assert lines[number - 1].strip().startswith("# ")
