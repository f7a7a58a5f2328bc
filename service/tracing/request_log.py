"""One line in the log for each request, with its times in milliseconds. Never the prompt, never the output."""

import structlog

from service.engine.observer import RequestTimings, StepTimings


class RequestLog:
    """An EngineObserver."""

    def __init__(self) -> None:
        self._log = structlog.stdlib.get_logger("gemmule.request")

    def on_step(self, step: StepTimings) -> None:
        pass

    def on_finish(self, request: RequestTimings) -> None:
        first, decode_s, per_token_s = request.first_token, request.decode_s, request.time_per_output_token_s
        times = {
            "queue_ms": first.queue_s if first else None,
            "prefill_ms": first.prefill_s if first else None,
            "ttft_ms": first.ttft_s if first else None,
            "decode_ms": decode_s,
            "per_token_ms": per_token_s,
            "total_ms": request.total_s,
        }
        context = request.context
        self._log.info(
            "request",
            request_id=context.request_id or request.id,
            id=request.id,
            operation=context.operation.value,
            finish_reason=request.finish_reason.value,
            prompt_tokens=request.num_prompt_tokens,
            output_tokens=request.num_output_tokens,
            preemptions=request.num_preemptions,
            **{name: round(1e3 * seconds, 2) for name, seconds in times.items() if seconds is not None},
            **({"trace_id": context.trace_hex} if context.trace_id else {}),
        )
