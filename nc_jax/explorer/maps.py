"""Phase maps over R and E (or λ), as frames of raw numbers, coarse ones first."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

import nc_jax as nc
from nc_jax.explorer.programs import Programs, is_exact
from nc_jax.explorer.settings import MapSettings, centres
from nc_jax.explorer.thresholds import exact_curves

# Cells along each axis: a single map for the exact solver, increasingly fine maps for the others.
EXACT_CELLS = (200,)
# With three times as many cells, every centre of a coarse cell is one of a fine cell.
ITERATIVE_CELLS = (18, 54, 162)


def cells_of(settings: MapSettings) -> tuple[int, ...]:
    """Cells along each axis, for each of the maps that are sent one after another."""
    return EXACT_CELLS if is_exact(settings.family) else ITERATIVE_CELLS


def grid(settings: MapSettings, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Ratios and strengths [cells², each] at the centres of all cells, lowest strength first."""
    ratios = centres(*settings.ratios, cells)
    strengths = centres(*settings.strengths, cells)
    return np.tile(ratios, cells), np.repeat(strengths, cells)


def frames(programs: Programs, settings: MapSettings, gone: threading.Event) -> Iterator[bytes]:
    """A map as frames.

    Args:
        programs: the compiled programs.
        settings: the map.
        gone: an event; once it is set, nothing more is solved.

    Yields:
        'compiling' first if a program has to be compiled, then a 'map' for each resolution: the
        cosines of the minority classifiers and the codes of the phases, both [cells, cells]
        float32.
    """
    if not programs.of(settings.family).ready:
        yield frame({"kind": "compiling"})
        programs.of(settings.family).compile()
    # Repeated in every frame of this map.
    curves = {
        name: np.round(np.log10(points), 6).tolist()
        for name, points in exact_curves(settings)._asdict().items()
    }
    start, solved, worst, unresolved = time.perf_counter(), 0, 0.0, 0
    levels = cells_of(settings)
    # The phases and cosines of the map before.
    coarse = np.empty((2, 0, 0))
    for cells in levels:
        planes, known = _refined(coarse, cells)
        ratios, strengths = (axis[~known] for axis in grid(settings, cells))
        found = []
        for lanes in programs.blocks(settings, ratios, strengths):
            if gone.is_set():
                return
            found.append(np.stack([lanes.phases, lanes.cosines[:, 1]]))
            solved += len(lanes.phases)
            worst = max(worst, float(np.max(lanes.solution.gap)))
            if cells != levels[0]:
                yield frame({"kind": "progress", "solved": solved})
        planes[:, ~known] = np.concatenate(found, axis=1)
        coarse = planes.reshape(2, cells, cells)
        codes, cosines = planes
        unresolved = int(np.sum(codes == nc.Phase.UNRESOLVED))
        about = {
            "kind": "map",
            "cells": cells,
            "first": cells == levels[0],
            "last": cells == levels[-1],
            "solved": solved,
            "worst_gap": worst,
            "unresolved": unresolved,
            "seconds": time.perf_counter() - start,
            "curves": curves,
        }
        yield frame(about, cosines, codes)


def _refined(coarse: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Planes [2, cells²] with the numbers of a coarse map [2, c, c] and which of them are known.

    The centres of the coarse cells are centres of the fine ones if there are three times as
    many of these; otherwise nothing is known.
    """
    planes, known = np.zeros((2, cells, cells)), np.zeros((cells, cells), bool)
    if cells == 3 * coarse.shape[-1]:
        planes[:, 1::3, 1::3], known[1::3, 1::3] = coarse, True
    return planes.reshape(2, -1), known.reshape(-1)


def frame(about: dict[str, Any], *planes: np.ndarray) -> bytes:
    """Lengths of both parts (uint32, little-endian), JSON, and float32 numbers.

    The JSON is padded with spaces to a multiple of four bytes, so that the numbers can be
    read without a copy.
    """
    text = json.dumps(about).encode()
    text += b" " * (-len(text) % 4)
    numbers = b"".join(np.asarray(plane, "<f4").tobytes() for plane in planes)
    lengths = np.asarray([len(text), len(numbers)], "<u4").tobytes()
    return lengths + text + numbers
