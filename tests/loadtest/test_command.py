"""The command, end to end: on a real socket, with a real exit code. No figure here depends on the machine's speed."""

import json
from collections.abc import Iterator

import pytest

from loadtest.__main__ import main
from tests.loadtest.mock_server import Delays
from tests.loadtest.socket_server import listening

FEW = ("-n", "4", "--num-warmups", "1", "--input-len", "8", "--output-len", "3", "--quiet")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with listening(Delays(ttft_s=lambda number: 0.001, itl_s=lambda number: 0.0)) as url:
        yield url


def test_json_has_the_keys_of_vllm(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([url, *FEW, "--concurrency", "2", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["completed"], figures["failed"], figures["total_output_tokens"]) == (4, 0, 12)
    wanted = {
        f"{statistic}_{metric}_ms"
        for statistic in ("mean", "median", "std", "p50", "p90", "p95", "p99")
        for metric in ("ttft", "tpot", "itl", "e2el")
    } | {
        "date", "endpoint_type", "model_id", "num_prompts", "request_rate", "burstiness", "max_concurrency", "duration",
        "completed", "failed", "total_input_tokens", "total_output_tokens", "request_throughput", "request_goodput",
        "output_throughput", "total_token_throughput", "max_output_tokens_per_s", "max_concurrent_requests",
    }  # fmt: skip
    assert wanted <= set(figures)


def test_the_table(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([url, *FEW, "--goodput", "ttft:60000"]) == 0
    out = capsys.readouterr().out
    assert "time to first token" in out
    assert "4 requests in" in out
    assert "(100%)" in out


def test_a_sweep(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([url.removeprefix("http://"), *FEW, "--rate", "200,400", "--json", "--chat"]) == 0
    assert [figures["request_rate"] for figures in json.loads(capsys.readouterr().out)] == [200.0, 400.0]


def test_an_objective_decides_the_exit_code(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([url, *FEW, "--slo", "failed<=0", "--slo", "completed>=4"]) == 0
    assert main([url, *FEW, "--slo", "failed<=0", "--slo", "completed>=5"]) == 1
    assert "missed: completed is 4, not >= 5" in capsys.readouterr().err


def test_a_comparison(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", url, url, *FEW, "--rounds", "2", "--concurrency", "1,2", "--json"]) == 0
    one, two = json.loads(capsys.readouterr().out)
    assert (one["max_concurrency"], two["max_concurrency"], one["num_rounds"]) == (1, 2, 2)
    assert one["a"] != one["b"]
    assert one["figures"]["completed"]["ratio"] == 1.0
    assert main(["compare", url, url, *FEW, "--rounds", "1", "--slo", "completed>=2"]) == 1
    assert "median" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--slo", "nothing<=1"), "no figure nothing"),
        (("--goodput", "itl:5"), "goodput wants"),
        (("--concurrency", "0"), "concurrency is at least 1"),
        (("--ramp", "linear"), "a ramp wants"),
        (("--rate", "1,2", "--concurrency", "1,2"), "not both"),
        (("--prompts", "/nonexistent"), "No such file"),
        (("--rate", "inf", "--duration", "1"), "needs a number of requests"),
    ],
)
def test_wrong_arguments_are_one_line(
    url: str, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert main([url, *FEW, *arguments]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_server_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["http://127.0.0.1:9", *FEW, "--ready-timeout", "0"]) == 2
    assert "is not ready" in capsys.readouterr().err


def test_nothing_answered_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with listening(Delays(refuses=lambda number: 503)) as refusing:
        assert main([refusing, *FEW]) == 1
    assert "no request was answered" in capsys.readouterr().err
