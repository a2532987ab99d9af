"""A study: from a question and its options to tables, figures and their provenance.

A study is one file: a frozen config, ``check`` of its options, ``run`` from the config to tables,
and ``draw`` from the stored tables to figures. All else is the same for every study and is done
here: the command line, the folder, the files, what the terminal shows, and the resumption after
an interruption.

There is one way from a question to a table. A :class:`nc_jax.sweeps.Grid` holds the points; a
function of their columns, made by :func:`nc_jax.experiments.solved` from a surrogate and outputs
or by :class:`nc_jax.experiments.Experiment` from their names, computes rows; and :func:`swept`
evaluates it on all points. Programs that no batch can hold, because each has a shape of its own,
are computed by :func:`computed`. Networks are trained by :func:`nc_jax.campaigns.train_networks`.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import pandas as pd

from nc_jax import report
from nc_jax.solvers import Phase, Status
from nc_jax.sweeps import Block, Build, forget, tabulate, use_every_core

# The folder of the points that are already computed, below that of the results.
PARTS = "parts"


@dataclasses.dataclass(frozen=True)
class Results:
    """What a study found.

    Attributes:
        tables: all rows, for ``NAME.parquet``; figures are drawn from them alone.
        summaries: tables for readers, for ``NAME.csv`` and ``NAME.md``.
        shown: what the terminal shows: tables with their titles, and lines of text.
        count: how much was computed, as in '12 runs', for the last line.
        data: digests of the data sets by name, for the provenance.
    """

    tables: Mapping[str, pd.DataFrame]
    summaries: Mapping[str, pd.DataFrame]
    shown: Sequence[tuple[str, pd.DataFrame] | str] = ()
    count: str = ""
    data: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Study:
    """A question, answered by tables and figures.

    Attributes:
        presets: configs by name, the default first; each has ``out``, the folder of the
            results, and may have ``dtype``, 'float64' or 'float32'.
        check: raises ValueError that names an invalid option, before anything is computed and
            after :func:`nc_jax.report.require_declared`, which checks each option alone.
        run: computes the results of a config.
        draw: makes figures by name from the config and the stored tables.
        every_core: whether JAX gets a device for every core, see
            :func:`nc_jax.sweeps.use_every_core`; not for a study with threads of its own.
    """

    presets: Mapping[str, Any]
    check: Callable[[Any], None]
    run: Callable[[Any], Results]
    draw: Callable[[Any, Mapping[str, pd.DataFrame]], Mapping[str, Any]]
    every_core: bool = True

    def command(self, doc: str | None) -> None:
        """Reads a config from the command line, answers the question, exits.

        Args:
            doc: the docstring of the study's file, shown by ``--help``.
        """
        report.run_command(self.presets, self.answer, doc or "")

    def require(self, config: Any) -> None:
        """Checks the options, first each alone and then together.

        Raises:
            ValueError: naming the invalid option.
        """
        report.require_declared(config)
        self.check(config)

    def answer(self, config: Any) -> None:
        """Computes, stores the tables, and draws the figures from the stored tables.

        Raises:
            ValueError: naming the invalid option.
            OSError: the folder of the results cannot be written.
        """
        start = time.perf_counter()
        self.require(config)
        report.prepare_folder(config.out)
        use_every_core(self.every_core)
        jax.config.update("jax_enable_x64", getattr(config, "dtype", "float64") == "float64")
        found = self.run(config)
        for name, table in found.tables.items():
            report.write_table(table, config.out, name)
        for name, summary in found.summaries.items():
            report.write_summary(summary, config.out, name)
        stored = {name: report.read_table(config.out, name) for name in found.tables}
        for name, figure in self.draw(config, stored).items():
            report.save_figure(figure, config.out, name)
        seconds = time.perf_counter() - start
        report.write_provenance(config.out, config, seconds, found.data)
        forget(config.out / PARTS)
        for item in found.shown:
            if isinstance(item, str):
                print(item)
            else:
                report.print_table(item[1], item[0])
        count = f"{found.count}, " if found.count else ""
        print(f"{count}{seconds:.1f} s; results in {config.out}/")


def swept(
    config: Any, build: Build, blocks: Sequence[Block], name: str = "", bar: bool = True
) -> pd.DataFrame:
    """All points of some blocks with the outputs of a function, one row for each.

    What an interrupted study has computed is reused at its next start with the same options and
    the same code, until the results are stored.

    Args:
        config: the options of the study, with ``out`` and, if starts are random, ``seed``.
        build: makes the function of a block from its choices, see
            :func:`nc_jax.experiments.solved`.
        blocks: the points.
        name: tells the tables of a study apart.
        bar: whether a progress bar is shown.

    Raises:
        ValueError: the function raised, or is not defined in a file.
    """
    settings = str(dataclasses.replace(config, out=Path()))
    seed = getattr(config, "seed", 0)
    work = build, blocks, config.out / PARTS / name, settings, seed
    if not bar:
        return tabulate(*work)
    with report.points_bar(sum(len(block.grid) for block in blocks)) as progress:
        return tabulate(*work, progress)


def computed(
    tasks: Mapping[str, Sequence[Callable[[], list[dict[str, Any]]]]],
) -> dict[str, pd.DataFrame]:
    """Tables of parts whose programs are all different, so that none can be a batch.

    Each task compiles and runs its small programs on one core. The tasks of the last part are
    started first: it should be the one with the longest tasks, so that no core is idle at the end.

    Args:
        tasks: by part; each task computes rows.

    Returns:
        A DataFrame for each part, with the rows in the order of the tasks.
    """
    started = [(part, task) for part in reversed(list(tasks)) for task in tasks[part]]
    found = report.map_in_threads(lambda item: item[1](), started, "programs")
    rows: dict[str, list[dict[str, Any]]] = {part: [] for part in tasks}
    for (part, _), own in zip(started, found, strict=True):
        rows[part] += own
    return {part: pd.DataFrame(own) for part, own in rows.items()}


def with_names(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the names of statuses and phases in place of their codes."""
    named = table.copy()
    for column, codes in (("phase", Phase), ("status", Status)):
        if column in named:
            named[column] = [codes(code).name.lower() for code in named[column]]
    return named
