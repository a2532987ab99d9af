"""Starts the explorer on this machine and opens it in a browser."""

import argparse
import os
import socket
import sys
import tempfile
import threading
import webbrowser
from pathlib import Path

import jax

from nc_jax.compilation import HELP, OPTION, keep_compiled_programs
from nc_jax.explorer.app import make_app
from nc_jax.explorer.programs import Programs
from nc_jax.explorer.settings import Family

try:
    import uvicorn
except ImportError as error:
    raise ImportError(
        "nc_jax.explorer needs the packages of its extra: pip install 'nc-jax[explore]'"
    ) from error

# Only this machine may connect: uploaded files and processor time belong to its user.
HOST = "127.0.0.1"
# The model that the page shows first.
FIRST = Family("layer-peeled", "cross-entropy", False)


def main(argv: list[str]) -> None:
    """Serves the page until Ctrl-C.

    Args:
        argv: the options, without the command's name.

    Exits with 2 and one line on standard error for a bad option or a port in use.
    """
    options = _parse(argv)
    try:
        listening = listen(options.port)
    except OSError as error:
        sys.exit(_failed(f"--port {options.port} cannot be used: {error.strerror or error}"))
    if not options.no_compilation_cache:
        keep_compiled_programs()
    jax.config.update("jax_enable_x64", True)
    programs = Programs()
    # The page opens while the first program is compiled.
    threading.Thread(target=programs.of(FIRST).compile, daemon=True).start()
    address = f"http://{HOST}:{listening.getsockname()[1]}/"
    print(f"The explorer is at {address} (press Ctrl-C to stop it).", flush=True)
    if not options.no_browser:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="nc-jax-") as folder:
        config = uvicorn.Config(
            make_app(programs, Path(folder)),
            log_level="critical",
            timeout_graceful_shutdown=1,
            server_header=False,
        )
        try:
            uvicorn.Server(config).run(sockets=[listening])
        except KeyboardInterrupt:
            pass
    # There is no other way to stop a running compilation, whose result is no longer needed.
    sys.stdout.flush()
    os._exit(0)


def listen(port: int) -> socket.socket:
    """A socket that only this machine can reach, at the given port; 0 selects a free port.

    Raises:
        OSError: the port is in use or not allowed.
    """
    return socket.create_server((HOST, port))


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = _Parser(prog="nc-jax explore", description=__doc__)
    parser.add_argument(
        "--port",
        type=_port,
        default=0,
        help="port to listen on; 0, the default, selects a free one",
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    parser.add_argument(OPTION, action="store_true", help=HELP)
    return parser.parse_args(argv)


def _port(text: str) -> int:
    """A port number from 0 to 65535."""
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 65535, got {text!r}")
    return int(text)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        """One line, without the usage."""
        sys.exit(_failed(message))


def _failed(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return 2
