"""Certificates for tests: a CA, and files of what it signs."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


class Authority:
    """A CA; its files are in `folder`."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._ca = trustme.CA()
        self._folder = folder
        self._name = name
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / f"{name}.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def issue(self, file: str, *names: str, expires_in: timedelta = timedelta(days=365)) -> Path:
        """Write a certificate of these names, and its key, into one file; returns its path.

        expires_in: from now; a certificate that has expired already began a day before that.
        """
        until = datetime.now(UTC) + expires_in
        issued = self._ca.issue_cert(
            *(names or ("localhost", "127.0.0.1")),
            not_before=min(datetime.now(UTC), until) - timedelta(days=1),
            not_after=until,
        )
        path = self._folder / file
        fresh = path.with_suffix(".new")  # as careful writers do: nobody reads half of it
        fresh.unlink(missing_ok=True)
        issued.private_key_and_cert_chain_pem.write_to_path(fresh)
        fresh.replace(path)
        return path

    def issue_any(self, file: str, names: Iterable[x509.GeneralName], common_name: str = "somebody") -> Path:
        """The same of alternative names of any kind; it holds for a year."""
        now, key = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1())
        signer = x509.load_pem_x509_certificate(self._ca.cert_pem.bytes())
        signing_key: Any = serialization.load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)]))
            .issuer_name(signer.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=365))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(signing_key, hashes.SHA256())
        )
        encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        path = self._folder / file
        path.write_bytes(
            key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
            + certificate.public_bytes(encoding)
        )
        return path
