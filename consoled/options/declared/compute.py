"""Options of the drivers."""

from __future__ import annotations

from oslo_config import cfg

from consoled import values
from consoled.options.declared.kinds import Checked, flag, listed, optional_path, path

LIBVIRT = [
    cfg.Opt(
        "uri",
        type=Checked(values.uri, "libvirt URI"),
        default="qemu:///system",
        help="The hypervisor of driver = libvirt.",
    ),
    cfg.Opt(
        "hosts",
        type=listed(values.compute_host, "names"),
        default=[],
        help="Several compute hosts instead of the one of uri, each by a name of your own, which "
        "its instances and ports have as their host. Each has a section [libvirt:NAME].",
    ),
    cfg.Opt(
        "default_project",
        type=Checked(values.optional(values.text), "project id, or empty"),
        help="The project that owns domains which nova did not make. Empty: only administrators "
        "reach their consoles.",
    ),
    cfg.Opt(
        "live_migration_with_native_tls",
        type=flag(),
        default=False,
        help="Whether the memory of guests that consoled migrates goes over TLS, from QEMU to "
        "QEMU. It needs migrate_tls_x509_cert_dir, or its default, in qemu.conf of both hosts.",
    ),
    cfg.Opt(
        "chardev_tls_ca",
        type=optional_path(),
        help="The PEM file with the certificates of the authorities that vouch for compute hosts "
        "whose serial ports speak TLS (tls='yes' in the domain's XML, or tls in the inventory of "
        "the static driver). Empty: such consoles cannot be opened. This file and the next two "
        "are read again on SIGHUP.",
    ),
    cfg.Opt(
        "chardev_tls_cert",
        type=optional_path(),
        help="The PEM file with the certificate that consoled shows to these ports, followed by "
        "its chain. QEMU asks for one unless chardev_tls_x509_verify is 0 in its qemu.conf.",
    ),
    cfg.Opt(
        "chardev_tls_key",
        type=optional_path(),
        help="The PEM file with the private key of chardev_tls_cert, not encrypted. Empty: the "
        "key stands in the certificate's file too.",
    ),
    cfg.Opt(
        "chardev_tls_verify_name",
        type=Checked(values.optional(values.host), "host name or IP address, or empty"),
        help="The name or IP address that the certificates of these ports are for. Empty: the "
        "address at which the port is reached. Set it only where all hosts share one name.",
    ),
]

LIBVIRT_HOST = [
    cfg.Opt(
        "uri",
        type=Checked(values.uri, "libvirt URI"),
        sample_default="qemu+tls://kvm1.example.org/system",
        help="The host's hypervisor.",
    ),
    cfg.Opt(
        "proxyclient_address",
        type=Checked(values.host, "host name or IP address"),
        sample_default="192.0.2.11",
        help="The host's address on which its serial ports listen, and at which consoled dials "
        "them.",
    ),
    cfg.Opt(
        "port_range",
        type=Checked(values.port_range, "START:STOP, several between commas"),
        sample_default="10000:20000",
        help="The ports that its consoles are given. Without it those of [serial_console] "
        "port_range.",
    ),
    cfg.Opt(
        "live_migration_uri",
        type=Checked(values.uri, "libvirt URI"),
        sample_default="qemu+tls://kvm1.example.org/system",
        help="How the libvirt of other hosts reaches this one, for guests that migrate here. "
        "Without it uri.",
    ),
    cfg.Opt(
        "live_migration_inbound_addr",
        type=Checked(values.host, "host name or IP address"),
        sample_default="198.51.100.11",
        help="The host's address to which the memory of such guests is sent. Without it libvirt "
        "takes the host's name.",
    ),
]
"""The options of a section of :data:`HOST_SECTION`."""

HOST_SECTION = "libvirt:"
"""What the sections of several compute hosts begin with; the rest is the host's name."""

STATIC = [
    cfg.Opt(
        "inventory",
        type=path(),
        default="/etc/consoled/inventory.yaml",
        help="The YAML file of instances and their consoles for driver = static. It is read again "
        "on SIGHUP.",
    ),
]
