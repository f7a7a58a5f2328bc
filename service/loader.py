"""From a model file and settings to something that the engine can run: read, pack, compile, warm up.

The order of a start: CPU and rung, self-test of the chosen micro-kernels, autotune of their tiles, weights, KV cache,
program, team of threads, one step of each kind to warm it.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path

from kernels.attention.self_test import sound_attention
from kernels.attention.variants import kv_type_of
from kernels.autotune.tuner import Autotuner
from kernels.checksum import Checksum
from kernels.cpu import detect_cpu, usable_cores
from kernels.cpu.memory import usable_memory_bytes
from kernels.errors import KernelsError
from kernels.folder import cache_folder
from kernels.jit.library import KernelLibrary
from kernels.ladder import Rung, UnknownRung, rungs_for
from kernels.peaks.measure import measure_peaks
from kernels.peaks.remembered import remembered_peaks
from kernels.runtime.abi import BLOCK_TOKENS
from kernels.runtime.executor import Executor
from kernels.runtime.team import Team
from kernels.self_test import SelfTest
from service.engine.model_runner import ModelRunner
from service.errors import ModelFileError, SettingsError
from service.gemmule_model import GemmuleModel
from service.gguf.parts import model_name
from service.gguf.reader import GGUFFile, open_gguf
from service.machine_facts import Stopwatch
from service.model.architectures import architecture_of
from service.model.config import ModelConfig, StepLimits, fields_of, read_config
from service.model.decoder import Decoder
from service.model.kv_cache import make_kv_cache
from service.model.memory import check_weights_fit
from service.model.tensors import TensorSource
from service.model.weight_memory import Keeping, WeightMemory
from service.model.weights import WeightPlanner, Weights
from service.packed.folder import PACKED
from service.settings import Settings
from service.start_memory import give_back
from service.tokenizer import Tokenizer, load_chat_template, load_tokenizer
from service.warm_up import warm_up

log = logging.getLogger(__name__)

DEFAULT_MAX_CONTEXT = 1 << 17
"""Tokens, unless `ctx` asks for more: tables grow with the context, and a file's claim alone shall not take memory."""


def ladder(settings: Settings) -> tuple[Rung, ...]:
    """The rungs of this CPU that the settings allow. Raises SettingsError."""
    try:
        return rungs_for(detect_cpu(), settings.isa)
    except UnknownRung as error:
        raise SettingsError(str(error)) from error


def load_model(
    path: Path,
    settings: Settings,
    *,
    measures_peaks: bool = False,
    team: Team | None = None,
    num_models: int = 1,
    beside_block_bytes: int = 0,
) -> GemmuleModel:
    """Raises ModelFileError or SettingsError, each one clear line; what was opened until then is closed again.

    `measures_peaks`: also the machine's roofs, for the metrics; once a boot, in some tenths of a second. `team`:
    threads that other models use, too; without, threads of its own. `num_models`: how many share the memory for KV
    caches; `beside_block_bytes`: what comes beside each block of its own.
    """
    watch = Stopwatch()
    cpu, rungs = detect_cpu(), ladder(settings)
    with ExitStack() as opened:
        with watch.stage("read"):
            file = opened.enter_context(open_gguf(path))
            write_down = architecture_of(file.metadata)
            config = read_config(file.metadata)
            _check_context(config, settings)
            num_bytes = sum(tensor.num_bytes for tensor in file.tensors.values())
            check_weights_fit(path.name, num_bytes, usable_memory_bytes())
            tokenizer = load_tokenizer(file.metadata)
            chat_template = load_chat_template(file.metadata, tokenizer)
        give_back()  # here and below: what a start alone needs is no part of the most memory that this process ever has
        library = KernelLibrary(perf_map=settings.perf_map)
        self_test = SelfTest(library)
        limits = StepLimits(
            max_tokens=settings.max_step_tokens,
            max_batch=settings.max_batch,
            max_context=settings.ctx or min(config.context, DEFAULT_MAX_CONTEXT),
            num_threads=num_threads(settings),
        )
        planner = WeightPlanner(file, cpu, settings.isa, self_test)
        decoder = Decoder(config, fields_of(file.metadata), TensorSource(file), planner, limits)
        with watch.stage("choose"):
            write_down(decoder)
        folder, threads = cache_folder() / PACKED, limits.num_threads
        wanted = settings.autotune
        tuner = Autotuner(cpu, threads, limits.max_tokens, library, self_test, folder, wanted=wanted, team=team)
        with watch.stage("tune"):
            planner.tune(tuner)
        digest = Checksum(library, rungs[0])
        keeping = Keeping(folder, settings.packed_cache, settings.weights == "copied")
        memory = WeightMemory(file, model_name(path), cpu.name, keeping, digest, limits.num_threads)
        with watch.stage("pack"):
            weights = decoder.pack(memory)
        _check_vocabulary(file, tokenizer, weights)
        kv_type = kv_type_of(settings.kv_type, rungs)
        kv = make_kv_cache(
            config,
            limits.max_context,
            limits.max_batch,
            settings.kv_memory,
            kv_type,
            num_models=num_models,
            beside_block_bytes=beside_block_bytes,
        )
        try:
            with watch.stage("compile"):
                sound = sound_attention(rungs, decoder.attention_shapes(kv_type), library)
                attention, faults = sound.variant, (*self_test.faults, *sound.faults)
                program = decoder.build(weights, kv, attention, library)
        except KernelsError as error:
            raise ModelFileError(f"{path.name}: {error}") from error
        for fault in faults:
            log.warning("%s; another one takes its place", fault)
        peaks = None
        if measures_peaks:
            with watch.stage("peaks"):
                peaks = remembered_peaks(
                    cache_folder() / "peaks",
                    rungs[0].name,
                    limits.num_threads,
                    cpu.name,
                    lambda: measure_peaks(rungs[0], limits.num_threads, library),
                )
        file.forget()
        give_back()
        executor = opened.enter_context(Executor(program, limits.num_threads, team=team))
        runner = ModelRunner(executor, limits.max_tokens, limits.max_batch, limits.max_context)
        with watch.stage("warm_up"):
            warm_up(runner, min(limits.max_tokens, limits.max_context - 1, kv.layout.num_blocks * BLOCK_TOKENS - 1))
        opened.pop_all()  # from here on the model closes them
    return GemmuleModel(
        name=model_name(path),
        cpu=cpu,
        config=config,
        weights=weights,
        kv=kv,
        limits=limits,
        attention=attention,
        executor=executor,
        runner=runner,
        tokenizer=tokenizer,
        chat_template=chat_template,
        library=library,
        file=file,
        faults=faults,
        load_s=watch.seconds,
        peaks=peaks,
        packed_cache=memory.outcome,
        tuning=tuner.outcome,
    )


def num_threads(settings: Settings) -> int:
    """Of the team."""
    return settings.threads or usable_cores()


def _check_context(config: ModelConfig, settings: Settings) -> None:
    if config.context < 2:
        raise ModelFileError(f"a context of {config.context} tokens has no room for a prompt and an answer")
    if settings.ctx is not None and settings.ctx > config.context:
        raise SettingsError(f"ctx={settings.ctx} is more than the model's context of {config.context} tokens")


def _check_vocabulary(file: GGUFFile, tokenizer: Tokenizer, weights: Weights) -> None:
    """A token without a row could not be read, a row without a token could be sampled and not be written."""
    num_rows = weights.embedding.num_rows
    if tokenizer.vocab_size != num_rows:
        raise ModelFileError(
            f"{file.path.name}: {tokenizer.vocab_size} tokens in the metadata, {num_rows} rows in token_embd.weight"
        )
