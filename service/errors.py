"""Every way the service says no. Knows no HTTP framework: a status is only a property of the class."""

from typing import ClassVar


class GemmuleError(Exception):
    """The root of the tree. `str(error)` is one clear sentence that may be shown to a client."""

    status: ClassVar[int] = 500
    """The HTTP status."""
    grpc_code: ClassVar[str] = "INTERNAL"
    """The name of the gRPC status."""
    code: ClassVar[str] = "internal_error"
    """A stable word that programs compare (OpenAI's `error.code`)."""
    kind: ClassVar[str] = "server_error"
    """The coarse class (OpenAI's `error.type`)."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class BadRequest(GemmuleError):
    """The request can never succeed as it is."""

    status = 400
    grpc_code = "INVALID_ARGUMENT"
    code = "invalid_request"
    kind = "invalid_request_error"


class UnknownField(BadRequest):
    """The body holds a field that the API does not have."""

    code = "unknown_parameter"


class Unsupported(BadRequest):
    """A field of the API which this server does not act on, and must not ignore."""

    code = "unsupported_parameter"


class BadGrammar(BadRequest):
    """An output format cannot be compiled, or asks for more than the limits allow."""

    code = "invalid_grammar"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(f"the output format is not usable: {message}", param=param or "structured_outputs")


class OutputStuck(BadRequest):
    """What a request asks of its output leaves no token that could come next, or takes too long to find one."""

    code = "output_stuck"


class BodyTooLarge(BadRequest):
    """The request body is longer than the limit."""

    status = 413
    grpc_code = "RESOURCE_EXHAUSTED"
    code = "body_too_large"


class ContextOverflow(BadRequest):
    """Prompt and output do not fit the model's context, or the KV cache as a whole."""

    code = "context_length_exceeded"


class RequestTimeout(BadRequest):
    """The request's body did not come in time."""

    status = 408
    grpc_code = "DEADLINE_EXCEEDED"
    code = "request_timeout"


class Unauthenticated(GemmuleError):
    """No API key, or none that is known."""

    status = 401
    grpc_code = "UNAUTHENTICATED"
    code = "invalid_api_key"
    kind = "invalid_request_error"


class Forbidden(GemmuleError):
    """A known key that may not do this."""

    status = 403
    grpc_code = "PERMISSION_DENIED"
    code = "forbidden"
    kind = "invalid_request_error"


class TooManyRequests(GemmuleError):
    """A key has as many open requests as it may have."""

    status = 429
    grpc_code = "RESOURCE_EXHAUSTED"
    code = "rate_limit_exceeded"
    kind = "rate_limit_error"


class NotFound(GemmuleError):
    """The request names something which is not served here."""

    status = 404
    grpc_code = "NOT_FOUND"
    code = "not_found"
    kind = "invalid_request_error"


class UnknownModel(NotFound):
    """The request names another model than the served ones."""

    code = "model_not_found"


class QueueFull(GemmuleError):
    """The bounded queue is full; a later try may succeed."""

    status = 503
    grpc_code = "RESOURCE_EXHAUSTED"
    code = "queue_full"
    kind = "overloaded_error"

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotReady(GemmuleError):
    """The model is still being loaded."""

    status = 503
    grpc_code = "UNAVAILABLE"
    code = "not_ready"
    kind = "unavailable_error"


class Draining(GemmuleError):
    """The process is shutting down and takes no new work."""

    status = 503
    grpc_code = "UNAVAILABLE"
    code = "draining"
    kind = "unavailable_error"


class DeadlineExceeded(GemmuleError):
    """The request's own time limit passed before its first token."""

    status = 504
    grpc_code = "DEADLINE_EXCEEDED"
    code = "deadline_exceeded"
    kind = "timeout_error"


class TraceBusy(GemmuleError):
    """A trace of steps is being taken already."""

    status = 409
    grpc_code = "ABORTED"
    code = "trace_busy"
    kind = "invalid_request_error"


class NothingTraced(GemmuleError):
    """A trace was asked for, and the engine had nothing to do."""

    status = 404
    grpc_code = "NOT_FOUND"
    code = "nothing_traced"
    kind = "invalid_request_error"


class StepFailed(GemmuleError):
    """A step of the engine failed; every request that took part in it ends."""

    code = "step_failed"


class SettingsError(GemmuleError):
    """A setting is unknown or out of range: a start-up failure of one line."""

    code = "bad_setting"


class ModelFileError(GemmuleError):
    """A model file is truncated, corrupted or of a kind not supported: a start-up failure of one line."""

    code = "bad_model_file"


class StartupError(GemmuleError):
    """The process cannot start for a reason outside the model: a port in use, a missing file."""

    code = "startup_failed"
