"""Looks at a broker's port, for words on why it did not let us in. Says nothing in Kafka's protocol.

The clients tell one timeout from another by their logs alone, so whoever failed to connect asks here.
"""

import socket
import ssl

from runtime.emit.brokers import Brokers

_TIMEOUT_S = 2.0
_ALERT_S = 1.0  # TLS 1.3 refuses a client's certificate after the handshake


def why_unreachable(brokers: Brokers) -> str:
    """One line: what, where, what to do. It holds no secret. Blocks for some seconds a broker at most."""
    for address in brokers.addresses:
        host, _, port = address.rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=_TIMEOUT_S) as connection:
                why = _refusal(brokers, connection, host.strip("[]"))
        except OSError:
            continue  # the next one may be there
        return f"what listens at {address!r} {why}"
    return f"no Kafka broker answers at {brokers.servers!r}: start one, or set KAFKA_BOOTSTRAP_SERVERS to one that runs"


def _refusal(brokers: Brokers, connection: socket.socket, host: str) -> str:
    if brokers.with_tls:
        if why := _tls_refusal(brokers, connection, host):
            return why
    elif _speaks_tls(connection):
        other = "SASL_SSL" if brokers.with_login else "SSL or SASL_SSL"
        return f"wants TLS: set KAFKA_SECURITY_PROTOCOL to {other}"
    if brokers.with_login:
        return (
            f"does not let user {brokers.username!r} in by {brokers.mechanism}: check KAFKA_SASL_USERNAME, "
            "KAFKA_SASL_PASSWORD and KAFKA_SASL_MECHANISM, and that the port is one with SASL"
        )
    return (
        "does not answer as a Kafka broker does: set KAFKA_BOOTSTRAP_SERVERS to one, "
        "and KAFKA_SECURITY_PROTOCOL too if it wants a login"
    )


def _tls_refusal(brokers: Brokers, connection: socket.socket, host: str) -> str:
    """Why there is no TLS between us; empty when there is."""
    try:
        context = brokers.tls_context()
    except OSError as error:
        return f"was not asked: a file of KAFKA_SSL_* cannot be used ({error.strerror or type(error).__name__})"
    try:
        with context.wrap_socket(connection, server_hostname=host) as secured:
            secured.settimeout(_ALERT_S)
            secured.recv(1)  # a broker that is content says nothing before it is asked
    except TimeoutError:
        return ""
    except OSError as error:
        return _in_words(error)
    return ""


def _in_words(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"shows a certificate that we do not trust ({error.verify_message}): "
            "set KAFKA_SSL_CA_FILE to the authority that signed it, and KAFKA_BOOTSTRAP_SERVERS to a name that it bears"
        )
    reason = getattr(error, "reason", None) or ""
    if "CERTIFICATE" in reason or "UNKNOWN_CA" in reason:
        return (
            f"refuses our certificate or the lack of one ({reason.lower().replace('_', ' ')}): "
            "set KAFKA_SSL_CERT_FILE and KAFKA_SSL_KEY_FILE to one that it trusts"
        )
    return (
        "does not speak TLS with us: set KAFKA_SECURITY_PROTOCOL to what the port speaks, "
        "or KAFKA_BOOTSTRAP_SERVERS to its port with TLS"
    )


def _speaks_tls(connection: socket.socket) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is told to it
    try:
        with context.wrap_socket(connection):
            return True
    except OSError:
        return False
