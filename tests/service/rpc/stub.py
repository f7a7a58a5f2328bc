"""A client of any service, made from its descriptor. Knows no server."""

import re
from typing import Any

import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass


class Stub:
    """`stub.generate_stream(request, timeout=...)` is rpc GenerateStream of the service."""

    def __init__(self, channel: grpc.aio.Channel, service: ServiceDescriptor) -> None:
        for method in service.methods:
            make = channel.unary_stream if method.server_streaming else channel.unary_unary
            call = make(
                f"/{service.full_name}/{method.name}",
                request_serializer=GetMessageClass(method.input_type).SerializeToString,
                response_deserializer=GetMessageClass(method.output_type).FromString,
            )
            setattr(self, re.sub(r"(?<!^)(?=[A-Z])", "_", method.name).lower(), call)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)
