"""RSA keys of peers, which stand in for those of the library."""

from __future__ import annotations

import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from phase_boot.libp2p_node.rsa_keys import RSAPublicKey

SECONDS = 60
KEY = rsa.generate_private_key(65537, 2048)
DATA = b"noise-libp2p-static-key:"
HOST = """
import sys
from phase_boot.libp2p_node import unused_modules
unused_modules.install()
import phase_boot.libp2p_node.host
from libp2p.crypto.pb.crypto_pb2 import KeyType
from libp2p.crypto.serialization import key_type_to_public_key_deserializer as readers
from phase_boot.libp2p_node.rsa_keys import RSAPublicKey
assert readers[KeyType.RSA] == RSAPublicKey.from_bytes
real = [each for each in ("Crypto", "cffi") if getattr(sys.modules.get(each), "__file__", None)]
assert not real, real
"""


def der(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_a_key_verifies_what_it_signed_and_nothing_else() -> None:
    key = RSAPublicKey.from_bytes(der(KEY.public_key()))
    signature = KEY.sign(DATA, PKCS1v15(), SHA256())
    assert key.verify(DATA, signature)
    assert not key.verify(DATA + b"x", signature)
    assert not key.verify(DATA, signature[:-1])
    assert not key.verify(DATA, b"")


def test_a_key_keeps_the_bytes_of_which_its_peer_id_is_the_hash() -> None:
    data = der(KEY.public_key())
    assert RSAPublicKey.from_bytes(data).to_bytes() == data


@pytest.mark.parametrize("bits", [1024, 4104])
def test_a_key_of_another_length_is_refused(bits: int) -> None:
    data = der(rsa.RSAPublicNumbers(65537, (1 << (bits - 1)) + 1).public_key())
    with pytest.raises(ValueError, match=f"{bits} bits is not accepted"):
        RSAPublicKey.from_bytes(data)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x30\x82\xff\xff", der(ec.generate_private_key(ec.SECP256R1()).public_key())],
    ids=["empty", "cut", "another type"],
)
def test_what_is_no_rsa_key_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        RSAPublicKey.from_bytes(data)


def test_the_process_reads_rsa_keys_without_a_second_cryptographic_library() -> None:
    words = [sys.executable, "-c", HOST]
    done = subprocess.run(words, capture_output=True, check=False, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
