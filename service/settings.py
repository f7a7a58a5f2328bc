"""The settings: flat, typed, documented. Flags win over GEMMULE_* variables, these over a TOML file, it over defaults.

Knows no command line and no file format; nothing is read at import time.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import ByteSize, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from service.errors import SettingsError
from service.setting_sources import ENV_PREFIX, from_environment, from_file, unknown

KVTypeName = Literal["auto", "f16", "i16", "q8_0", "f32"]
"""kernels.runtime.kv_types, and `auto`: what this CPU is fastest with."""

MAX_MODELS = 16
"""In one process: each has its share of the memory for KV caches, and its series in the metrics."""
DRAFTS_OF_A_MODEL = 8
"""In one step, unless draft_tokens says otherwise."""
CONFIG_VARIABLE = "GEMMULE_CONFIG"
"""Names a TOML file of settings; it is none itself."""


class Settings(BaseSettings):
    """One start of the service."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, extra="forbid", frozen=True, protected_namespaces=(), validate_default=True
    )

    model: str = Field(
        default="smollm2-135m-instruct",
        min_length=1,
        description="GGUF file, or the name of a pulled demo model; several are separated by commas.",
    )
    served_name: str | None = Field(
        default=None,
        min_length=1,
        description="Model name in requests and responses (default: the file's name); one for each model.",
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8080, ge=0, le=65535, description="HTTP port; 0 takes a free one.")
    grpc_port: Annotated[int, Field(ge=0, le=65535)] | Literal["off"] | None = Field(
        default=None, description="gRPC port, or off; 0 takes a free one (default: the HTTP port + 1)."
    )
    threads: int | None = Field(
        default=None, ge=1, le=1024, description="Threads of the team (default: the usable cores)."
    )
    ctx: int | None = Field(
        default=None, ge=32, description="Tokens of context per request (default: the model's, up to 131072)."
    )
    max_batch: int = Field(default=32, ge=1, le=1024, description="Sequences in one step.")
    max_step_tokens: int = Field(
        default=512, ge=1, le=65536, description="Tokens in one step, prefill and decode together."
    )
    inter_token_ms: float | None = Field(
        default=None,
        gt=0,
        le=60_000,
        description="Milliseconds that prompts may stretch a token of running streams to "
        "(default: twice their own, or 32 while many prompts wait).",
    )
    draft_tokens: int | None = Field(
        default=None,
        ge=0,
        le=15,
        description="Tokens to guess for a sequence and verify in one step (default: 8 with a draft model, else 0).",
    )
    draft_model: str | None = Field(
        default=None,
        min_length=1,
        description="GGUF file or demo model, of the same vocabulary, that guesses tokens (default: the text does).",
    )
    kv_memory: ByteSize | None = Field(
        default=None, gt=0, description="Memory of the KV cache, e.g. 512MiB (default: from the context and the batch)."
    )
    kv_type: KVTypeName = Field(
        default="auto",
        description="Type of cached keys and values: f16, i16 (faster with VNNI), q8_0 (53 % of the memory) or f32.",
    )
    max_queue: int = Field(
        default=256, ge=1, le=1_000_000, description="Requests that may wait; one more is refused with 503."
    )
    max_queue_tokens: int = Field(
        default=1 << 18, ge=1, description="Prompt tokens that may wait; a request beyond is refused with 503."
    )
    prefix_cache: bool = Field(
        default=True, description="Keep the KV blocks of past prompts and answers, for those that begin alike."
    )
    isa: str | None = Field(default=None, description="Best rung of the ISA ladder to use, e.g. neon_dotprod.")
    autotune: bool = Field(
        default=True,
        description="Measure at the first load which of a micro-kernel's tiles is the fastest here, and remember it.",
    )
    cache: Path | None = Field(
        default=None, description="Cache folder (default: $XDG_CACHE_HOME/gemmule, ~/.cache/gemmule)."
    )
    packed_cache: ByteSize = Field(
        default=ByteSize(64 << 30),
        description="Most bytes of packed weights to keep in the cache folder, e.g. 20GiB; 0 keeps none.",
    )
    weights: Literal["mapped", "copied"] = Field(
        default="mapped",
        description="Use kept weights in the file that all processes share, or in a copy in huge pages of this one.",
    )
    api_key: SecretStr | None = Field(
        default=None, description="API keys, separated by commas; without any, everybody may call."
    )
    api_key_file: Path | None = Field(
        default=None, description="File of API keys, one a line: KEY [name=NAME] [max_open=NUMBER] [admin]."
    )
    cors_origins: str | None = Field(
        default=None,
        pattern=r"^(\*|https?://[^/,\s]+(,https?://[^/,\s]+)*)$",
        description="Origins whose pages may call from browsers, separated by commas, or * (default: none).",
    )
    tls_cert: Path | None = Field(default=None, description="Certificate chain (PEM): TLS on both faces.")
    tls_key: Path | None = Field(default=None, description="Its private key (PEM).")
    max_connections: int = Field(
        default=2048, ge=1, le=1_000_000, description="HTTP connections, and gRPC calls, at the same time."
    )
    max_body: ByteSize = Field(default=ByteSize(4 << 20), gt=0, description="Largest request body, e.g. 4MiB.")
    keep_alive_s: float = Field(default=75.0, gt=0, le=3600, description="Seconds an idle HTTP connection stays open.")
    drain_s: float = Field(
        default=30.0, ge=0, le=3600, description="Seconds that running requests get to end at shutdown."
    )
    otlp_endpoint: str | None = Field(
        default=None,
        pattern="^https?://",
        description="Send spans of requests there over OTLP, e.g. http://127.0.0.1:4318 (needs the extra otlp).",
    )
    vllm_metrics: bool = Field(
        default=False, description="Also give the metrics vLLM's names, for dashboards and gateways that know those."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level of a log line."
    )
    log_format: Literal["console", "json"] = Field(
        default="console", description="Log lines for people or for machines."
    )

    perf_map: bool = Field(
        default=False, description="Write the micro-kernels' names to /tmp/perf-PID.map, for perf record -p PID."
    )

    @model_validator(mode="after")
    def _every_sequence_can_decode(self) -> Self:
        if self.max_batch > self.max_step_tokens:
            raise SettingsError(
                f"max_batch={self.max_batch} is more than max_step_tokens={self.max_step_tokens}: "
                "every sequence must be able to decode a token in each step"
            )
        return self

    @model_validator(mode="after")
    def _tls_has_both(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise SettingsError("tls_cert and tls_key belong together")
        return self

    @model_validator(mode="after")
    def _every_model_has_a_name(self) -> Self:
        num_models, names = len(self.models), self.served_names
        if num_models > MAX_MODELS:
            raise SettingsError(f"{num_models} models; at most {MAX_MODELS} can be served by one process")
        if names and len(names) != num_models:
            raise SettingsError(f"{len(names)} served names for {num_models} models: one is needed for each")
        if len(set(names)) != len(names):
            raise SettingsError(f"served_name={self.served_name}: the names have to differ")
        return self

    @model_validator(mode="after")
    def _a_draft_model_guesses_for_one(self) -> Self:
        if self.draft_model is not None and len(self.models) > 1:
            raise SettingsError(f"draft_model={self.draft_model} guesses for one model, and there are several")
        if self.draft_model is not None and self.draft_tokens == 0:
            raise SettingsError(f"draft_model={self.draft_model} is to guess, and draft_tokens=0 lets nobody")
        return self

    @property
    def num_drafts(self) -> int:
        """Tokens that may be guessed for a sequence in one step."""
        if self.draft_tokens is not None:
            return self.draft_tokens
        return 0 if self.draft_model is None else DRAFTS_OF_A_MODEL

    @property
    def inter_token_s(self) -> float | None:
        return None if self.inter_token_ms is None else self.inter_token_ms / 1e3

    @property
    def models(self) -> tuple[str, ...]:
        """A file whose name holds a comma is one model."""
        return (self.model,) if Path(self.model).exists() else _parts(self.model)

    @property
    def served_names(self) -> tuple[str, ...]:
        """One for each model, or none."""
        return (
            ()
            if self.served_name is None
            else _parts(self.served_name)
            if len(self.models) > 1
            else (self.served_name,)
        )

    @property
    def api_keys(self) -> str | None:
        return None if self.api_key is None else self.api_key.get_secret_value()

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        return () if self.cors_origins is None else tuple(self.cors_origins.split(","))

    @property
    def tls(self) -> tuple[Path, Path] | None:
        """Certificate chain and private key."""
        return None if self.tls_cert is None or self.tls_key is None else (self.tls_cert, self.tls_key)

    @property
    def has_grpc(self) -> bool:
        return self.grpc_port != "off"

    def grpc_port_or(self, default: int) -> int:
        """The port for gRPC, which must be wanted."""
        assert self.grpc_port != "off"
        return default if self.grpc_port is None else self.grpc_port

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The environment comes in through load_settings, so that it can be injected and checked for unknown keys.
        return (init_settings,)


def _parts(listed: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in listed.split(",") if part.strip())


def load_settings(flags: Mapping[str, object], environ: Mapping[str, str]) -> Settings:
    """Flags whose value is None count as not given. Raises SettingsError with one line."""
    return load_with_origins(flags, environ)[0]


def load_with_origins(flags: Mapping[str, object], environ: Mapping[str, str]) -> tuple[Settings, dict[str, str]]:
    """Also where each setting that is given comes from: its flag, its variable, or a line of the file."""
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    given = {name: value for name, value in flags.items() if value is not None}
    known = Settings.model_fields
    variables = from_environment({key: value for key, value in environ.items() if key != CONFIG_VARIABLE}, known)
    if path := environ.get(CONFIG_VARIABLE):
        for name, value in from_file(Path(path), known).items():
            values[name], origins[name] = value, f"{name} in {path}"
    for name, value in variables.items():
        values[name], origins[name] = value, ENV_PREFIX + name.upper()
    for name, value in given.items():
        values[name], origins[name] = value, "--" + name.replace("_", "-")
    try:
        return Settings.model_validate(values), origins
    except ValidationError as error:
        raise SettingsError(_one_line(error, origins)) from None


def _one_line(error: ValidationError, origins: Mapping[str, str]) -> str:
    problem = error.errors()[0]
    name = str(problem["loc"][0]) if problem["loc"] else "settings"
    if problem["type"] == "extra_forbidden":
        return unknown(name, Settings.model_fields)
    shown = origins.get(name, ENV_PREFIX + name.upper())
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{shown}={problem['input']!s}: {message}"
