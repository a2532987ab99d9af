"""The command line of a study: presets, typed options, errors in one line."""

import contextlib
import contextvars
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from nc_jax.compilation import HELP, OPTION, keep_compiled_programs
from nc_jax.files import FolderError
from nc_jax.interruption import ends_when_interrupted

try:
    import tyro
except ImportError as error:
    raise ImportError(
        "nc_jax.report needs the packages of its extra: pip install 'nc-jax[studies]'"
    ) from error

Config = TypeVar("Config")
# The console command that runs a study, as in "nc-jax study sweep"; empty for a script.
COMMAND: contextvars.ContextVar[str] = contextvars.ContextVar("command", default="")


def run_command(
    presets: Mapping[str, Config],
    study: Callable[[Config], int | None],
    doc: str,
    keep_programs: bool = True,
) -> None:
    """Parses the command line into a config and runs the study.

    Args:
        presets: configs by name; the first is the default. ``--preset NAME``
            selects another; every field of a config is also an option.
        study: the function to run; an exit code that it returns is passed on, if not zero.
        doc: the study's docstring, shown by ``--help``.
        keep_programs: whether compiled programs are kept on disk for the next start, which
            ``--no-compilation-cache`` turns off; a benchmark compiles anew.

    Exits with code 2 and one line on standard error for invalid input, a file that
    cannot be written or too little memory, and with code 130 on Ctrl-C.
    """
    arguments = list(sys.argv[1:])
    name = _take_preset(arguments, presets)
    description = as_started(doc.strip())
    if len(presets) > 1:
        listed = ", ".join(presets)
        description += f"\n\nPresets (--preset NAME): {listed}. Options override presets."
    if keep_programs:
        description += f"\n\n{HELP}"
        keep_programs = OPTION not in arguments
        arguments = [argument for argument in arguments if argument != OPTION]
    config = tyro.cli(
        type(presets[name]),
        args=arguments,
        default=presets[name],
        prog=program(),
        description=description,
        config=(tyro.conf.FlagConversionOff, tyro.conf.OmitSubcommandPrefixes),
    )
    if keep_programs:
        keep_compiled_programs()
    try:
        with ends_when_interrupted():
            code = study(config)
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        option = "--out: " if isinstance(error, FolderError) and hasattr(config, "out") else ""
        print(f"error: {option}{error or 'there is not enough memory'}", file=sys.stderr)
        sys.exit(2)
    if code:
        sys.exit(code)


@contextlib.contextmanager
def started_as(command: str) -> Iterator[None]:
    """Within this context, a study names the given console command as its own."""
    token = COMMAND.set(command)
    try:
        yield
    finally:
        COMMAND.reset(token)


def program() -> str:
    """The command that started this study, without its options.

    ``python studies/NAME.py`` for a script, or what ``started_as`` was given.
    """
    script = Path(sys.argv[0])
    folder = f"{script.parent.name}/" if script.parent.name else ""
    return COMMAND.get() or f"python {folder}{script.name}"


def as_started(doc: str) -> str:
    """A docstring whose examples start the study in the way in which it was started."""
    return doc.replace(f"python studies/{Path(sys.argv[0]).name}", program())


def _take_preset(arguments: list[str], presets: Mapping[str, Config]) -> str:
    """Removes ``--preset NAME`` or ``--preset=NAME`` and returns the name."""
    for position, argument in enumerate(arguments):
        flag, equals, name = argument.partition("=")
        if flag != "--preset":
            continue
        del arguments[position]
        if not equals:
            name = arguments.pop(position) if position < len(arguments) else ""
        if name not in presets:
            print(f"error: --preset must be one of {', '.join(presets)}", file=sys.stderr)
            sys.exit(2)
        return name
    return next(iter(presets))
