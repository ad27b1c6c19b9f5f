"""Refuse every connection that leaves this machine: loaded by the tests and their subprocesses."""

import ipaddress
import socket
from typing import Any

_connect, _connect_ex = socket.socket.connect, socket.socket.connect_ex
_sendto, _getaddrinfo = socket.socket.sendto, socket.getaddrinfo


class NetworkUsed(RuntimeError):
    """No OSError: what tries the network must fail loudly, not carry on without it."""


def _check(address: Any) -> None:
    if not isinstance(address, tuple):
        return  # a Unix socket
    host = address[0]
    try:
        local = host in (None, "", "localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise NetworkUsed(f"a test reached for the network: {address}")


def connect(self: socket.socket, address: Any) -> None:
    _check(address)
    _connect(self, address)


def connect_ex(self: socket.socket, address: Any) -> int:
    _check(address)
    return _connect_ex(self, address)


def sendto(self: socket.socket, *arguments: Any) -> int:
    _check(arguments[-1])
    return _sendto(self, *arguments)


def getaddrinfo(host: Any, *arguments: Any, **named: Any) -> Any:
    _check((host.decode() if isinstance(host, bytes) else host, 0))
    return _getaddrinfo(host, *arguments, **named)


def block() -> None:
    socket.socket.connect, socket.socket.connect_ex = connect, connect_ex  # type: ignore
    socket.socket.sendto, socket.getaddrinfo = sendto, getaddrinfo  # type: ignore


block()
