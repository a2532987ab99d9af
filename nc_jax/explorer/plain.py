"""Numbers in the form that JSON can hold."""

import math
from typing import Any

import numpy as np


def plain_numbers(value: Any) -> Any:
    """The value as lists and plain numbers; None for NaN, a text for infinity."""
    if isinstance(value, dict):
        return {name: plain_numbers(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        items = value.tolist() if isinstance(value, np.ndarray) else value
        return [plain_numbers(item) for item in items]
    if isinstance(value, float):
        if math.isinf(value):
            return "infinite" if value > 0 else "-infinite"
        return value if math.isfinite(value) else None
    return value
