"""A server of the explorer in a thread, and requests to it over a real socket."""

import contextlib
import json
import threading
import urllib.error
import urllib.request

import numpy as np
import uvicorn

from nc_jax.explorer.app import make_app
from nc_jax.explorer.programs import Programs
from nc_jax.explorer.serve import listen

MAX_UPLOAD = 2**18
# What the page asks with: fields as they were typed.
VIEW = {
    "surrogate": "layer-peeled",
    "loss": "cross-entropy",
    "bias": False,
    "classes": "6",
    "majority": "2",
    "largest": "500",
    "ratio_low": "1",
    "ratio_high": "1e4",
    "strength_low": "0.25",
    "strength_high": "4",
    "ratio": "30",
    "strength": "2",
}


@contextlib.contextmanager
def serving(folder):
    """Yields the address; the server ends with the context."""
    listening = listen(0)
    app = make_app(Programs(), folder, MAX_UPLOAD)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def fetch(address, body=None, headers=None):
    """Status and body of an answer, whatever the status."""
    request = urllib.request.Request(address, body, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def ask(address, path, given):
    """Status and JSON of an answer to a JSON request."""
    status, body = fetch(address + path, json.dumps(given).encode())
    return status, json.loads(body)


def frames_of(body):
    """(JSON, numbers) of each frame of a map."""
    frames = []
    while body:
        text, numbers = np.frombuffer(body[:8], "<u4")
        end = 8 + int(text) + int(numbers)
        planes = np.frombuffer(body[8 + int(text) : end], "<f4")
        frames.append((json.loads(body[8 : 8 + int(text)]), planes))
        body = body[end:]
    return frames
