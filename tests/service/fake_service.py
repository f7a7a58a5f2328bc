"""The whole service over a fake model, as a process of its own: `python -m tests.service.fake_service`.

Settings come from GEMMULE_* as usual; FAKE_STEP_S is the time of a step, FAKE_LOAD_S that of loading, FAKE_PATIENCE_S
that after which the service says why it takes so long, and FAKE_FAILURE is what goes wrong: "model" (a bad file), "bug"
(an unexpected error while loading) or "engine" (the thread dies at the first step).
"""

import asyncio
import os
import sys
import time
from collections.abc import Sequence

from kernels.runtime.stats import ExecutorTimes, ThreadTimes
from kernels.runtime.trace import Tracer
from service.app import Service
from service.engine.plan import StepPlan
from service.engine.request import SampledToken
from service.errors import ModelFileError
from service.logs import configure_logs
from service.metrics.kernel_collector import KernelFault, KernelStats
from service.metrics.machine import MachineFacts
from service.settings import load_settings
from tests.service.fakes import FakeChatTemplate, FakeRunner, FakeTokenizer


class _BrokenRunner(FakeRunner):
    """What it returns is no token: the engine cannot go on."""

    def run(self, plan: StepPlan) -> list[SampledToken]:
        return [None for chunk in plan.chunks if chunk.samples]  # type: ignore[misc]


class FakeModel:
    name = "fake"
    max_context = 1024
    num_blocks = 64
    draft = None

    def __init__(self) -> None:
        runner = _BrokenRunner if os.environ.get("FAKE_FAILURE") == "engine" else FakeRunner
        self.tokenizer = FakeTokenizer()
        self.chat_template = FakeChatTemplate()
        self.runner = runner(step_s=float(os.environ.get("FAKE_STEP_S", "0")))

    def description(self) -> Sequence[str]:
        return ["a fake model of two words", "and two lines"]

    def kernel_stats(self) -> Sequence[KernelStats]:
        return []

    def kernel_faults(self) -> Sequence[KernelFault]:
        return []

    def explain(self) -> Sequence[object]:
        return []

    def tracer(self) -> Tracer:
        raise NotImplementedError

    def op_shapes(self) -> dict[int, str]:
        return {}

    def trace_labels(self) -> dict[str, str]:
        return {}

    def num_cache_hits(self) -> int:
        return 5

    def executor_times(self) -> ExecutorTimes:
        return ExecutorTimes(steps=0, wall_s=0.0, call_s=0.0, threads=(ThreadTimes(0.0, 0.0, 0.0),))

    def machine_facts(self) -> MachineFacts:
        return MachineFacts(
            version="0",
            model=self.name,
            cpu="fake",
            arch="fake",
            num_threads=1,
            kernels=(),
            load_s={},
            packed_cache="off",
            tuning="off",
            weight_bytes=0,
            kv_type="f16",
            kv_bytes=0,
            kv_block_tokens=32,
        )

    def num_compilations(self) -> int:
        return 3

    def close(self) -> None:
        print("model closed", flush=True)


def load() -> list[FakeModel]:
    time.sleep(float(os.environ.get("FAKE_LOAD_S", "0")))
    match os.environ.get("FAKE_FAILURE"):
        case "model":
            raise ModelFileError("x.gguf: the header claims 2^63 tensors")
        case "bug":
            raise ZeroDivisionError("a bug")
    return [FakeModel()]


def main() -> int:
    settings = load_settings({"port": 0}, os.environ)
    configure_logs(settings.log_level, settings.log_format)
    patience_s = float(os.environ.get("FAKE_PATIENCE_S", "60"))
    return asyncio.run(Service(settings, load, patience_s=patience_s).run())  # type: ignore[arg-type]  # FakeTokenizer is no Tokenizer


if __name__ == "__main__":
    sys.exit(main())
