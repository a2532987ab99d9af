"""The subcommands of ``nc-jax``, and what happens to wrong ones."""

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Iterable

import nc_jax
from nc_jax.command.studies import describe_studies, find_studies, run_study
from nc_jax.interruption import ends_when_interrupted


def study(arguments: list[str]) -> None:
    """Runs the study that the first argument names; without one lists all."""
    studies = find_studies()
    if not arguments or arguments[0] in ("-h", "--help"):
        print(describe_studies(studies))
        return
    name, *options = arguments
    if name.startswith("-"):
        refuse(f"the name of the study comes before {name}: nc-jax study NAME [OPTIONS]")
    if name not in studies:
        refuse(f"{unknown('study', name, studies)} ('nc-jax study' lists all)")
    run_study(studies[name], options, f"nc-jax study {name}")


def diagnose(arguments: list[str]) -> None:
    """Runs the study of one's own features."""
    run_study(find_studies()["diagnose"], arguments, "nc-jax diagnose")


def sweep(arguments: list[str]) -> None:
    """Runs the study that a TOML file describes."""
    run_study(find_studies()["sweep"], arguments, "nc-jax sweep")


def explore(arguments: list[str]) -> None:
    """Serves the interactive page."""
    importlib.import_module("nc_jax.explorer.serve").main(arguments)


# By name: what runs, the extra that it needs, and a line for --help.
COMMANDS: dict[str, tuple[Callable[[list[str]], None], str, str]] = {
    "study": (study, "studies", "run a study by its name; without a name, list all studies"),
    "diagnose": (diagnose, "studies", "compare the last layer of your network with the theory"),
    "sweep": (sweep, "studies", "solve the grid of models that a TOML file describes"),
    "explore": (explore, "explore", "open an interactive phase diagram in the browser"),
}
HELP = """\
usage: nc-jax COMMAND [OPTIONS]

nc_jax predicts the geometry of a network's last layers under class imbalance.

commands:
{commands}

options:
  -h, --help   show this help; 'nc-jax COMMAND --help' shows that of a command
  --version    show the version"""


def main() -> None:
    """Entry point of the console command: runs the subcommand that ``sys.argv`` names.

    Exits with 2 and one sentence on standard error for a wrong name or a missing extra,
    with 130 on Ctrl-C, else as the subcommand does.
    """
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        lines = [f"  {name:12} {line}" for name, (_, _, line) in COMMANDS.items()]
        print(HELP.format(commands="\n".join(lines)))
        return
    if arguments[0] == "--version":
        print(f"nc-jax {nc_jax.__version__}")
        return
    name, *rest = arguments
    if name not in COMMANDS:
        refuse(f"{unknown('command', name, COMMANDS)} ('nc-jax --help' lists all)")
    command, extra, _ = COMMANDS[name]
    try:
        with ends_when_interrupted():
            command(rest)
    except ImportError as error:
        # A name that is missing in nc_jax itself is a fault, and no missing package.
        if (error.name or "").startswith("nc_jax"):
            raise
        refuse(
            f"nc-jax {name} needs the packages of the extra '{extra}' ({error}): "
            f"pip install 'nc-jax[{extra}]'"
        )
    except BrokenPipeError:
        # The reader, for instance `head`, has seen enough; nothing is left to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """A sentence on a wrong name, with the known names that are close to it."""
    close = difflib.get_close_matches(name, known, cutoff=0.5)
    hint = f"; the closest name is {' or '.join(close)}" if close else ""
    return f"there is no {kind} {name!r}{hint}"


def refuse(reason: str) -> None:
    """Exits with 2 and the reason on standard error."""
    print(f"error: {reason}", file=sys.stderr)
    sys.exit(2)
