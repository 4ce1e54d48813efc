"""Where the brokers are and how to be let in, from the environment: every fault at once, and no secret told."""

import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from deploy.brokers import kafka_environment, read_brokers
from deploy.errors import Misuse
from deploy.settings import Settings, read_settings
from runtime.emit import Brokers

SERVERS = {"KAFKA_BOOTSTRAP_SERVERS": "one:9092,two:9092"}
LOGIN = {"KAFKA_SASL_USERNAME": "speaker", "KAFKA_SASL_PASSWORD": "open sesame"}


def faults_of(**variables):
    faults: list[str] = []
    read_brokers(SERVERS | variables, faults)
    return faults


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An authority, a certificate of its, that one's key, and the key under a password."""
    folder: Path = tmp_path_factory.mktemp("pem")
    authority = trustme.CA()
    own = authority.issue_cert("speaker")
    key = serialization.load_pem_private_key(own.private_key_pem.bytes(), None)
    hidden = serialization.BestAvailableEncryption(b"key password")
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    contents = {
        "ca": authority.cert_pem.bytes(),
        "cert": own.cert_chain_pems[0].bytes(),
        "key": own.private_key_pem.bytes(),
        "hidden": key.private_bytes(pem, pkcs8, hidden),
        "other": authority.issue_cert("other").private_key_pem.bytes(),
        "both": own.private_key_and_cert_chain_pem.bytes(),
        "text": b"no certificate",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: str(folder / name) for name in contents}


def test_nothing_is_said_of_brokers_that_are_not_named():
    faults: list[str] = []
    assert read_brokers(LOGIN | {"KAFKA_SECURITY_PROTOCOL": "nonsense"}, faults) is None
    assert faults == []


def test_servers_alone_are_spoken_to_in_the_clear():
    assert read_brokers(SERVERS, []) == Brokers("one:9092,two:9092")
    assert Brokers("one:9092,two:9092").options() == {
        "bootstrap_servers": ["one:9092", "two:9092"],
        "security_protocol": "PLAINTEXT",
    }


def test_an_empty_variable_is_none():
    assert read_brokers(SERVERS | dict.fromkeys(LOGIN, ""), []) == Brokers("one:9092,two:9092")


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
@pytest.mark.parametrize("mechanism", ["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_login_reaches_the_clients(protocol, mechanism):
    found = read_brokers(SERVERS | LOGIN | {"KAFKA_SECURITY_PROTOCOL": protocol, "KAFKA_SASL_MECHANISM": mechanism}, [])
    options = found.options()
    assert options["security_protocol"] == protocol
    assert options["sasl_mechanism"] == (mechanism or "PLAIN")
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("speaker", "open sesame")
    assert ("ssl_context" in options) == (protocol == "SASL_SSL")


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"KAFKA_SSL_CERT_FILE": "cert", "KAFKA_SSL_KEY_FILE": "key"},
        {"KAFKA_SSL_CERT_FILE": "both"},
        {"KAFKA_SSL_CERT_FILE": "cert", "KAFKA_SSL_KEY_FILE": "hidden", "KAFKA_SSL_KEY_PASSWORD": "=key password"},
    ],
)
def test_a_host_is_checked_against_the_authority_that_is_named(files, own):
    named = {n: v.removeprefix("=") if v.startswith("=") else files[v] for n, v in own.items()}
    faults: list[str] = []
    variables = SERVERS | named | {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CA_FILE": files["ca"]}
    found = read_brokers(variables, faults)
    assert faults == []
    context = found.options()["ssl_context"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.cert_store_stats()["x509_ca"] == 1


def test_without_an_authority_the_systems_are_trusted():
    context = read_brokers(SERVERS | {"KAFKA_SECURITY_PROTOCOL": "SSL"}, []).options()["ssl_context"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"KAFKA_SECURITY_PROTOCOL": "TLS"}, ["KAFKA_SECURITY_PROTOCOL is 'TLS'", "SASL_SSL"]),
        ({"KAFKA_SASL_MECHANISM": "GSSAPI"}, ["KAFKA_SASL_MECHANISM is 'GSSAPI'", "SCRAM-SHA-512"]),
        (LOGIN, ["KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD needs KAFKA_SECURITY_PROTOCOL", "PLAINTEXT"]),
        (LOGIN | {"KAFKA_SECURITY_PROTOCOL": "SSL"}, ["needs KAFKA_SECURITY_PROTOCOL to be SASL_SSL, and it is SSL"]),
        ({"KAFKA_SSL_CA_FILE": "/ca"}, ["KAFKA_SSL_CA_FILE needs KAFKA_SECURITY_PROTOCOL to be SSL or SASL_SSL"]),
        (
            LOGIN | {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SSL_KEY_FILE": "/key"},
            ["KAFKA_SSL_KEY_FILE needs KAFKA_SECURITY_PROTOCOL to be SASL_SSL"],
        ),
    ],
)
def test_variables_that_contradict_each_other_are_one_fault(variables, said):
    [fault] = faults_of(**variables)
    assert all(words in fault for words in said)


def test_a_login_without_its_halves_and_a_key_without_its_certificate_are_faults():
    halves = faults_of(KAFKA_SECURITY_PROTOCOL="SASL_SSL", KAFKA_SSL_KEY_FILE="/key")
    assert [fault.rpartition(" ")[2] for fault in halves] == [*LOGIN, "KAFKA_SSL_CERT_FILE"]


def test_files_that_cannot_be_read_are_named_with_their_variables(tmp_path):
    names = ["KAFKA_SSL_CA_FILE", "KAFKA_SSL_CERT_FILE", "KAFKA_SSL_KEY_FILE"]
    absent = {name: str(tmp_path / name.lower()) for name in names}
    faults = faults_of(KAFKA_SECURITY_PROTOCOL="SSL", **absent)
    assert faults == [f"{name} names {file!r}: No such file or directory" for name, file in absent.items()]


@pytest.mark.parametrize(
    ("ca", "cert", "key", "password", "named"),
    [
        ("text", "cert", "key", "", "KAFKA_SSL_CA_FILE"),
        ("ca", "text", "key", "", "KAFKA_SSL_CERT_FILE"),
        ("ca", "cert", "other", "", "KAFKA_SSL_KEY_FILE"),
        ("ca", "cert", "hidden", "", "KAFKA_SSL_KEY_PASSWORD"),
        ("ca", "cert", "hidden", "wrong", "KAFKA_SSL_KEY_PASSWORD"),
    ],
)
def test_files_that_hold_something_else_are_faults_and_nobody_is_asked_for_a_password(
    files, ca, cert, key, password, named
):
    own = {"KAFKA_SSL_CERT_FILE": files[cert], "KAFKA_SSL_KEY_FILE": files[key], "KAFKA_SSL_KEY_PASSWORD": password}
    [fault] = faults_of(KAFKA_SECURITY_PROTOCOL="SSL", KAFKA_SSL_CA_FILE=files[ca], **own)
    assert named in fault
    assert "wrong" not in fault


def test_all_faults_come_at_once_and_no_secret_with_them():
    variables = {"KAFKA_BOOTSTRAP_SERVERS": "nowhere", "KAFKA_SECURITY_PROTOCOL": "TLS", "CLICKHOUSE_URL": "ftp://x"}
    with pytest.raises(Misuse) as refused:
        read_settings(variables | LOGIN | {"KAFKA_SSL_KEY_PASSWORD": "key password"})
    assert all(name in str(refused.value) for name in variables)
    assert not any(secret in str(refused.value) for secret in ("open sesame", "key password"))


def test_no_secret_is_in_what_settings_show_of_themselves():
    brokers = Brokers("one:9092", "SASL_SSL", username="speaker", password="open sesame", key_password="key password")
    shown = repr(Settings(Path(), brokers))
    assert "speaker" in shown
    assert not any(secret in shown for secret in ("open sesame", "key password"))


@pytest.mark.parametrize(
    "brokers",
    [
        Brokers("one:9092"),
        Brokers("one:9092", "SASL_PLAINTEXT", "SCRAM-SHA-256", "speaker", "open sesame"),
    ],
)
def test_a_child_reads_the_same_brokers_whatever_its_parents_environment_says(brokers):
    parent = {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CA_FILE": "/ca", "KAFKA_SASL_USERNAME": "somebody"}
    faults: list[str] = []
    assert read_brokers(parent | kafka_environment(brokers), faults) == brokers
    assert faults == []
