"""A Prometheus of its own that scrapes one server, with our rules: for the dashboards' tests and pictures.

Debian's `prometheus` package has both programs (tools/env/require prometheus).
"""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

RULES = Path(__file__).resolve().parents[2] / "deploy/prometheus/rules"
JOB = "gemmule"
START_S = 60.0
DAY_S = 86_400
BACKFILL_SPREAD_S = 900
BACKFILL_STEP_S = 15


def is_installed() -> bool:
    return shutil.which("prometheus") is not None and shutil.which("promtool") is not None


class Prometheus:
    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expr: str, at_s: float | None = None) -> list[dict[str, Any]]:
        """The series of an instant vector. Raises ValueError for a query that Prometheus does not take."""
        return self._ask("query", {"query": expr, **({} if at_s is None else {"time": at_s})})

    def query_range(self, expr: str, start_s: float, end_s: float, step_s: float) -> list[dict[str, Any]]:
        return self._ask("query_range", {"query": expr, "start": start_s, "end": end_s, "step": step_s})

    def _ask(self, what: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        answer = httpx.post(f"{self.url}/api/v1/{what}", data=parameters, timeout=60.0).json()
        if answer["status"] != "success":
            raise ValueError(f"{parameters['query']}: {answer['error']}")
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result


def backfill(folder: Path, series: Sequence[tuple[str, float]], age_s: float = DAY_S) -> None:
    """Constant series (spelled with their labels, with their value) around `age_s` ago, as blocks in `folder`."""
    middle_s = int(time.time() - age_s)
    lines = []
    name = ""
    for spelled, value in sorted(series):
        if spelled.split("{")[0] != name:
            name = spelled.split("{")[0]
            lines.append(f"# TYPE {name} gauge")
        times = range(middle_s - BACKFILL_SPREAD_S, middle_s + BACKFILL_SPREAD_S, BACKFILL_STEP_S)
        lines += [f"{spelled} {value!r} {at_s}" for at_s in times]
    text = folder.parent / "backfill.txt"
    text.write_text("\n".join([*lines, "# EOF", ""]))
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(text), str(folder)]
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def scraping(
    target: str, folder: Path, interval: str = "1s", yesterday: Sequence[tuple[str, float]] = ()
) -> Iterator[Prometheus]:
    """`target`: host:port. `folder` is empty and takes all files. `yesterday`: see `backfill`."""
    data = folder / "data"
    data.mkdir(parents=True)
    if yesterday:
        backfill(data, yesterday)
    config = folder / "prometheus.yml"
    config.write_text(
        f"global: {{scrape_interval: {interval}, evaluation_interval: {interval}}}\n"
        f"rule_files: ['{RULES}/*.yml']\n"
        f"scrape_configs: [{{job_name: {JOB}, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={data}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn", "--enable-feature=exemplar-storage"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, process, folder / "log")
        yield Prometheus(url)
    finally:
        process.terminate()
        process.wait()


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    give_up_s = time.monotonic() + START_S
    while time.monotonic() < give_up_s and process.poll() is None:
        try:
            if httpx.get(f"{url}/-/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"Prometheus did not start: {log.read_text()}")
