"""Certificates for one cluster, by the ``openssl`` program; gone with the cluster."""

import subprocess
from pathlib import Path

from hack.cluster.errors import ClusterError

_EC = ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_DAYS = "365"


def authority(folder: Path) -> None:
    """Make the cluster's authority and the key that signs ServiceAccount tokens."""
    folder.mkdir(parents=True, mode=0o700)
    _openssl(
        folder, "req", "-x509", "-newkey", *_EC, "-days", _DAYS, "-subj", "/CN=xpullm-test-ca",
        "-keyout", "ca.key", "-out", "ca.crt",
    )  # fmt: skip
    _openssl(folder, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "sa.key")
    _openssl(folder, "ec", "-in", "sa.key", "-pubout", "-out", "sa.pub")


def certificate(folder: Path, name: str, subject: str, addresses: str = "IP:127.0.0.1") -> None:
    """Make ``name.crt`` and ``name.key`` for both server and client use.

    Args:
        folder: Where ``authority`` wrote.
        name: Of the files.
        subject: As ``/O=system:masters/CN=admin``.
        addresses: Subject alternative names in openssl's form.
    """
    extensions = folder / f"{name}.ext"
    extensions.write_text(
        f"subjectAltName={addresses},DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n"
    )
    request = f"{name}.csr"
    _openssl(
        folder, "req", "-newkey", *_EC, "-subj", subject, "-keyout", f"{name}.key", "-out", request
    )
    _openssl(
        folder, "x509", "-req", "-in", request, "-CA", "ca.crt", "-CAkey", "ca.key",
        "-CAcreateserial", "-days", _DAYS, "-out", f"{name}.crt", "-extfile", extensions.name,
    )  # fmt: skip


def _openssl(folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        ["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ClusterError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")
