"""``python -m nc_jax.explorer``."""

import sys

from nc_jax.explorer.serve import main

if __name__ == "__main__":
    main(sys.argv[1:])
