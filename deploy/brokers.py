"""The variables of the environment that say where the Kafka brokers are and how to be let in; connects to nobody."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from runtime.emit import Brokers
from runtime.emit.brokers import Mechanism, Protocol

SERVERS = "KAFKA_BOOTSTRAP_SERVERS"
PROTOCOL, MECHANISM = "KAFKA_SECURITY_PROTOCOL", "KAFKA_SASL_MECHANISM"
USERNAME, PASSWORD = "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"
CA_FILE, CERT_FILE, KEY_FILE = "KAFKA_SSL_CA_FILE", "KAFKA_SSL_CERT_FILE", "KAFKA_SSL_KEY_FILE"
KEY_PASSWORD = "KAFKA_SSL_KEY_PASSWORD"  # noqa: S105  a variable's name
_LOGIN = (MECHANISM, USERNAME, PASSWORD)
_TLS = (CA_FILE, CERT_FILE, KEY_FILE, KEY_PASSWORD)


def read_brokers(environment: Mapping[str, str], faults: list[str]) -> Brokers | None:
    """None where no servers are named: the other variables then concern nobody. Faults are added to the list; none of
    them holds a secret.
    """
    given = {name: environment.get(name) or "" for name in (SERVERS, PROTOCOL, *_LOGIN, *_TLS)}
    if not given[SERVERS]:
        return None
    before = len(faults)
    faults += _address_faults(given[SERVERS])
    protocol = _one_of(get_args(Protocol), given, PROTOCOL, "PLAINTEXT", faults)
    mechanism = _one_of(get_args(Mechanism), given, MECHANISM, "PLAIN", faults)
    ca_file, cert_file, key_file = (
        Path(given[name]).expanduser() if given[name] else None for name in (CA_FILE, CERT_FILE, KEY_FILE)
    )
    brokers = Brokers(
        given[SERVERS],
        protocol,
        mechanism,
        username=given[USERNAME],
        password=given[PASSWORD],
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
        key_password=given[KEY_PASSWORD],
    )
    if len(faults) == before:
        faults += _combination_faults(brokers, given)
    if len(faults) == before and brokers.with_tls:
        faults += _file_faults(brokers)
    return brokers


def kafka_environment(brokers: Brokers) -> dict[str, str]:
    """What `read_brokers` reads as these, for a child: every variable, so that the parent's own say nothing to it."""
    return {
        SERVERS: brokers.servers,
        PROTOCOL: brokers.protocol,
        MECHANISM: brokers.mechanism if brokers.with_login else "",
        USERNAME: brokers.username,
        PASSWORD: brokers.password,
        CA_FILE: str(brokers.ca_file or ""),
        CERT_FILE: str(brokers.cert_file or ""),
        KEY_FILE: str(brokers.key_file or ""),
        KEY_PASSWORD: brokers.key_password,
    }


def _one_of(known: tuple[str, ...], given: Mapping[str, str], name: str, usual: str, faults: list[str]) -> Any:
    value = given[name] or usual
    if value not in known:
        faults.append(f"{name} is {value!r}: it must be one of {', '.join(known)}")
    return value


def _address_faults(servers: str) -> list[str]:
    if all(_is_address(server) for server in servers.split(",")):
        return []
    return [f"{SERVERS} is {servers!r}: it must look like host:9092,host:9092"]


def _is_address(server: str) -> bool:
    host, _, port = server.rpartition(":")
    return bool(host) and port.isascii() and port.isdigit() and 0 < int(port) < 2**16


def _combination_faults(brokers: Brokers, given: Mapping[str, str]) -> list[str]:
    faults = []
    if brokers.with_login:
        faults += [f"{PROTOCOL} is {brokers.protocol}: set {n}" for n in (USERNAME, PASSWORD) if not given[n]]
    elif useless := [name for name in _LOGIN if given[name]]:
        other = "SASL_SSL" if brokers.with_tls else "SASL_SSL or SASL_PLAINTEXT"
        faults.append(f"{', '.join(useless)} needs {PROTOCOL} to be {other}, and it is {brokers.protocol}")
    if brokers.with_tls:
        if not given[CERT_FILE]:
            faults += [f"{n} needs {CERT_FILE}" for n in (KEY_FILE, KEY_PASSWORD) if given[n]]
    elif useless := [name for name in _TLS if given[name]]:
        other = "SASL_SSL" if brokers.with_login else "SSL or SASL_SSL"
        faults.append(f"{', '.join(useless)} needs {PROTOCOL} to be {other}, and it is {brokers.protocol}")
    return faults


def _file_faults(brokers: Brokers) -> list[str]:
    files = ((CA_FILE, brokers.ca_file), (CERT_FILE, brokers.cert_file), (KEY_FILE, brokers.key_file))
    unreadable = []
    for name, file in files:
        try:
            if file is not None:
                file.read_bytes()
        except OSError as error:
            unreadable.append(f"{name} names {str(file)!r}: {error.strerror}")
    if unreadable:
        return unreadable
    faults = []
    try:
        ssl.create_default_context(cafile=brokers.ca_file)
    except ssl.SSLError:
        faults.append(f"{CA_FILE} names {str(brokers.ca_file)!r}, which holds no PEM certificate")
    if brokers.cert_file is not None:
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_cert_chain(brokers.cert_file, brokers.key_file, lambda: brokers.key_password)
        except ssl.SSLError:
            names = f"{CERT_FILE}, {KEY_FILE} and {KEY_PASSWORD}"
            faults.append(f"{names}: the files hold no certificate and key in PEM that fit each other and the password")
    return faults
