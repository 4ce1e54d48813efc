"""Apache Kafka behind TLS, logins and rights: a listener for each way in, and who may do what. Judges nothing."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization
from kafka import KafkaAdminClient
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType

from deploy.embedded.child import free_port
from ingest.stream.reading import TOPICS
from ingest.stream.worker import GROUP
from runtime.emit import Brokers
from runtime.events import Topic
from tests.contract.apache import Apache, running

PASSWORDS = {
    "speaker": "open sesame",
    "worker": "let me in",
    "stranger": "who am I",
    "onlooker": "just looking",
    "support": "what went wrong",
}
_LOGIN = "org.apache.kafka.common.security"
# Who speaks may write; who ingests may read, commit, bury, and say which calls are lost. Nobody needs more.
_RIGHTS = {
    "speaker": [(ResourceType.TOPIC, topic, ACLOperation.WRITE) for topic in (Topic.CALLS, Topic.CONTENT)],
    "worker": [
        *((ResourceType.TOPIC, topic, ACLOperation.READ) for topic in TOPICS),
        (ResourceType.TOPIC, Topic.CALLS, ACLOperation.WRITE),
        (ResourceType.GROUP, GROUP, ACLOperation.READ),
        (ResourceType.TOPIC, Topic.DEAD_LETTERS, ACLOperation.WRITE),
        (ResourceType.TOPIC, Topic.DEAD_CONTENT, ACLOperation.WRITE),
    ],
}
_RIGHTS["support"] = [(ResourceType.TOPIC, Topic.DEAD_LETTERS, ACLOperation.READ)]  # not the bytes
_RIGHTS["onlooker"] = [  # reads what it likes, and may join no group
    (kind, what, ACLOperation.DESCRIBE if kind is ResourceType.GROUP else operation)
    for kind, what, operation in _RIGHTS["worker"]
]


@dataclass
class Secured:
    """A broker, its authority, and addresses of its listeners: PLAINTEXT (may all), SASL_SSL, SSL (certificates)."""

    server: Apache
    folder: Path

    def at(self, listener: str) -> str:
        return f"127.0.0.1:{self.server.listeners[listener]}"

    def as_user(self, name: str, mechanism: str = "PLAIN") -> Brokers:
        return Brokers(
            self.at("SASL_SSL"), "SASL_SSL", mechanism, name, PASSWORDS[name], ca_file=self.folder / "ca.pem"
        )


@contextmanager
def secured(jars: Path, folder: Path) -> Iterator[Secured]:
    ports = {name: free_port() for name in ("PLAINTEXT", "SASL_SSL", "SSL")}
    _certificates(folder)
    plain = " ".join(f'user_{name}="{word}"' for name, word in PASSWORDS.items())
    server = Apache(
        jars,
        folder,
        ports,
        {
            "listener.security.protocol.map": ",".join(
                f"{n}:{'PLAINTEXT' if n == 'CONTROLLER' else n}" for n in ("CONTROLLER", *ports)
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(folder / "broker.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(folder / "ca.pem"),
            "listener.name.ssl.ssl.client.auth": "required",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
            "listener.name.sasl_ssl.plain.sasl.jaas.config": f"{_LOGIN}.plain.PlainLoginModule required {plain};",
            **{
                f"listener.name.sasl_ssl.scram-sha-{bits}.sasl.jaas.config": (
                    f"{_LOGIN}.scram.ScramLoginModule required;"
                )
                for bits in (256, 512)
            },
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS;User:operator",
            "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/",
        },
    )
    users = [
        word
        for bits in (256, 512)
        for name, password in PASSWORDS.items()
        for word in ("--add-scram", f"SCRAM-SHA-{bits}=[name={name},password={password}]")
    ]
    server.format(*users)
    with running(server):
        _grant(server.address)
        yield Secured(server, folder)


def _certificates(folder: Path) -> None:
    """The broker's, a client's, and an authority that signed neither."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(folder / "other-ca.pem"))
    of_broker = authority.issue_cert("127.0.0.1")
    key = serialization.load_pem_private_key(of_broker.private_key_pem.bytes(), None)
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "broker.pem").write_bytes(key.private_bytes(*pem) + of_broker.cert_chain_pems[0].bytes())
    of_client = authority.issue_cert("client.example", common_name="operator")
    of_client.private_key_and_cert_chain_pem.write_to_path(str(folder / "operator.pem"))


def _grant(address: Brokers) -> None:
    with closing(KafkaAdminClient(**address.options())) as admin:
        admin.create_acls(
            [
                ACL(f"User:{name}", "*", operation, ACLPermissionType.ALLOW, ResourcePattern(kind, str(what)))
                for name, rights in _RIGHTS.items()
                for kind, what, operation in rights
            ]
        )
