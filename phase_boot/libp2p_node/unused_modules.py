"""Keeps parts of py-libp2p from being imported that a client over TCP never runs.

`import libp2p` loads every transport, the relay, pub-sub, three key types and their libraries:
90 MB of memory and twice the time. Instead of these modules stand empty ones. Each name in such a
module is a class that does nothing, so `from module import Name` and annotations work. A call into
one would do nothing as well, so only modules belong here that no code path of `host` enters; the
tests against real nodes would show it.

`install` is called before libp2p is imported.
"""

from __future__ import annotations

import abc
import importlib.abc
import importlib.machinery
import sys
import types
from io import BytesIO
from typing import Any, Final

from phase_boot.content import varint

UNUSED: Final = (
    "libp2p.crypto.authenticated_encryption",
    "libp2p.crypto.ecc",
    "libp2p.crypto.rsa",
    "libp2p.crypto.secp256k1",
    "libp2p.discovery",
    "libp2p.host.autonat",
    "libp2p.kad_dht.diagnostics",
    "libp2p.peer.persistent",
    "libp2p.pubsub",
    "libp2p.rcmgr.prometheus_exporter",
    "libp2p.relay",
    "libp2p.security.secio",
    "libp2p.security.tls",
    "libp2p.stream_muxer.mplex",
    "libp2p.transport.quic",
    "libp2p.transport.webrtc",
    "libp2p.transport.websocket",
    "libp2p.transport.webtransport",
    # Libraries that only the modules above use, or ones that are kept use for what does not occur.
    "aioquic",
    "baseconv",
    "blake3",
    "cffi",
    "coincurve",
    "Crypto",
    "cryptography.x509",
    "dns",
    "fastecdsa",
    "grpc",
    "httpx",
    "miniupnpc",
    "mmh3",
    "multiaddr.resolvers",
    "OpenSSL",
    "prometheus_client",
    "psutil",
    "redis",
    "requests",
    "service_identity",
    "trio_websocket",
    "wsproto",
    "zeroconf",
)
"""Modules, each with what is below it.

RSA stays, because the bootstrap peers of the public DHT have RSA keys: `rsa_keys` has them.
"""
RSA: Final = "libp2p.crypto.rsa"


class _StandInType(abc.ABCMeta):
    """The type of stand-in classes, which also take part in annotations and tests of types."""

    def __getattr__(cls, name: str) -> Any:  # noqa: ANN401 - any attribute of any class
        if name.startswith("__"):
            raise AttributeError(name)
        return _StandIn

    def __or__(cls, other: object) -> Any:  # noqa: ANN401 - an annotation
        return object

    __ror__ = __or__


class _StandIn(metaclass=_StandInType):
    """A class of an unused module."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __class_getitem__(cls, item: object) -> type:
        return cls


class _UnusedModule(types.ModuleType):
    """A module whose names come into being when they are imported."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any name of any module
        if name.startswith("__"):
            raise AttributeError(name)
        value: Any
        if name.isupper():
            # Protocol ids are dictionary keys, so each needs a text of its own.
            value = f"/unused/{self.__name__}/{name}"
        elif name.endswith(("Error", "Exception")):
            value = type(name, (Exception,), {})
        else:
            value = _StandInType(name, (_StandIn,), {})
        setattr(self, name, value)
        return value


class _UnusedFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a stand-in for every unused module."""

    def find_spec(
        self,
        fullname: str,
        path: object = None,  # noqa: ARG002 - the interface of importlib
        target: object = None,  # noqa: ARG002 - the same
    ) -> importlib.machinery.ModuleSpec | None:
        if not any(fullname == name or fullname.startswith(f"{name}.") for name in UNUSED):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _UnusedModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        if module.__name__ == RSA:
            from phase_boot.libp2p_node.rsa_keys import RSAPublicKey  # noqa: PLC0415 - see `install`

            vars(module)["RSAPublicKey"] = RSAPublicKey


def install() -> None:
    """Put the stand-ins before all other finders of modules."""
    sys.meta_path.insert(0, _UnusedFinder())
    sys.modules["varint"] = _varint_module()


def _varint_module() -> types.ModuleType:
    """Return our varints in the place of a package that has no wheel, and no bound for a number."""
    module = types.ModuleType("varint")

    def decode_stream(stream: BytesIO) -> int:
        data = bytearray()
        while byte := stream.read(1):
            data += byte
            if byte[0] < 0x80 or len(data) > varint.MAX_BYTES:  # noqa: PLR2004 - the last byte
                break
        return varint.decode(data)[0]

    vars(module).update(
        encode=varint.encode,
        decode_bytes=lambda data: varint.decode(data)[0],
        decode_stream=decode_stream,
    )
    return module
