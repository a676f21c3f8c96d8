from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.content.cid import CID_BYTES, CID_CHARACTERS, Cid, Codec, raw_cid
from phase_boot.content.digest import Digest

# `printf 'hello ports' | ipfs add --cid-version 1 --raw-leaves`
HELLO = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
# The empty folder of every IPFS node.
FOLDER = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"


def spelled(data: bytes) -> str:
    return "b" + base64.b32encode(data).decode().rstrip("=").lower()


@given(st.sampled_from(Codec), st.binary(max_size=64))
def test_a_cid_round_trips_as_text_and_bytes(codec: Codec, block: bytes) -> None:
    cid = Cid.of(codec, block)
    assert Cid.parse(str(cid)) == cid
    assert Cid.from_bytes(bytes(cid)) == cid
    assert len(str(cid)) == CID_CHARACTERS
    assert len(bytes(cid)) == CID_BYTES


def test_the_cid_is_the_one_that_ipfs_gives() -> None:
    assert raw_cid(Digest.of(b"hello world")) == HELLO
    assert Cid.parse(HELLO) == Cid(Codec.RAW, Digest.of(b"hello world"))
    assert Cid.parse(FOLDER) == Cid.of(Codec.DAG_PB, b"\x0a\x02\x08\x01")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("b", id="only the base"),
        pytest.param("bafkrei", id="cut"),
        pytest.param("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG", id="version 0"),
        pytest.param(HELLO.upper(), id="upper case"),
        pytest.param("B" + HELLO[1:].upper(), id="base32upper"),
        pytest.param("b" + HELLO[1:].upper(), id="upper case body"),
        pytest.param(HELLO[:-1] + "f", id="stray bits"),
        pytest.param(HELLO + "=", id="padded"),
        pytest.param(HELLO + "\n", id="line feed"),
        pytest.param(HELLO[:-1] + "\n", id="line feed within"),
        pytest.param(HELLO[:-1] + "é", id="not ascii"),
        pytest.param("b" + "1" * 58, id="not base32"),
        pytest.param("b" + "a" * 10**6, id="a megabyte"),
        pytest.param(spelled(b"\x01\x71\x12\x20" + bytes(32)), id="dag-cbor"),
        pytest.param(spelled(b"\x01\x55\x16\x20" + bytes(32)), id="sha3"),
        pytest.param(spelled(b"\x02\x55\x12\x20" + bytes(32)), id="version 2"),
        pytest.param(spelled(b"\x01\x55\x00\x20" + bytes(32)), id="identity"),
    ],
)
def test_other_kinds_of_cid_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"a CID|base32"):
        Cid.parse(text)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01\x55\x12\x20" + bytes(31),
        b"\x01\x55\x12\x20" + bytes(33),
        b"\x00\x01\x55\x12\x20" + bytes(32),
        b"\x01\xd5\x00\x12\x20" + bytes(31),
        b"\x12\x20" + bytes(32),
        b"\x01\x55\x00\x05hello",
        b"\x01\x56\x12\x20" + bytes(32),
    ],
)
def test_other_bytes_are_no_cid(data: bytes) -> None:
    with pytest.raises(ValueError, match="a CID"):
        Cid.from_bytes(data)
