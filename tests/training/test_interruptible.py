"""Ctrl-C comes out of a loop as such, whatever was made of it on the way."""

from __future__ import annotations

import signal

import pytest

from negprompt.training.trainer import interruptible


def ended_by(*errors):
    """Raise the errors one after another, each while the one before it is handled."""
    *earlier, last = errors
    try:
        if earlier:
            ended_by(*earlier)
    finally:
        raise last


@pytest.mark.parametrize(
    "error", [SystemExit(1), RuntimeError("DataLoader worker (pid 1) is killed by signal"), KeyboardInterrupt()]
)
def test_an_error_that_follows_ctrl_c_is_ctrl_c(error):
    with pytest.raises(KeyboardInterrupt), interruptible():
        ended_by(KeyboardInterrupt(), OSError("on the way out"), error)


@pytest.mark.parametrize("error", [SystemExit(3), ValueError("wrong")])
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as caught, interruptible():
        ended_by(OSError("before"), error)
    assert caught.value is error


def test_a_second_ctrl_c_is_heard():
    before = signal.getsignal(signal.SIGINT)
    with interruptible():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGINT) == before
