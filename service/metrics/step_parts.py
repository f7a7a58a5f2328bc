"""Where the engine thread's time goes, and how evenly the team works. Knows no Prometheus registry and no op but one.

    plan        the report of the step before, commands, the plan
    draft       native steps of the draft model, which guesses
    fill        the plan as arrays, the sampled records as tokens
    turn        the team is busy with the step of another model
    dispatch    the team is woken
    kernels     thread 0's own work in micro-kernels, but for
    sample      its own work in the sampler
    barrier     thread 0 waits for the others
    gil_wait    the native step is over, Python does not run yet
    commit      tokens out, blocks freed
    idle        nothing to do

All parts together are the wall time of the engine thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from service.metrics.kernel_collector import KernelStats

if TYPE_CHECKING:  # it brings numba
    from kernels.runtime.stats import ExecutorTimes

SAMPLE_OP = "sample"
PARTS = ("plan", "draft", "fill", "turn", "dispatch", "kernels", "sample", "barrier", "gil_wait", "commit", "idle")


@dataclass(frozen=True, slots=True)
class EngineTimes:
    """Of the engine thread, in seconds since it began."""

    plan_s: float
    run_s: float
    commit_s: float
    idle_s: float


@dataclass(frozen=True, slots=True)
class NativeTimes:
    """The executor's view of thread 0, in seconds since it was made."""

    call_s: float
    wall_s: float
    dispatch_s: float
    work_s: float
    barrier_s: float
    sample_s: float
    turn_s: float = 0.0

    @classmethod
    def of(cls, times: ExecutorTimes, stats: Sequence[KernelStats]) -> NativeTimes:
        lead = times.threads[0]
        sample_s = sum(row.lead_seconds for row in stats if row.op == SAMPLE_OP)
        return cls(times.call_s, times.wall_s, lead.dispatch, lead.work, lead.barrier, sample_s, times.turn_s)


def parts_of(
    engine: EngineTimes, native: NativeTimes, warm_up: NativeTimes, draft_s: float | None = None
) -> dict[str, float]:
    """Seconds by part. `warm_up`: what the executor had done before there was an engine.

    `draft_s`: of the draft model's steps, within plans. None: there is no draft model.
    """

    def grown(name: str) -> float:
        return float(getattr(native, name) - getattr(warm_up, name))

    call_s, sample_s, turn_s = grown("call_s"), grown("sample_s"), grown("turn_s")
    return {
        # Counted apart, one may be ahead of the other by a step.
        "plan": max(0.0, engine.plan_s - (draft_s or 0.0)),
        **({} if draft_s is None else {"draft": draft_s}),
        "fill": max(0.0, engine.run_s - call_s - turn_s),
        "turn": turn_s,
        "dispatch": grown("dispatch_s"),
        "kernels": max(0.0, grown("work_s") - sample_s),
        "sample": sample_s,
        "barrier": grown("barrier_s"),
        "gil_wait": max(0.0, call_s - grown("wall_s")),
        "commit": engine.commit_s,
        "idle": engine.idle_s,
    }


class StepPartsCollector(Collector):
    def __init__(
        self,
        engine_times: Callable[[], EngineTimes],
        executor_times: Callable[[], ExecutorTimes],
        kernel_stats: Callable[[], Sequence[KernelStats]],
        draft_times: Callable[[], ExecutorTimes] | None = None,
    ) -> None:
        """`draft_times`: of the draft model."""
        self._engine_times = engine_times
        self._executor_times = executor_times
        self._kernel_stats = kernel_stats
        self._draft_times = draft_times
        self._warm_up = self._native()
        self._draft_warm_up_s = self._draft_s()

    def parts(self) -> dict[str, float]:
        draft_s = None if self._draft_times is None else self._draft_s() - self._draft_warm_up_s
        return parts_of(self._engine_times(), self._native(), self._warm_up, draft_s)

    def collect(self) -> Iterable[Metric]:
        parts = CounterMetricFamily(
            "gemmule_step_part_seconds",
            "The engine thread's time: all parts together are its wall time.",
            labels=("part",),
        )
        for part, seconds in self.parts().items():
            parts.add_metric((part,), seconds)
        yield parts
        threads = CounterMetricFamily(
            "gemmule_thread_seconds",
            "Time of the team's threads within steps: own work, waiting at barriers, being woken.",
            labels=("thread", "part"),
        )
        for index, thread in enumerate(self._executor_times().threads):
            for part, seconds in (("work", thread.work), ("barrier", thread.barrier), ("dispatch", thread.dispatch)):
                threads.add_metric((str(index), part), seconds)
        yield threads

    def _native(self) -> NativeTimes:
        return NativeTimes.of(self._executor_times(), self._kernel_stats())

    def _draft_s(self) -> float:
        """Waiting for its turn counts in."""
        if self._draft_times is None:
            return 0.0
        times = self._draft_times()
        return times.call_s + times.turn_s
