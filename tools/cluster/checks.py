"""The rehearsals, each a cluster's life from start to end: what was done, the figures, and whether they are enough."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from loadtest.record import Record
from service.cluster.options import Options
from tools.cluster.cluster import TwoNodes, off_loop, two_nodes
from tools.cluster.load import (
    answered,
    answers,
    chats,
    decode_tokens_per_s,
    hit_rate,
    lost,
    prefill_tokens_per_s,
    under_way,
)

SERVED_NAME = "demo"
SMALL = {"ctx": 2048, "max_batch": 16}
ON_HEAD = {"node:__internal_head__": 0.001}
CALM_S = 3.0
HIT_RATIO, PREFILL_RATIO = 3.0, 1.5


@dataclass
class Verdict:
    """`misses` says in lines what is not as it should be."""

    figures: dict[str, Any] = field(default_factory=dict)
    misses: list[str] = field(default_factory=list)

    def wants(self, is_so: bool, line: str) -> None:
        if not is_so:
            self.misses.append(line)


@dataclass(frozen=True, slots=True)
class Setting:
    """Where, and with what."""

    port: int
    model: str
    other_model: str
    rounds: int

    def options(self, num_replicas: int, **others: Any) -> Options:
        return Options(
            model=self.model,
            served_name=SERVED_NAME,
            min_replicas=num_replicas,
            settings=SMALL,
            front_resources=ON_HEAD,
            **{"max_replicas": num_replicas, **others},
        )


async def during(cluster: TwoNodes, work: Callable[[], Any], concurrency: int = 6) -> tuple[list[Record], float, Any]:
    """(records, when the work began in the run's time, what it returned): load before, during and after it."""
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    loading = asyncio.ensure_future(answered(cluster.url, answers(32, 48), concurrency, until=done))
    await asyncio.sleep(CALM_S)
    moment_s = loop.time() - begun_s
    try:
        made = await off_loop(work)
        await asyncio.sleep(CALM_S)
    finally:
        done.set()
        records = await loading
    return records, moment_s, made


async def asked_again(cluster: TwoNodes, num_requests: int) -> int:
    """What a caller does with a lost request; how many were answered."""
    if not num_requests:
        return 0
    records = await answered(cluster.url, answers(32, 48), 4, num_conversations=num_requests, seed=1)
    return len(records) - len(lost(records))


async def judge_losses(
    cluster: TwoNodes, verdict: Verdict, records: list[Record], moment_s: float, recovered_s: float
) -> list[Record]:
    """What was lost: no more than was under way when something died, and all of it answered when asked again."""
    gone = lost(records)
    at_once, again = under_way(records, moment_s), await asked_again(cluster, len(gone))
    verdict.figures = {
        "answered": len(records) - len(gone),
        "lost": len(gone),
        "under_way_when_killed": at_once,
        "retried_by_front": await off_loop(cluster.num_retried),
        "asked_again_and_answered": again,
        "second_replica_after_s": round(recovered_s, 1),
        "errors": sorted({str(record.error) for record in gone}),
    }
    verdict.wants(len(gone) <= at_once, f"{len(gone)} lost, more than the {at_once} under way")
    verdict.wants(again == len(gone), f"{again} of {len(gone)} lost requests were answered when asked again")
    return gone


async def kill(setting: Setting) -> Verdict:
    """A replica's process dies under load: only what it was answering may be lost, and another takes its place."""
    verdict = Verdict()
    with two_nodes(setting.port) as cluster:
        await off_loop(cluster.deploy, setting.options(2, max_replicas_per_node=1))
        victim = (await off_loop(cluster.identities))[0]["pid"]

        def work() -> float:
            cluster.kill_replica(victim)
            return cluster.wait_below(2) + cluster.wait_for(2)

        records, moment_s, recovered_s = await during(cluster, work)
        gone = await judge_losses(cluster, verdict, records, moment_s, recovered_s)
        before = [record for record in gone if record.start_s > moment_s + 1.0]
        verdict.wants(not before, f"{len(before)} requests were lost that began after the kill")
    return verdict


async def node(setting: Setting) -> Verdict:
    """The second node dies under load; the first answers on, and a new node gets its replica."""
    verdict = Verdict()
    with two_nodes(setting.port) as cluster:
        await off_loop(cluster.deploy, setting.options(2, max_replicas_per_node=1))

        def work() -> float:
            cluster.kill_second_node()
            noticed_s = cluster.wait_below(2)
            cluster.add_node()
            return noticed_s + cluster.wait_for(2)

        records, moment_s, recovered_s = await during(cluster, work)
        await judge_losses(cluster, verdict, records, moment_s, recovered_s)
        verdict.wants(len(await off_loop(cluster.identities, 2)) == 2, "two replicas do not answer after the recovery")
    return verdict


async def update(setting: Setting) -> Verdict:
    """Another model under load, replica by replica: nothing may be lost."""
    verdict = Verdict()
    with two_nodes(setting.port) as cluster:
        old = setting.options(2, max_replicas_per_node=1)
        await off_loop(cluster.deploy, old)
        before = {identity["pid"] for identity in await off_loop(cluster.identities, 2)}
        new = old.model_copy(update={"model": setting.other_model})
        records, _, _ = await during(cluster, lambda: cluster.deploy(new))
        after = {identity["pid"] for identity in await off_loop(cluster.identities, 2)}
        gone = lost(records)
        verdict.figures = {"answered": len(records) - len(gone), "lost": len(gone), "replaced": len(before - after)}
        verdict.figures["errors"] = sorted({str(record.error) for record in gone})
        verdict.wants(not gone, f"{len(gone)} requests were lost")
        verdict.wants(not before & after, "a replica of the old model still answers")
        verdict.wants(len(after) == 2, f"{len(after)} replicas of the new model answer, not 2")
    return verdict


async def affinity(setting: Setting) -> Verdict:
    """Chats of two turns on four replicas: how much of the second turn is found where it is sent."""
    verdict = Verdict()
    rates: dict[str, float] = {}
    with two_nodes(setting.port, slots=2) as cluster:
        for routing in ("random", "prefix"):
            await off_loop(cluster.deploy, setting.options(4, max_replicas_per_node=2, routing=routing))
            records = await answered(cluster.url, chats(256, 8, 2), 8, num_conversations=48, chat=True)
            verdict.wants(not lost(records), f"{routing}: {len(lost(records))} requests were lost")
            rates[routing] = hit_rate(records)
            verdict.figures[f"hit_rate_{routing}"] = round(rates[routing], 3)
    ratio = rates["prefix"] / rates["random"] if rates["random"] else float("inf")
    verdict.figures["ratio"] = round(ratio, 2)
    verdict.wants(ratio >= HIT_RATIO, f"hit rate {ratio:.2f} times that of random routing, not {HIT_RATIO}")
    return verdict


async def scale(setting: Setting) -> Verdict:
    """One replica of one thread, then two, in turn; and that load alone makes the second one."""
    verdict = Verdict()
    figures: dict[str, list[float]] = {name: [] for name in ("prefill_1", "prefill_2", "decode_1", "decode_2")}
    with two_nodes(setting.port) as cluster:
        one = setting.options(
            1,
            max_replicas=2,
            max_replicas_per_node=1,
            target_ongoing_requests=2,
            upscale_delay_s=2,
            downscale_delay_s=2,
        )
        await off_loop(cluster.deploy, one)
        records, _, scaled_s = await during(cluster, lambda: cluster.wait_for(2, 90), 8)
        verdict.figures["second_replica_by_load_after_s"] = round(scaled_s, 1)
        verdict.wants(not lost(records), f"{len(lost(records))} requests were lost while a replica was added")
        for number in range(setting.rounds):
            for num_replicas in (1, 2):
                await off_loop(cluster.deploy, setting.options(num_replicas, max_replicas_per_node=1))
                await answered(cluster.url, answers(64, 4), 4, num_conversations=8, seed=100 + number)
                for name, source, count in (("prefill", answers(512, 1), 24), ("decode", answers(16, 64), 16)):
                    made = await answered(
                        cluster.url, source, 8, num_conversations=count, seed=2 * number + num_replicas
                    )
                    measure = prefill_tokens_per_s if name == "prefill" else decode_tokens_per_s
                    figures[f"{name}_{num_replicas}"].append(measure(made))
    for name in ("prefill", "decode"):
        ratios = [two / one for one, two in zip(figures[f"{name}_1"], figures[f"{name}_2"], strict=True)]
        verdict.figures |= {
            f"{name}_tokens_per_s": [round(median(figures[f"{name}_{number}"]), 1) for number in (1, 2)],
            f"{name}_ratio": round(median(ratios), 2),
            f"{name}_ratios": [round(ratio, 2) for ratio in ratios],
        }
    ratio = verdict.figures["prefill_ratio"]
    verdict.wants(ratio >= PREFILL_RATIO, f"prefill of two replicas is {ratio} times that of one, not {PREFILL_RATIO}")
    return verdict


CHECKS: Mapping[str, Callable[[Setting], Any]] = {
    "kill": kill,
    "node": node,
    "update": update,
    "affinity": affinity,
    "scale": scale,
}
