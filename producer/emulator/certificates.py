"""The emulator's own certificate authority and the one server certificate of its HTTPS endpoints.

The authority's key is never stored: what is in the folder can serve, and cannot sign anything further.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509

LIFETIME = timedelta(days=365)
RENEW_BEFORE = timedelta(days=7)
LOOPBACK_NAMES = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class Certificates:
    """Where the PEM files are: what clients trust, and what servers present."""

    ca_file: Path
    certificate_file: Path
    key_file: Path


def ensure_certificates(folder: Path, now: datetime, names: Sequence[str] = LOOPBACK_NAMES) -> Certificates:
    """The certificates in `folder`, made anew when they are missing, for other names, or within a week of their end.

    `now` is timezone-aware. A new certificate comes with a new authority: clients read `ca_file` when they start.
    """
    files = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    if _serves(files, now, names):
        return files
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA(organization_name="tranquility", organization_unit_name="a fleet on this machine")
    # An hour of grace for a clock that is set back after the certificate was made.
    server = authority.issue_cert(*names, not_before=now - timedelta(hours=1), not_after=now + LIFETIME)
    _write(files.key_file, server.private_key_pem.bytes())
    _write(files.certificate_file, b"".join(blob.bytes() for blob in server.cert_chain_pems))
    _write(files.ca_file, authority.cert_pem.bytes())
    return files


def _serves(files: Certificates, now: datetime, names: Sequence[str]) -> bool:
    if not all(file.is_file() for file in (files.ca_file, files.certificate_file, files.key_file)):
        return False
    try:
        certificate = x509.load_pem_x509_certificate(files.certificate_file.read_bytes())
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    covered = {str(name.value) for name in alternatives}
    return covered >= set(names) and now + RENEW_BEFORE < certificate.not_valid_after_utc


def _write(file: Path, content: bytes) -> None:
    written = file.with_name(f"{file.name}.new")
    written.unlink(missing_ok=True)
    written.touch(mode=0o600)
    written.write_bytes(content)
    written.replace(file)
