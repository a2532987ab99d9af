"""What a plan asks for, and what a store holds of it, as rows of a table."""

from typing import Any

from nc_jax.sweeps.estimates import Estimates
from nc_jax.sweeps.plan import Block, Plan
from nc_jax.sweeps.store import Scan


def planned_rows(plan: Plan, estimates: Estimates) -> list[dict[str, Any]]:
    """One row for each block: choices, points, points per chunk, chunks and estimated seconds."""
    rows = []
    for block in plan.blocks:
        size = block.chunk or estimates.chunk(block)
        chunks = {"chunk": size, "chunks": -(-len(block.grid) // size)}
        rows.append(_described(block) | chunks | {"estimate, s": estimates.seconds(block)})
    return rows


def stored_rows(plan: Plan, scan: Scan) -> list[dict[str, Any]]:
    """One row for each block of a store: choices, points, points done, chunks done of all."""
    rows = []
    for place, block in enumerate(plan.blocks):
        done = [chunk for own, chunk in scan.parts if own == place]
        points = sum(plan.size(place, chunk) for chunk in done)
        rows.append(
            _described(block) | {"done": points, "chunks": f"{len(done)} of {block.num_chunks}"}
        )
    return rows


def _described(block: Block) -> dict[str, Any]:
    choices = ", ".join(f"{name} = {value}" for name, value in block.choices.items())
    return {"choices": choices or "–", "points": len(block.grid)}
