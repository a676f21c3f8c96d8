from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.store.cid import digest_of_cid, raw_cid
from phase_boot.store.digest import Digest


@given(st.binary(max_size=64))
def test_a_digest_and_its_texts_are_one(data: bytes) -> None:
    digest = Digest.of(data)
    assert Digest.parse(str(digest)) == digest
    assert digest_of_cid(raw_cid(digest)) == digest


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:" + "0" * 63, "sha256:" + "A" * 64, "sha512:" + "0" * 64]
)
def test_anything_but_a_sha256_is_no_digest(text: str) -> None:
    with pytest.raises(ValueError, match="digest"):
        Digest.parse(text)


def test_the_cid_is_the_one_that_ipfs_gives() -> None:
    # `printf 'hello world' | ipfs add --cid-version 1 --raw-leaves`
    cid = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
    assert raw_cid(Digest.of(b"hello world")) == cid


@pytest.mark.parametrize(
    "cid",
    [
        "",
        "b",
        "bafkrei",
        "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG",
        "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi",
        "BAFKREIFZJUT3TE7NHYEKKLSS27NH3K72YSCO7Y32KOAO5EEI66WOF36N5E",
        "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5f",
        "bafkreié",
        "b1111111",
    ],
)
def test_another_kind_of_cid_is_not_read(cid: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        digest_of_cid(cid)
