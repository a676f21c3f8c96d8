"""Policies in TOML."""

from __future__ import annotations

from phase_boot.drill.sample_manifest import PUBLISHER
from phase_boot.trust.root import Root
from policies.model import CHANNEL, Mode, PolicyError
from policies.read import parse_policy
from policies.write import SHIPPED
from tests.fuzz import root
from tests.fuzz.target import Target
from tests.support.manifests import SECOND


def _file(name: str) -> bytes:
    if name != "root.json":
        raise ValueError(f"{name!r} is not there")
    return root.TARGET.starts["first"]


def one(data: bytes) -> None:
    try:
        policy = parse_policy(data, read=_file)
    except PolicyError:
        return
    assert CHANNEL.fullmatch(policy.channel)
    if isinstance(policy.trust, Root):
        assert policy.trust.version == 1
    else:
        assert 1 <= policy.trust.threshold <= len(policy.trust.keys)
    assert not (policy.mode is Mode.PRIVATE and policy.cache_enabled)
    assert policy.discovery.order
    assert isinstance(policy.shell.root, bool)
    assert min(policy.discovery.window, policy.discovery.candidates) >= 1
    assert min(policy.limits.attempts, policy.limits.cache_mib, policy.network.wait_seconds) >= 1


def _shipped(mode: Mode) -> bytes:
    return (SHIPPED / f"{mode}.toml").read_bytes()


def _trusting(mode: Mode, trust: str) -> bytes:
    """Return a mode's policy that trusts somebody, as a site's does."""
    head, trusting, tail = _shipped(mode).partition(b"[trust]\n")
    return head + trusting + trust.encode() + b"\n" + tail[tail.index(b"[discovery]") :]


_KEYS = f'keys = ["{PUBLISHER.keyid}", "{SECOND.keyid}"]\nthreshold = 2'

TARGET = Target(
    one=one,
    starts={
        **{f"keys-{mode}": _trusting(mode, _KEYS) for mode in Mode},
        "root": _trusting(Mode.LOCAL, 'root = "root.json"'),
        **{f"shipped-{mode}": _shipped(mode) for mode in Mode},
        "deep": b"a = " + b"[" * 2000,
        "digits": b"a = " + b"9" * 5000,
        "dots": b".".join([b"a"] * 500) + b" = 1",
        "date": b"a = 2025-13-45T00:00:00Z",
    },
    max_len=8 * 1024,
    words=(
        *(b"%s = " % name for name in (b"mode", b"channel", b"min_version", b"allow_tor")),
        *(b"[%s]\n" % name for name in (b"trust", b"discovery", b"network", b"limits", b"shell")),
        b'"""',
        b"'''",
        b"0x",
        b"1979-05-27T07:32:00Z",
        b"{ a = 1 }",
        b"[[a.b]]",
        b"inf",
        b"\\U0010ffff",
    ),
)
