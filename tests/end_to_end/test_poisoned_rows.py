"""A model with numbers that are none in one token's embedding: who uses that token fails, nobody else notices."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from service.gguf.reader import open_gguf
from tests.end_to_end.requests import COMPLETIONS, GREEDY, SEEDED, answers
from tests.end_to_end.server import LIMIT_S, Server, served

POISON = 300
NUM_BLOCKS = 24
BLOCK_BYTES = 2 * 2 * 2 * 32 * 16 * 2  # layers, KV heads, K and V, tokens, head size, f16
NAN_F16 = b"\x00\x7e"


@pytest.fixture(scope="module")
def server(tiny_gguf_of: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Few blocks, so that poisoned ones are soon used again. Float weights: quantising activations hides a NaN."""
    folder = tmp_path_factory.mktemp("poisoned")
    raw = bytearray((good := tiny_gguf_of(weight_type="F16", tied=False, context=1024)).read_bytes())
    with open_gguf(good) as file:
        embedding = file.tensors["token_embd.weight"]
    row = embedding.offset + POISON * embedding.row_bytes
    raw[row : row + 2] = NAN_F16
    (path := folder / "poisoned.gguf").write_bytes(raw)
    with served(path, folder, "--kv-memory", str(NUM_BLOCKS * BLOCK_BYTES), "--max-batch", "8") as running:
        yield running


def poisoned(num_tokens: int, place: int) -> dict[str, object]:
    prompt = [5 + index % 200 for index in range(num_tokens)]
    prompt[place] = POISON
    return {**GREEDY, "prompt": prompt}


def check_failure(response: httpx.Response) -> None:
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "step_failed"
    assert "no usable numbers" in response.json()["error"]["message"]


def test_who_uses_it_fails_clearly(server: Server) -> None:
    for place in (0, 100, 199):
        check_failure(httpx.post(f"{server.url}{COMPLETIONS}", json=poisoned(200, place), timeout=LIMIT_S))
        server.wait_for_metric("gemmule_kv_blocks_used", 0)
    text = httpx.post(f"{server.url}{COMPLETIONS}", json={**poisoned(40, 3), "stream": True}, timeout=LIMIT_S).text
    assert '"code":"step_failed"' in text
    assert text.endswith("data: [DONE]\n\n")
    assert "logits are not finite" in server.said()


async def test_nobody_else_notices(server: Server) -> None:
    bodies = [GREEDY, SEEDED, {**GREEDY, "prompt": "The other animals", "max_tokens": 70}]
    alone = [(await answers(server.url, [body]))[0] for body in bodies]
    for _ in range(3):
        # Beside them in the same steps, and then in the blocks that they leave behind.
        async with httpx.AsyncClient(base_url=server.url, timeout=LIMIT_S) as client:
            bad = [asyncio.ensure_future(client.post(COMPLETIONS, json=poisoned(300, place))) for place in (0, 250)]
            assert await answers(server.url, bodies) == alone
            for response in await asyncio.gather(*bad):
                check_failure(response)
        assert await answers(server.url, bodies) == alone
