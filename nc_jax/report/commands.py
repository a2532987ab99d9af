"""The command line of a study: presets, typed options, errors in one line."""

import sys
from collections.abc import Callable, Mapping
from typing import TypeVar

try:
    import tyro
except ImportError as error:
    raise ImportError(
        "nc_jax.report needs the packages of its extra: pip install 'nc-jax[studies]'"
    ) from error

Config = TypeVar("Config")


def run_command(presets: Mapping[str, Config], study: Callable[[Config], None], doc: str) -> None:
    """Parses the command line into a config, runs the study, exits.

    Args:
        presets: configs by name; the first is the default. ``--preset NAME``
            selects another; every field of a config is also an option.
        study: the function to run.
        doc: the study's docstring, shown by ``--help``.

    Exits with code 2 and one line on standard error for invalid input or a file that
    cannot be written, and with code 130 on Ctrl-C.
    """
    arguments = list(sys.argv[1:])
    name = _take_preset(arguments, presets)
    shown = (
        f"{doc.strip()}\n\nPresets (--preset NAME): {', '.join(presets)}. Options override presets."
    )
    config = tyro.cli(
        type(presets[name]),
        args=arguments,
        default=presets[name],
        description=shown,
        config=(tyro.conf.FlagConversionOff, tyro.conf.OmitSubcommandPrefixes),
    )
    try:
        study(config)
    except (ValueError, TypeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


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
