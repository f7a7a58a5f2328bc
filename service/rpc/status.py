"""Errors -> gRPC statuses with google.rpc details: what went wrong as words that programs compare. Knows no method."""

from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from service.errors import BadRequest, GemmuleError, QueueFull

DOMAIN = "gemmule"
DETAILS_KEY = "grpc-status-details-bin"
"""Where grpc-status and its like look for a google.rpc.Status."""

Metadata = tuple[tuple[str, bytes], ...]


def code_of(error: GemmuleError) -> StatusCode:
    return StatusCode[error.grpc_code]


def trailing_metadata(error: GemmuleError) -> Metadata:
    """A google.rpc.Status that holds an ErrorInfo, and the field or the time to wait where there is one."""
    status = status_pb2.Status(code=code_of(error).value[0], message=str(error))
    info = error_details_pb2.ErrorInfo(reason=error.code, domain=DOMAIN, metadata={"type": error.kind})
    status.details.add().Pack(info)
    if isinstance(error, BadRequest) and error.param is not None:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.param, description=str(error))
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, QueueFull):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(round(1000 * error.retry_after_s))
        status.details.add().Pack(retry)
    return ((DETAILS_KEY, status.SerializeToString()),)
