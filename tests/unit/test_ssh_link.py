"""One SSH connection, beside Conch's own server: keys, logins, life, ends."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from ssh_pair import HOST_KEY, RSA_HOST_KEY, Pair, known
from twisted.conch.ssh.common import NS
from twisted.conch.ssh.transport import SSHCiphers, SSHServerTransport

from consoled.transports.ssh import link as links
from consoled.transports.ssh.algorithms import STRICT_SERVER
from consoled.transports.ssh.errors import HostKeyRefused, NodeFailed
from consoled.transports.ssh.host_keys import HostKeys, fingerprint


def test_a_login() -> None:
    """The server is known, the key is taken, and the round trip is measured."""
    pair = Pair()
    assert pair.ready == [True]
    assert pair.factory.logins == 1
    assert pair.connection.round_trip < 0.1
    assert pair.link.currentEncryptions.outCipType == b"aes128-ctr"
    assert pair.link.currentEncryptions.inMACType == b"hmac-sha2-256"


def test_rsa_host_keys_prove_themselves_with_sha_2() -> None:
    """A known RSA key is asked for by its SHA-2 algorithms alone."""
    pair = Pair(known(RSA_HOST_KEY), (HOST_KEY, RSA_HOST_KEY))
    assert pair.ready == [True]
    assert pair.link.keyAlg == b"rsa-sha2-512"


def test_a_proof_of_another_kind_than_agreed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host key that signs with SHA-1, where SHA-2 was agreed on, is not believed."""
    sign = RSA_HOST_KEY.sign

    def weak(data: bytes, signatureType: bytes | None = None) -> bytes:
        return sign(data, signatureType=b"ssh-rsa")

    monkeypatch.setattr(RSA_HOST_KEY, "sign", weak)
    pair = Pair(known(RSA_HOST_KEY), (RSA_HOST_KEY,))
    [error] = pair.lost
    assert not pair.ready
    assert "broke the rules" in str(error)


@pytest.mark.parametrize("accepted", [HostKeys(), known(RSA_HOST_KEY)])
def test_a_host_key_that_is_not_accepted(accepted: HostKeys) -> None:
    """Unknown or changed: no login is tried, and the fingerprint is told."""
    pair = Pair(accepted)
    [error] = pair.lost
    assert isinstance(error, HostKeyRefused)
    assert error.fingerprint == fingerprint(HOST_KEY.public().blob()) in str(error)
    assert pair.factory.logins == 0


def test_the_host_key_stays_the_same() -> None:
    """With new keys of the connection the server may not become another known one."""
    pair = Pair(known(HOST_KEY, RSA_HOST_KEY), (HOST_KEY,))
    assert pair.ready
    pair.factory.has(RSA_HOST_KEY)
    pair.server.supportedPublicKeys = [b"rsa-sha2-512"]
    pair.server.sendKexInit()
    pair.run()
    assert isinstance(pair.lost[0], HostKeyRefused)


def test_new_keys_of_either_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys change in the middle of data, without another login, and nothing is lost."""
    monkeypatch.setattr(links, "REKEY_BYTES", 50_000)
    pair = Pair()
    stream, reader, far = pair.stream()
    exchanges = []
    monkeypatch.setattr(pair.link, "connectionSecure", lambda: exchanges.append(True), raising=True)
    for number in range(20):
        stream.write(b"%05d" % number * 2000)
        far.write(b"%05d" % number * 2000)
        if number == 10:
            pair.server.sendKexInit()
        pair.run()
    whole = b"".join(b"%05d" % number * 2000 for number in range(20))
    assert far.got == whole
    assert reader.got == whole
    assert len(exchanges) >= 3
    assert pair.factory.logins == 1


def test_a_server_that_does_not_answer() -> None:
    """Asked after its interval, it has its patience; then the connection is over."""
    pair = Pair()
    _, reader, _ = pair.stream()
    pair.far.answers = False
    pair.clock.advance(10)
    pair.run()
    pair.clock.advance(9.9)
    pair.run()
    assert not pair.lost
    pair.clock.advance(0.2)
    pair.run()
    assert "does not answer any more" in str(pair.lost[0])
    assert reader.reason.check(NodeFailed)
    assert not pair.clock.getDelayedCalls()


def test_a_server_that_is_busy_is_alive() -> None:
    """While other data comes, an answer that is late is waited for."""
    pair = Pair()
    _, _, far = pair.stream()
    pair.far.answers = False
    pair.clock.advance(10)
    pair.run()
    for _ in range(5):
        pair.clock.advance(6)
        far.write(b"still here")
        pair.run()
    assert not pair.lost
    pair.clock.advance(11)
    pair.run()
    assert pair.lost


def test_the_server_says_why_it_closes() -> None:
    """Its words are repeated, and nothing in them commands a terminal."""
    pair = Pair()
    pair.server.sendPacket(1, struct.pack(">L", 2) + NS(b"too many\x1b[2J\r\nusers") + NS(b""))
    pair.run()
    said = str(pair.lost[0])
    assert "closed the connection: too many [2J  users" in said
    assert said.isprintable()


@pytest.mark.parametrize(
    ("number", "payload"),
    [
        (94, struct.pack(">L", 99) + NS(b"for nobody")),
        (96, struct.pack(">L", 99)),
        (94, b"\0"),
        (81, b""),
        (21, b"data"),
        (31, b""),
    ],
)
def test_packets_that_break_the_rules(number: int, payload: bytes) -> None:
    """A server that answers what was not asked ends its own connection, and nothing else."""
    pair = Pair()
    pair.server.sendPacket(number, payload)
    pair.run()
    assert "broke the rules" in str(pair.lost[0])


def test_a_packet_that_was_changed_on_the_way() -> None:
    """One bit is enough."""
    pair = Pair()
    wire: Any = pair.server.transport
    pair.server.sendIgnore(b"x" * 100)
    wire.stream[-1:] = [wire.stream[-1][:-1] + bytes([wire.stream[-1][-1] ^ 1])]
    pair.run()
    assert "damaged" in str(pair.lost[0])


def test_a_packet_without_end() -> None:
    """A length that is too large ends the connection before anything is kept for it."""
    pair = Pair()
    pair.link.dataReceived(b"\xff" * 64)
    pair.run()
    assert pair.lost
    assert len(pair.link._inbox) <= 64


def test_a_strict_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a server says that it is strict, nothing may come before or within its exchange."""
    strict = [*SSHServerTransport.supportedKeyExchanges, STRICT_SERVER]
    monkeypatch.setattr(SSHServerTransport, "supportedKeyExchanges", strict)
    begin = SSHServerTransport.connectionMade

    def before(server: SSHServerTransport) -> None:
        begin(server)
        # The exchange has begun; what is ignored may be sent in it, and is not ignored here.
        server.sendIgnore(b"a packet that shifts the numbers of those after it")

    monkeypatch.setattr(SSHServerTransport, "connectionMade", before)
    pair = Pair()
    assert not pair.ready
    assert "broke the rules" in str(pair.lost[0])
    monkeypatch.setattr(SSHServerTransport, "connectionMade", begin)
    # Conch's server is not strict in fact: it goes on counting.
    assert "damaged" in str(Pair().lost[0])


def test_a_server_opens_no_channels() -> None:
    """What it opens is refused, and the connection goes on."""
    pair = Pair()
    _, reader, far = pair.stream()
    refusals: list[bytes] = []
    far.conn.ssh_CHANNEL_OPEN_FAILURE = refusals.append
    pair.server.sendPacket(90, NS(b"forwarded-tcpip") + struct.pack(">LLL", 7, 1000, 1000))
    far.write(b"on")
    pair.run()
    assert reader.got == b"on"
    assert refusals[0].startswith(struct.pack(">LL", 7, 1))
    assert not pair.lost


def test_what_is_used_of_conch() -> None:
    """Names that Conch does not promise to keep are there as they are used."""
    for name in (
        "_allowedKeyExchangeMessageType",
        "_blockedByKeyExchange",
        "_keyExchangeState",
        "_KEY_EXCHANGE_NONE",
        "_newKeys",
        "getPacket",
        "ssh_KEX_DH_GEX_GROUP",
    ):
        assert hasattr(SSHServerTransport, name) or hasattr(links.SSHClientTransport, name)
    assert {"outCipType", "inCipType", "outMACType", "inMACType", "encBlockSize"} <= set(
        vars(SSHCiphers(b"", b"", b"", b""))
    )
