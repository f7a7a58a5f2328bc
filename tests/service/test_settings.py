"""Settings: precedence, typed errors of one line, unknown keys."""

from pathlib import Path

import pytest

from service.errors import SettingsError
from service.settings import Settings, load_settings, load_with_origins


def test_defaults_without_flags_and_environment() -> None:
    settings = load_settings({}, {})
    assert settings.port == 8080
    assert settings.host == "127.0.0.1"
    assert settings.threads is None
    assert settings.kv_memory is None


def test_at_most_36_settings_each_documented() -> None:
    assert len(Settings.model_fields) <= 36
    for name, field in Settings.model_fields.items():
        assert (field.description or "").endswith("."), name


def test_flags_win_over_environment_and_none_is_not_given() -> None:
    environ = {"GEMMULE_PORT": "9000", "GEMMULE_THREADS": "3", "PATH": "/bin"}
    settings = load_settings({"port": 9001, "threads": None}, environ)
    assert settings.port == 9001
    assert settings.threads == 3


def test_types_of_environment_values() -> None:
    environ = {"GEMMULE_KV_MEMORY": "512MiB", "GEMMULE_CACHE": "/c", "GEMMULE_DRAIN_S": "0.5", "GEMMULE_CTX": ""}
    settings = load_settings({}, environ)
    assert settings.kv_memory == 512 << 20
    assert settings.cache == Path("/c")
    assert settings.drain_s == 0.5
    assert settings.ctx is None


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("GEMMULE_PROT", "GEMMULE_PORT"),
        ("GEMMULE_MAX_BATCHES", "GEMMULE_MAX_BATCH"),
        ("GEMMULE_THREAD", "GEMMULE_THREADS"),
        ("GEMMULE_port", "GEMMULE_PORT"),
    ],
)
def test_unknown_variable_names_the_nearest(key: str, nearest: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({}, {key: "1"})
    assert str(caught.value) == f"unknown setting {key}; the nearest known one is {nearest}"


def test_unknown_flag_names_the_nearest() -> None:
    with pytest.raises(SettingsError, match="unknown setting thread; the nearest known one is threads"):
        load_settings({"thread": 1}, {})


@pytest.mark.parametrize(
    ("flags", "environ", "start"),
    [
        ({}, {"GEMMULE_PORT": "abc"}, "GEMMULE_PORT=abc: "),
        ({}, {"GEMMULE_PORT": "70000"}, "GEMMULE_PORT=70000: "),
        ({"max_batch": 0}, {}, "--max-batch=0: "),
        ({"kv_memory": "lots"}, {}, "--kv-memory=lots: "),
        ({"drain_s": float("nan")}, {}, "--drain-s=nan: "),
        ({}, {"GEMMULE_LOG_FORMAT": "xml"}, "GEMMULE_LOG_FORMAT=xml: "),
    ],
)
def test_bad_value_is_one_line_with_its_origin(flags: dict[str, object], environ: dict[str, str], start: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(flags, environ)
    assert str(caught.value).startswith(start)
    assert "\n" not in str(caught.value)


def test_kubernetes_service_links_are_not_settings() -> None:
    environ = {
        "GEMMULE_SERVICE_HOST": "10.0.0.1",
        "GEMMULE_SERVICE_PORT": "8080",
        "GEMMULE_SERVICE_PORT_HTTP": "8080",
        "GEMMULE_PORT": "tcp://10.0.0.1:8080",
        "GEMMULE_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "GEMMULE_PORT_8080_TCP_ADDR": "10.0.0.1",
    }
    assert load_settings({}, environ).port == 8080


def test_a_file_is_below_the_variables_and_above_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "gemmule.toml"
    file.write_text('port = 9000\nthreads = 3\nkv_memory = "1GiB"\nmax_batch = 4\n')
    environ = {"GEMMULE_CONFIG": str(file), "GEMMULE_THREADS": "2"}
    settings, origins = load_with_origins({"max_batch": 8}, environ)
    assert (settings.port, settings.threads, settings.kv_memory, settings.max_batch) == (9000, 2, 1 << 30, 8)
    assert origins == {
        "port": f"port in {file}",
        "threads": "GEMMULE_THREADS",
        "kv_memory": f"kv_memory in {file}",
        "max_batch": "--max-batch",
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prot = 1", "unknown setting prot; the nearest known one is port"),
        ("[serve]\nport = 1", "unknown setting serve"),
        ("port = ", "is not valid TOML"),
        ("port = 70000", "port in .*=70000: "),
    ],
)
def test_bad_files(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "gemmule.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=says) as caught:
        load_settings({}, {"GEMMULE_CONFIG": str(file)})
    assert "\n" not in str(caught.value)
    with pytest.raises(SettingsError, match="cannot read the settings in /no/such/file"):
        load_settings({}, {"GEMMULE_CONFIG": "/no/such/file"})


def test_keys_are_not_shown() -> None:
    assert "sk-secret" not in str(load_settings({"api_key": "sk-secret-one"}, {}))


def test_how_many_tokens_may_be_guessed(tmp_path: Path) -> None:
    assert load_settings({}, {}).num_drafts == 0
    assert load_settings({"draft_tokens": 3}, {}).num_drafts == 3
    file = tmp_path / "settings.toml"
    file.write_text('draft_model = "small.gguf"\n')
    for flags, environ in (
        ({"draft_model": "small.gguf"}, {}),
        ({}, {"GEMMULE_DRAFT_MODEL": "small.gguf"}),
        ({}, {"GEMMULE_CONFIG": str(file)}),
    ):
        settings = load_settings(flags, environ)
        assert (settings.draft_model, settings.num_drafts) == ("small.gguf", 8)
    with pytest.raises(SettingsError, match=r"draft_model=small\.gguf guesses for one model, and there are several"):
        load_settings({"model": "a.gguf,b.gguf", "draft_model": "small.gguf"}, {})
    with pytest.raises(SettingsError, match="draft_tokens=0 lets nobody"):
        load_settings({"draft_tokens": 0, "draft_model": "small.gguf"}, {})
