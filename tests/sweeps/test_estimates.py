"""Chunk sizes from timed samples, and an orderly stop."""

import os
import signal

import numpy as np
import pytest

from nc_jax.sweeps import Block, Estimates, Values, stop_on_signals


def test_blocks_of_one_kind_are_timed_once():
    asked = []

    def build(choices):
        asked.append(choices)
        return lambda columns, keys: {"y": columns["x"]}

    grid = Values("x", np.linspace(0, 1, 50))
    blocks = [Block({"depth": d, "majority": m}, grid, 0) for d, m in ((1, 2), (1, 3), (2, 2))]
    estimates = Estimates(build)
    chunks = [estimates.chunk(block) for block in blocks]
    assert all(1 <= chunk <= 50 for chunk in chunks) and chunks[0] == chunks[1]
    assert all(estimates.seconds(block) > 0 for block in blocks)
    assert {choices["depth"] for choices in asked} == {1, 2}
    assert {choices["majority"] for choices in asked} == {2}


def test_the_first_signal_asks_and_the_second_one_stops():
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        stop = stop_on_signals()
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_set()
        with pytest.raises(SystemExit) as stopped:
            os.kill(os.getpid(), signal.SIGTERM)
        assert stopped.value.code == 128 + signal.SIGTERM
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
