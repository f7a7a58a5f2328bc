"""Counts gRPC calls by method and status. Knows no message."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class RpcMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "gemmule_grpc_requests",
            "Calls answered, by method and gRPC status (CANCELLED: the client left, or its deadline passed).",
            ["method", "code"],
            registry=registry,
        )
        self.in_flight = Gauge("gemmule_grpc_requests_in_flight", "Calls being answered.", registry=registry)
