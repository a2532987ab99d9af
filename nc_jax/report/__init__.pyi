"""The public names, read by type checkers and, at run time, by nc_jax/report/__init__.py."""

import nc_jax.files

from .commands import (
    as_started as as_started,
    program as program,
    run_command as run_command,
)
from .classes_page import (
    diagnosis_page as diagnosis_page,
)
from .figures import (
    PALETTE as PALETTE,
    legend_outside as legend_outside,
    new_figure as new_figure,
    plain_ticks as plain_ticks,
    save_figure as save_figure,
)
from .tokens_page import (
    head_page as head_page,
)
from .options import (
    AboveOne as AboveOne,
    Bounds as Bounds,
    Count as Count,
    Distinct as Distinct,
    Interval as Interval,
    NonNegative as NonNegative,
    Positive as Positive,
    Several as Several,
    Share as Share,
    TwoOrMore as TwoOrMore,
    flag as flag,
    require_declared as require_declared,
    require_distinct as require_distinct,
    require_numbers as require_numbers,
    require_range as require_range,
    shown as shown,
)
from .page import (
    Page as Page,
    render_page as render_page,
)
from .progress import (
    map_in_threads as map_in_threads,
    map_with_bar as map_with_bar,
    points_bar as points_bar,
)
from .provenance import (
    write_provenance as write_provenance,
)
from .stores import (
    draw_store as draw_store,
    export_cells as export_cells,
    export_store as export_store,
    print_plan as print_plan,
    print_status as print_status,
)
from .tables import (
    markdown as markdown,
    print_table as print_table,
    read_table as read_table,
    write_report as write_report,
    write_summary as write_summary,
    write_table as write_table,
)
from .written import (
    write_diagnosis as write_diagnosis,
    write_head_diagnosis as write_head_diagnosis,
)

prepare_folder = nc_jax.files.prepare_folder
write_atomically = nc_jax.files.write_atomically
