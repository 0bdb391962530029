"""For a service in go-zero's manner, beside its transactions: log lines, spans, and its place in etcd.

    from coordinator.client.service import EtcdRegistration, configure_logging, log

    configure_logging("info", ["stderr"])
    registration = EtcdRegistration(["localhost:2379"], "user.rpc", "10.0.0.7:8080")
    await registration.start()
    log.info("registered", key="user.rpc")

Needs `pip install 'dtm-coordinator[service]'`. What the coordinator itself uses, so that its lines and spans
and those of the services fit together (PROTOCOL §11, §13, §15). Nothing here knows of the coordinator.
"""

from coordinator.client.extras import brought_by

with brought_by("service"):
    from coordinator.discovery.etcd import EtcdRegistration
    from coordinator.discovery.logins import mysql_password
    from coordinator.errors import StartError
    from coordinator.telemetry.exporting import Spans, open_spans
    from coordinator.telemetry.log import Log, in_call, log, stacks
    from coordinator.telemetry.log_output import (
        Form,
        add_file,
        add_stream,
        configure_logging,
        shown_level,
        take_over_logging,
    )
    from coordinator.telemetry.secrets import Secrets
    from coordinator.telemetry.slow import Slow
    from coordinator.telemetry.span_target import SpanTarget
    from coordinator.telemetry.trace_context import as_parent, extract

__all__ = [
    "EtcdRegistration",
    "Form",
    "Log",
    "Secrets",
    "Slow",
    "SpanTarget",
    "Spans",
    "StartError",
    "add_file",
    "add_stream",
    "as_parent",
    "configure_logging",
    "extract",
    "in_call",
    "log",
    "mysql_password",
    "open_spans",
    "shown_level",
    "stacks",
    "take_over_logging",
]
