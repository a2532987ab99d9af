"""The public names, read by type checkers and, at run time, by nc_jax/training/__init__.py."""

from .cures import (
    RUN_CURES as RUN_CURES,
    cured_run as cured_run,
    repeated_to as repeated_to,
)
from .images import (
    Images as Images,
    on_device as on_device,
    resized as resized,
)
from .loop import (
    Progress as Progress,
    Run as Run,
    Stack as Stack,
    Trainer as Trainer,
    train as train,
)
from .measures import (
    measure as measure,
)
from .recipe import (
    Recipe as Recipe,
)
from .text_loop import (
    TextOutputs as TextOutputs,
    TextState as TextState,
    TextTrainer as TextTrainer,
)
from .text_measures import (
    Looked as Looked,
    MeasuredText as MeasuredText,
    measure_text as measure_text,
)
from .text_recipe import (
    TextRecipe as TextRecipe,
)
