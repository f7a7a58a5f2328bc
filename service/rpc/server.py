"""The gRPC server: its services, its socket, its keepalive. Knows no method's work.

Imported late: grpc takes a tenth of a second to import, which the loading of the model hides.
"""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
from grpc_reflection.v1alpha import reflection

from service.access import Access
from service.errors import StartupError
from service.generate.serving import Serving
from service.metrics.service_metrics import ServiceMetrics
from service.rpc import health
from service.rpc.control import Control
from service.rpc.inference import Inference
from service.rpc.methods import bind
from service.rpc.open_inference import OpenInference
from service.rpc.proto.gemmule.v1 import control_pb2, inference_pb2
from service.rpc.proto.inference import open_inference_grpc_pb2
from service.tracing.request_traces import RequestTraces

FAREWELL_S = 3.0
"""What a call that is over for the engine gets to reach its client."""

OPTIONS = (
    # Who connects and says nothing is let go of.
    ("grpc.server_handshake_timeout_ms", 10_000),
    # A second server on the port is an error, not a share of the calls.
    ("grpc.so_reuseport", 0),
    # Load balancers drop what is silent for a minute or more; a long prefill is silent.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # Clients may ping, too, as often as every ten seconds.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.max_send_message_length", -1),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Who may call, how, and how much."""

    access: Access
    max_body: int
    """Bytes of a message."""
    max_calls: int
    """At the same time."""
    tls: tuple[Path, Path] | None = None
    """Certificate chain and private key, PEM."""


@contextlib.asynccontextmanager
async def answering(
    serving: Serving,
    metrics: ServiceMetrics,
    host: str,
    port: int,
    limits: Limits,
    request_traces: RequestTraces | None = None,
) -> AsyncIterator[str]:
    """Calls are answered inside the block; yields host:port. At its end the last ones are written. StartupError."""
    server = grpc.aio.server(
        options=[
            *OPTIONS,
            ("grpc.max_receive_message_length", limits.max_body),
            ("grpc.max_allowed_incoming_connections", limits.max_calls),
        ],
        maximum_concurrent_rpcs=limits.max_calls,
    )
    faces = {
        inference_pb2.DESCRIPTOR.services_by_name["Inference"]: Inference(serving),
        control_pb2.DESCRIPTOR.services_by_name["Control"]: Control(serving),
        open_inference_grpc_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]: OpenInference(serving),
    }
    traces = request_traces or RequestTraces()
    names = [service.full_name for service in faces]
    handlers = [bind(service, face, metrics, limits.access, traces) for service, face in faces.items()]
    handlers.append(bind(health.SERVICE, health.Health(serving, names), metrics, limits.access, traces))
    server.add_generic_rpc_handlers(handlers)
    reflection.enable_server_reflection((*names, health.SERVICE.full_name, reflection.SERVICE_NAME), server)
    shown = f"[{host}]" if ":" in host else host
    try:
        if limits.tls is None:
            bound = server.add_insecure_port(f"{shown}:{port}")
        else:
            chain, key = (path.read_bytes() for path in limits.tls)
            credentials = grpc.ssl_server_credentials([(key, chain)])
            bound = server.add_secure_port(f"{shown}:{port}", credentials)
    except OSError as error:
        raise StartupError(f"cannot read {error.filename}: {error.strerror}") from None
    except RuntimeError:
        raise StartupError(f"cannot listen on {shown}:{port} for gRPC: the address is in use or not ours") from None
    await server.start()
    try:
        yield f"{shown}:{bound}"
    finally:
        await server.stop(FAREWELL_S)
