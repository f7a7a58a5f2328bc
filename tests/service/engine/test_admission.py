import pytest

from service.engine.admission import MOST_RETRY_S, Admission
from service.errors import QueueFull


def test_requests_are_bounded() -> None:
    admission = Admission(max_open=2, max_waiting_tokens=1000)
    for name in "ab":
        admission.check(10)
        admission.enter(name, 10)
    with pytest.raises(QueueFull, match="2 requests are running or waiting, and no more than 2 may"):
        admission.check(10)
    admission.begin("a")
    with pytest.raises(QueueFull):
        admission.check(10)
    admission.end("a", 1.0)
    admission.check(10)


def test_waiting_tokens_are_bounded() -> None:
    admission = Admission(max_open=10, max_waiting_tokens=100)
    admission.check(5000)  # alone it may be as long as the context
    admission.enter("a", 60)
    admission.check(40)
    with pytest.raises(QueueFull, match="have 101 tokens, and no more than 100"):
        admission.check(41)
    admission.begin("a")
    admission.begin("a")
    assert admission.num_waiting_tokens == 0
    admission.check(41)
    admission.enter("b", 41)
    admission.end("b", 0.0)
    assert admission.num_waiting_tokens == 0


def test_when_to_try_again_follows_from_how_often_requests_end() -> None:
    admission = Admission(max_open=1000, max_waiting_tokens=10**9)
    assert admission.retry_after_s == 1.0
    for number in range(110):
        admission.enter(str(number), 1)
    for number in range(100):
        admission.end(str(number), 2.0 * number)
    assert admission.retry_after_s == pytest.approx(10 * 2.0, rel=0.01)
    for number in range(1000, 1200):
        admission.enter(str(number), 1)
    assert admission.retry_after_s == MOST_RETRY_S
