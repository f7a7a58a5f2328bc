"""The rehearsal's proxy: round robin, streams passed through, nothing retried. The rehearsal: `make rollout-check`."""

import asyncio

import httpx

from tests.loadtest.mock_server import Delays
from tests.loadtest.socket_server import listening
from tools.rollout.proxy import Proxy

BODY = {"prompt": [1, 2], "max_tokens": 3}


async def post(url: str) -> httpx.Response:
    async with httpx.AsyncClient() as http:
        return await http.post(f"{url}/v1/completions", json=BODY)


def test_requests_go_round() -> None:
    fast = Delays(ttft_s=lambda number: 0.0, itl_s=lambda number: 0.0)
    with listening(fast) as one, listening(Delays(refuses=lambda number: 503)) as other:

        async def work() -> list[httpx.Response]:
            proxy = Proxy()
            proxy.endpoints += [one, other]
            async with proxy.listening() as url:
                found = [await post(url) for _ in range(4)]
                assert proxy.num_passed == {one: 2, other: 2}
                proxy.endpoints.clear()
                return [*found, await post(url)]

        responses = asyncio.run(work())
    assert sorted(response.status_code for response in responses[:4]) == [200, 200, 503, 503]
    assert responses[4].status_code == 502
    answered = next(response for response in responses if response.status_code == 200)
    assert answered.text.count("data:") == 5
