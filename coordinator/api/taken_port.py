"""Why a port cannot be opened, and what to do about it."""

import errno
import socket
from pathlib import Path
from typing import Final

from coordinator.errors import StartError

_PORT_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


def ephemeral_ports(file: Path = _PORT_RANGE) -> range:
    """The ports that the system gives to outgoing connections, as far as it says."""
    try:
        first, last = map(int, file.read_text(encoding="ascii").split())
    except (OSError, ValueError):  # not Linux
        return range(0)
    return range(first, last + 1)


def cannot_listen(
    error: OSError, protocol: str, key: str, host: str, port: int, *, ephemeral: range | None = None
) -> StartError:
    """Say why a port could not be opened and what to do; `key` is what conf.yml calls it.

    ephemeral: the ports of outgoing connections; asked of the system unless given.
    """
    ephemeral = ephemeral_ports() if ephemeral is None else ephemeral
    place = f"{protocol} cannot listen on {host}:{port}"
    section, dot, _ = key.rpartition(".")
    host_key = f"{section}{dot}Host"
    if error.errno == errno.EADDRINUSE:
        hint = f"`ss -tanp 'sport = :{port}'` shows by whom; stop that program or set {key} in conf.yml"
        if port in ephemeral:
            hint += (
                f". It may be an outgoing connection: {port} lies in net.ipv4.ip_local_port_range"
                f" ({ephemeral[0]} to {ephemeral[-1]});"
                f" `sysctl -w net.ipv4.ip_local_reserved_ports={port}` keeps it free (docs/operating.md)"
            )
        return StartError(f"{place}: the port is in use", hint)
    if error.errno == errno.EACCES:
        return StartError(f"{place}: not allowed", f"set {key} in conf.yml to a port above 1023")
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return StartError(
            f"{place}: this machine has no such address",
            f"set {host_key} in conf.yml to 0.0.0.0, 127.0.0.1 or an address of this machine",
        )
    return StartError(f"{place}: {error}", f"look at {host_key} and {key} in conf.yml")
