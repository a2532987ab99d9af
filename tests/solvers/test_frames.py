"""The rotation of a simplex ETF that is smallest in an ℓ_q norm."""

import jax
import numpy as np

import nc_jax as nc
from nc_jax.solvers.frames import smallest_frames


def test_no_rotation_matters_for_the_euclidean_norm_and_none_is_smaller_for_others():
    powers = np.array([2.0, 4.0, 1.5])
    found = smallest_frames(3, powers, jax.random.key(2))
    np.testing.assert_allclose(found[0], 1, atol=1e-9)
    frame, rng = np.asarray(nc.simplex_etf(3)), np.random.default_rng(0)
    for _ in range(50):
        turned = frame @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
        sizes = [np.mean(np.sum(np.abs(turned) ** q, axis=1)) for q in powers]
        assert (found <= np.array(sizes) + 1e-9).all()
    # In three dimensions a row of length one has Σ h⁴ ≥ 1/3 and Σ |h|^1.5 ≥ 1.
    assert 1 / 3 <= found[1] < 1 / 2 + 1e-6 and 1 <= found[2]
