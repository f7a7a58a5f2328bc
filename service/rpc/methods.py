"""Binds the methods of a protocol file's service to an object that has them, by their descriptors.

`rpc GenerateStream(Request) returns (stream Chunk)` is `async def generate_stream(request, call)`, which writes its
chunks to `call`; a method that answers once returns its answer. Errors become statuses here, and calls are counted.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from service.access import Access
from service.errors import GemmuleError
from service.metrics.service_metrics import ServiceMetrics
from service.request_context import Operation, current_context
from service.rpc.status import code_of, trailing_metadata
from service.tracing.request_traces import RequestTraces

log = logging.getLogger(__name__)

OPEN_SERVICE = "grpc.health.v1.Health/"
"""No key is asked for: probes have none."""
GENERATING = ("/Generate", "/GenerateStream", "/ModelInfer")
"""Methods that take time, and so a place in a trace."""
ADMIN_METHODS = frozenset({"gemmule.v1.Control/Abort", "gemmule.v1.Control/Drain"})

Call = grpc.aio.ServicerContext[Any, Any]
Behaviour = Callable[[Any, Call], Awaitable[Any]]


def bind(
    service: ServiceDescriptor, face: object, metrics: ServiceMetrics, access: Access, traces: RequestTraces
) -> grpc.GenericRpcHandler:
    """Every method of the service; one that the face lacks is a programmer's error."""
    handlers = {
        method.name: _handler(method, getattr(face, _snake(method.name)), metrics, access, traces)
        for method in service.methods
    }
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _handler(
    method: MethodDescriptor, behaviour: Behaviour, metrics: ServiceMetrics, access: Access, traces: RequestTraces
) -> "grpc.RpcMethodHandler[Any, Any]":
    make = grpc.unary_stream_rpc_method_handler if method.server_streaming else grpc.unary_unary_rpc_method_handler
    response = GetMessageClass(method.output_type)
    handler: grpc.RpcMethodHandler[Any, Any] = make(
        _answering(f"{method.containing_service.full_name}/{method.name}", behaviour, metrics, access, traces),
        request_deserializer=GetMessageClass(method.input_type).FromString,
        response_serializer=response.SerializeToString,
    )
    return handler


def _answering(
    name: str, behaviour: Behaviour, metrics: ServiceMetrics, access: Access, traces: RequestTraces
) -> Behaviour:
    is_open = name.startswith(OPEN_SERVICE)
    as_admin = name in ADMIN_METHODS

    async def answer(request: Any, call: Call) -> Any:
        code = grpc.StatusCode.CANCELLED
        trace = None
        if name.endswith(GENERATING):
            sent = {str(key): value for key, value in call.invocation_metadata() or () if isinstance(value, str)}
            operation = Operation.CHAT if _is_chat(request) else Operation.TEXT_COMPLETION
            trace = traces.begin(name, operation, sent.get("traceparent"), sent.get("x-request-id"))
            current_context.set(trace.context)  # of this call's own task
        metrics.rpc.in_flight.inc()
        try:
            with contextlib.nullcontext() if is_open else access.admitted(_authorization(call), as_admin=as_admin):
                response = await behaviour(request, call)
            code = grpc.StatusCode.OK
            return response
        except GemmuleError as error:
            code = code_of(error)
            metrics.rejections.count(error)
            if error.status >= 500:
                log.warning("%s: %s %s: %s", name, code.name, error.code, error)
            await call.abort(code, str(error), trailing_metadata(error))
        except asyncio.CancelledError:
            raise
        except Exception:
            # A bug of ours: the client learns that, the log learns why.
            code = grpc.StatusCode.INTERNAL
            log.exception("%s failed", name)
            await call.abort(code, "internal error")
        finally:
            metrics.rpc.in_flight.dec()
            metrics.rpc.requests.labels(name, code.name).inc()
            if trace is not None:
                trace.end(code.name, code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE))

    return answer


def _authorization(call: Call) -> str | None:
    for key, value in call.invocation_metadata() or ():
        if key == "authorization":
            return value if isinstance(value, str) else None
    return None


def _is_chat(request: Any) -> bool:
    """A message whose prompt is a chat; other messages have no prompt at all."""
    fields = type(request).DESCRIPTOR.fields_by_name
    return "chat" in fields and request.HasField("chat")


def _snake(name: str) -> str:
    """GenerateStream -> generate_stream."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
