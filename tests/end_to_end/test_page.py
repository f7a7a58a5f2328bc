"""The page at /, driven by a headless Chromium: send, stream, stop, tokens, keys, and kernels whose numbers move."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from tests.end_to_end.server import LIMIT_S, Server, served

CHROMIUM = shutil.which("chromium")

expect.set_options(timeout=1000 * LIMIT_S)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium: tools/env/require browser")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Root, as in a container, has no sandbox of its own.
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def server(tiny_gguf_of: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """On the slowest rung: a long answer takes some seconds, and can be stopped."""
    model = tiny_gguf_of(context=4096, embedding=256, ffn=768, num_layers=3)
    with served(model, tmp_path_factory.mktemp("slow"), "--isa", "scalar", "--threads", "1") as running:
        yield running


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, browser: Browser, server: Server, tmp_path: Path) -> Iterator[Page]:
    """At the end nothing has been asked of another host, and nothing been refused by the policy.

    A picture of it is left in pytest's folder (--basetemp says where), to be looked at.
    """
    opened = browser.new_page(color_scheme=request.param, viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(1000 * LIMIT_S)
    complaints: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda sent: asked.append(sent.url))
    opened.goto(server.url)
    yield opened
    opened.screenshot(path=tmp_path / f"{request.param}.png", full_page=True)
    opened.close()
    assert not complaints
    assert not [url for url in asked if not url.startswith((server.url, "data:"))]


def test_send_stream_and_see_the_kernels_move(page: Page) -> None:
    expect(page.locator("#phase")).to_have_text("ready")
    page.locator("summary").click()
    page.fill("#max_tokens", "40")
    page.fill("#seed", "1")
    page.fill("#prompt", "Hello there")
    page.click("#send")
    expect(page.locator("#log h3")).to_have_text(["You", "Assistant"])
    expect(page.locator("#rate")).to_have_text(re.compile(r"\d+ tokens, [\d.]+ tokens/s, prompt \d+"))
    expect(page.locator("#send")).to_be_enabled()
    token = page.locator("#log .token").first
    assert re.match(r"[\d.]+ %\n", token.get_attribute("title") or "")
    rows = page.locator("#kernels tbody tr")
    expect(rows.filter(has_text="matmul_clamp").first).to_be_visible()
    expect(page.locator("#step")).to_contain_text("ms a step")
    before = page.locator("#kernels tbody").inner_text()
    page.fill("#prompt", "And again")
    page.press("#prompt", "Enter")
    expect(page.locator("#log h3")).to_have_count(4)
    page.wait_for_function("(before) => document.querySelector('#kernels tbody').innerText !== before", arg=before)
    page.select_option("#kernel-phase", "prefill")
    expect(page.locator("#step")).to_contain_text("ms a step")


def without_an_end(route: Route) -> None:
    """The model of the tests draws its end token after some hundred others, in a second or less."""
    route.continue_(post_data={**route.request.post_data_json, "ignore_eos": True})


def test_stop_and_clear(page: Page, server: Server) -> None:
    page.route("**/v1/completions", without_an_end)
    page.check("[value=completion]")
    page.locator("summary").click()
    page.fill("#max_tokens", "3500")
    page.fill("#seed", "1")  # another answer may begin with a combining mark, which has no box to be seen
    page.fill("#prompt", "Once upon a time")
    page.click("#send")
    page.locator("#log .token").nth(3).wait_for()
    page.click("#stop")
    expect(page.locator("#send")).to_be_enabled()
    server.wait_for_metric("gemmule_requests_running", 0)
    expect(page.locator("#log .error")).to_have_count(0)
    page.click("#clear")
    expect(page.locator("#log")).to_be_empty()


@pytest.mark.parametrize(
    ("content", "tokens", "pieces"),
    [
        ("one two", ["one", " two"], ["one", " two"]),
        ("aҀbb", ["a", "\ufffd", "\ufffd", "b", "b"], ["a", "Ҁ", "b", "b"]),
        ("Ҁ", ["\ufffd", "\ufffd"], ["Ҁ"]),
        ("end", ["end", "<|im_end|>", ""], ["end"]),
    ],
)
def test_every_piece_of_an_answer_has_its_tokens(
    page: Page, content: str, tokens: list[str], pieces: list[str]
) -> None:
    """However many tokens an event carries: a slow reader gets them together, parts of a character among them."""
    logprobs = {"content": [{"token": token, "logprob": -1.0, "top_logprobs": []} for token in tokens]}
    event = {"choices": [{"delta": {"content": content}, "logprobs": logprobs}]}
    page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(content_type="text/event-stream", body=f"data: {json.dumps(event)}\n\n"),
    )
    page.fill("#prompt", "a")
    page.click("#send")
    expect(page.locator("#log .token")).to_have_text(pieces)


def test_with_a_key(browser: Browser, tiny_gguf: Path, tmp_path: Path) -> None:
    with served(tiny_gguf, tmp_path, GEMMULE_API_KEY="sk-for-the-test") as server:
        page = browser.new_page()
        page.goto(server.url)
        page.fill("#prompt", "a")
        page.click("#send")
        expect(page.locator("#log .error")).to_contain_text("API key")
        page.locator("summary").click()
        page.fill("#key", "sk-for-the-test")
        page.fill("#max_tokens", "5")
        page.fill("#seed", "1")
        page.fill("#prompt", "a")
        page.click("#send")
        expect(page.locator("#log .token").first).to_be_visible()
        expect(page.locator("#send")).to_be_enabled()
        page.close()


def test_the_policy_is_strict(server: Server) -> None:
    for path, media_type in (("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")):
        response = httpx.get(server.url + path, timeout=LIMIT_S)
        assert response.headers["content-type"].startswith(media_type)
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
    assert not re.search(r"https?://|style=|onclick", httpx.get(server.url, timeout=LIMIT_S).text)
