"""BYTES tensors and parameters of the Open Inference Protocol, to and from text. Knows no model."""

import struct
from collections.abc import Mapping, Sequence

from service.errors import BadRequest
from service.rpc.proto.inference import open_inference_grpc_pb2 as pb

LENGTH = struct.Struct("<I")


def texts_of(request: pb.ModelInferRequest, name: str) -> list[str] | None:
    """The elements of the input of that name; None if there is none. Raises BadRequest."""
    for index, tensor in enumerate(request.inputs):
        if tensor.name == name:
            elements = _elements(request, index)
            num_elements = 1
            for size in tensor.shape:
                num_elements *= size
            if len(elements) != num_elements:
                shape = f"its shape {list(tensor.shape)} says {num_elements}"
                raise BadRequest(f"the input '{name}' has {len(elements)} elements, {shape}", param=name)
            try:
                return [element.decode() for element in elements]
            except UnicodeDecodeError as error:
                raise BadRequest(f"the input '{name}' is not UTF-8: {error.reason}", param=name) from None
    return None


def _elements(request: pb.ModelInferRequest, index: int) -> Sequence[bytes]:
    tensor = request.inputs[index]
    if tensor.datatype != "BYTES":
        raise BadRequest(f"the input '{tensor.name}' is {tensor.datatype or 'untyped'}, not BYTES", param=tensor.name)
    if not request.raw_input_contents:
        return tensor.contents.bytes_contents
    if len(request.raw_input_contents) != len(request.inputs):
        raise BadRequest(
            f"{len(request.raw_input_contents)} raw contents for {len(request.inputs)} inputs: one each, or none",
            param="raw_input_contents",
        )
    return list(_unpacked(request.raw_input_contents[index], tensor.name))


def _unpacked(raw: bytes, name: str) -> list[bytes]:
    """Each element has its length before it."""
    elements = []
    position = 0
    while position < len(raw):
        end = position + LENGTH.size
        end += LENGTH.unpack_from(raw, position)[0] if end <= len(raw) else 0
        if end > len(raw) or end < position + LENGTH.size:
            raise BadRequest(f"the raw content of '{name}' ends within an element", param=name)
        elements.append(raw[position + LENGTH.size : end])
        position = end
    return elements


def packed(elements: Sequence[bytes]) -> bytes:
    return b"".join(LENGTH.pack(len(element)) + element for element in elements)


def values_of_parameters(parameters: Mapping[str, pb.InferParameter]) -> dict[str, object]:
    """The parameters as plain values; one that is not set says nothing."""
    values: dict[str, object] = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is not None:
            values[name] = getattr(parameter, choice)
    return values
