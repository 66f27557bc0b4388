"""How to reach Apache Kafka, and how topics are made there."""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from runtime.errors import ConfigError

PASSWORD_VARIABLE = "LODEPOOL_KAFKA_SASL_PASSWORD"  # noqa: S105  the name of a variable, not a password

_HOUR_MS = 3_600_000
_BATCH_OVERHEAD_BYTES = 65_536


class TopicSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """How a topic is made when it is not there yet; a topic that exists is used as it is.

    Attributes:
        partitions: Into how many parts it is divided: at most so many consumers of a group share it.
        replication_factor: On how many brokers each record is.
        min_insync_replicas: On how many of them it is when a publish returns.
        retention_hours: How long records are kept, read or not; consumers must never be away longer. 0 means for ever.
    """

    partitions: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 8
    replication_factor: Annotated[int, msgspec.Meta(ge=1, le=15)] = 3
    min_insync_replicas: Annotated[int, msgspec.Meta(ge=1, le=15)] = 2
    retention_hours: Annotated[int, msgspec.Meta(ge=0, le=876_000)] = 168

    def __post_init__(self) -> None:
        if self.min_insync_replicas > self.replication_factor:
            raise ValueError("min_insync_replicas is more than replication_factor")

    def configs(self, *, batch_bytes_max: int) -> dict[str, str]:
        """Return Kafka's settings of the topic.

        The only copy is synced to disk before it is acknowledged; of several copies, at least `min_insync_replicas`
        must be lost at once for a record to be lost.
        """
        configs = {
            "cleanup.policy": "delete",
            "retention.ms": str(self.retention_hours * _HOUR_MS) if self.retention_hours else "-1",
            "retention.bytes": "-1",
            "min.insync.replicas": str(self.min_insync_replicas),
            "unclean.leader.election.enable": "false",
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(batch_bytes_max + _BATCH_OVERHEAD_BYTES),
        }
        if self.replication_factor == 1:
            configs["flush.messages"] = "1"
        return configs


class TlsSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Encryption, and who the broker is.

    Attributes:
        ca_file: PEM file of the authority that signed the brokers' certificates; "" means the system's authorities.
        certificate_file: PEM file with this client's certificate chain; "" means none is shown.
        key_file: PEM file with its private key; "" means that it stands in `certificate_file`.
    """

    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""


class SaslSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Who this client is. The password comes from LODEPOOL_KAFKA_SASL_PASSWORD or from a file, never from the tree.

    Attributes:
        mechanism: How the password is proven. PLAIN sends it as it is and is refused without TLS.
        username: The user's name.
        password_file: A file with nothing but the password; "" means that it is in the environment.
    """

    username: str
    mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = "SCRAM-SHA-512"
    password_file: str = ""


class KafkaSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The `[kafka]` section.

    Attributes:
        bootstrap_servers: Addresses "host:port" of some brokers; the others are learned from them.
        prefix: Put before the names of topics and groups, so that several pools can share a cluster.
        publish_timeout_s: A publish that is not durable by then fails; longer than a change of leaders takes.
        request_timeout_s: Limit of one request, and of finding out whether any broker answers.
        session_timeout_s: A consumer that is silent for so long loses its partitions to the others of its group.
        batch_bytes_max: Largest record, and largest batch of records that is appended all or none.
        topic: How topics are made.
        topics: By name (without prefix): how these are made instead.
        tls: Encryption; None means plain text.
        sasl: Log in; None means that the broker asks for no name, or takes it from the TLS certificate.
    """

    bootstrap_servers: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("127.0.0.1:9092",)
    prefix: Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9._-]{0,100}$")] = "lodepool."
    publish_timeout_s: Annotated[int, msgspec.Meta(ge=1, le=600)] = 30
    request_timeout_s: Annotated[int, msgspec.Meta(ge=1, le=600)] = 10
    session_timeout_s: Annotated[int, msgspec.Meta(ge=1, le=1800)] = 10
    batch_bytes_max: Annotated[int, msgspec.Meta(ge=1_100_000, le=64_000_000)] = 4 * 1024 * 1024
    topic: TopicSettings = TopicSettings()
    topics: dict[str, TopicSettings] = {}
    tls: TlsSettings | None = None
    sasl: SaslSettings | None = None

    def __post_init__(self) -> None:
        if self.sasl is not None and self.sasl.mechanism == "PLAIN" and self.tls is None:
            raise ValueError("mechanism PLAIN sends the password as it is: it needs [kafka.tls]")

    def name_of(self, topic: str) -> str:
        """Return a topic's name on the cluster."""
        return self.prefix + topic

    def group_of(self, group: str) -> str:
        """Return a consumer group's name on the cluster."""
        return self.prefix + group

    def settings_of(self, topic: str) -> TopicSettings:
        """Return how a topic is made."""
        return self.topics.get(topic, self.topic)

    def client_options(self, environment: Mapping[str, str] | None = None) -> dict[str, object]:
        """Return the arguments that all of aiokafka's clients take: addresses, limits, TLS, SASL.

        Args:
            environment: Where the password may be; None means that of the process.

        Raises:
            ConfigError: When a certificate, a key or the password cannot be read.
        """
        options: dict[str, object] = {
            "bootstrap_servers": list(self.bootstrap_servers),
            "request_timeout_ms": self.request_timeout_s * 1000,
            "security_protocol": self.security_protocol,
        }
        if self.tls is not None:
            options["ssl_context"] = _ssl_context(self.tls)
        if self.sasl is not None:
            variables = os.environ if environment is None else environment
            options["sasl_mechanism"] = self.sasl.mechanism
            options["sasl_plain_username"] = self.sasl.username
            options["sasl_plain_password"] = _password(self.sasl, variables)
        return options

    @property
    def security_protocol(self) -> str:
        """Kafka's word for how the connection is protected."""
        transport = "PLAINTEXT" if self.tls is None else "SSL"
        return transport if self.sasl is None else f"SASL_{transport}"


def _ssl_context(tls: TlsSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError("kafka.tls.ca_file", f"{tls.ca_file}: {error}", "a PEM file") from None
    if tls.certificate_file:
        try:
            context.load_cert_chain(tls.certificate_file, tls.key_file or None)
        except (OSError, ssl.SSLError) as error:
            path = "kafka.tls.certificate_file"
            raise ConfigError(path, f"{tls.certificate_file}: {error}", "a PEM file, with its key") from None
    return context


def _password(sasl: SaslSettings, variables: Mapping[str, str]) -> str:
    if sasl.password_file:
        try:
            return Path(sasl.password_file).read_text(encoding="utf-8").strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            path = "kafka.sasl.password_file"
            raise ConfigError(path, f"{sasl.password_file}: {error}", "a file with the password") from None
    password = variables.get(PASSWORD_VARIABLE, "")
    if not password:
        raise ConfigError("kafka.sasl.password_file", "there is no password", f"a file, or {PASSWORD_VARIABLE}")
    return password
