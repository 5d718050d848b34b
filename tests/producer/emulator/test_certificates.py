"""The emulator's certificate authority."""

import itertools
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

from producer.emulator.certificates import ensure_certificates

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_certificates_are_kept_until_shortly_before_their_end(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    contents = [
        ensure_certificates(tmp_path, now + timedelta(days=days)).certificate_file.read_bytes()
        for days in (0, 300, 360)
    ]
    assert [first == second for first, second in itertools.pairwise(contents)] == [True, False]


def test_other_names_get_another_certificate(tmp_path: Path) -> None:
    first = ensure_certificates(tmp_path, NOW).certificate_file.read_bytes()
    assert (
        ensure_certificates(tmp_path, NOW, ("127.0.0.1", "management.azure.com")).certificate_file.read_bytes() != first
    )


def test_a_damaged_certificate_is_replaced(tmp_path: Path) -> None:
    files = ensure_certificates(tmp_path, NOW)
    files.certificate_file.write_text("not a certificate")
    ensure_certificates(tmp_path, NOW)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files.certificate_file, files.key_file)


def test_the_key_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    assert stat.S_IMODE(ensure_certificates(tmp_path, NOW).key_file.stat().st_mode) == 0o600
