"""Nonsense from the page gets a sentence about its field, and nothing is solved."""

import contextlib
import http.client
import io
import json
import pickle
import zipfile

import numpy as np
import pytest

from nc_jax.explorer import uploads
from nc_jax.explorer.serve import main
from nc_jax.explorer.settings import MAX_CLASSES
from tests.explorer.serving import MAX_UPLOAD, VIEW, ask, fetch

BAD_FIELDS = [
    ("classes", ""),
    ("classes", "1"),
    ("classes", "0"),
    ("classes", "-3"),
    ("classes", "2.5"),
    ("classes", "nan"),
    ("classes", "inf"),
    ("classes", "many"),
    ("classes", "1e9"),
    ("classes", str(MAX_CLASSES + 1)),
    ("classes", "9" * 500),
    ("classes", True),
    ("classes", None),
    ("classes", ["10"]),
    ("classes", {"K": 10}),
    ("classes", "<script>alert(1)</script>"),
    ("majority", ""),
    ("majority", "0"),
    ("majority", "6"),
    ("majority", "7"),
    ("majority", "-1"),
    ("majority", "1.5"),
    ("majority", "two"),
    ("majority", "NaN"),
    ("largest", "0"),
    ("largest", "-5"),
    ("largest", "1e300"),
    ("ratio", ""),
    ("ratio", "0"),
    ("ratio", "0.5"),
    ("ratio", "-10"),
    ("ratio", "nan"),
    ("ratio", "1e400"),
    ("ratio", "10:1"),
    ("ratio", "1,000"),
    ("strength", ""),
    ("strength", "0"),
    ("strength", "-2"),
    ("strength", "nan"),
    ("strength", "Infinity"),
    ("strength", "1e9"),
    ("strength", "‮2"),
    ("ratio_low", "0"),
    ("ratio_high", "1"),
    ("ratio_high", "0.1"),
    ("strength_low", "0"),
    ("strength_high", "0.25"),
    ("strength_high", "0.1"),
    ("surrogate", "magic"),
    ("surrogate", None),
    ("surrogate", ["layer-peeled"]),
    ("loss", "hinge"),
    ("loss", 7),
    ("bias", "yes"),
    ("bias", True),
]
BAD_SIZES = [
    "",
    "5",
    "a b c",
    "5, -1",
    "5, 0, 3",
    "5 nan",
    "5 inf 3",
    "1e99 2",
    "5;;",
    "5/3 2",
    "1 " * 1001,
    " ".join(map(str, range(1, 302))),
]


@pytest.mark.parametrize(("field", "value"), BAD_FIELDS)
def test_a_bad_field_is_named(address, field, value):
    status, answer = ask(address, "/api/point", VIEW | {field: value})
    assert status == 422
    assert answer["field"] == field
    assert answer["error"].endswith(".")
    assert len(answer["error"]) < 200
    assert "Traceback" not in answer["error"]


@pytest.mark.parametrize("path", ["/api/map", "/api/code"])
def test_every_answer_checks_the_same_fields(address, path):
    status, answer = ask(address, path, VIEW | {"majority": "6"})
    assert (status, answer["field"]) == (422, "majority")


@pytest.mark.parametrize("text", [*BAD_SIZES, None, 5, [5, 3]])
def test_bad_class_sizes_are_named(address, text):
    for path in ("/api/sizes", "/api/code", "/api/path"):
        status, answer = ask(address, path, VIEW | {"sizes": text})
        assert (status, answer["field"]) == (422, "sizes")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_request_that_is_no_object_is_refused(address, body):
    status, answer = fetch(f"{address}/api/map", body)
    assert status == 422
    assert "JSON" in json.loads(answer)["error"]


def test_a_request_of_megabytes_is_refused(address):
    status, answer = fetch(f"{address}/api/map", b" " * 2**20)
    assert (status, json.loads(answer)["error"]) == (422, "The request is too large.")


def archive(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def pickled():
    """An archive whose features would run code when they are unpickled."""

    class Harmful:
        def __reduce__(self):
            return print, ("unpickled",)

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "|O", "fortran_order": False, "shape": (4, 3)}
        )
        archive.writestr("features.npy", header.getvalue() + pickle.dumps(Harmful()))
        archive.writestr("labels.npy", b"")
    return file.getvalue()


FEATURES, LABELS = np.arange(24.0).reshape(8, 3), np.arange(8) % 2
BAD_FILES = {
    "empty": b"",
    "a text": b"features = 1, 2, 3\n" * 10,
    "a pickle": pickle.dumps({"features": [1, 2]}),
    "a pickle in an archive": pickled(),
    "cut short": archive(features=FEATURES, labels=LABELS)[:400],
    "no labels": archive(features=FEATURES),
    "no features": archive(labels=LABELS),
    "objects": archive(features=FEATURES, labels=np.array([{}, []] * 4, object)),
    "NaN": archive(features=FEATURES * np.nan, labels=LABELS),
    "too few labels": archive(features=FEATURES, labels=LABELS[:5]),
    "one class": archive(features=FEATURES, labels=LABELS * 0),
    "labels between numbers": archive(features=FEATURES, labels=LABELS + 0.5),
    "features of one dimension": archive(features=FEATURES[:, 0], labels=LABELS),
    "a head without counts above zero": archive(classifiers=np.eye(3), counts=[0, 0, 0]),
    "a head of other counts": archive(classifiers=np.eye(3), counts=[1, 2]),
    "other classifiers": archive(features=FEATURES, labels=LABELS, classifiers=np.eye(3)),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_gets_a_sentence_and_is_deleted(address, name, tmp_path_factory):
    status, answer = fetch(f"{address}/api/diagnosis?name=mine.npz", BAD_FILES[name])
    found = json.loads(answer)
    assert (status, found["field"]) == (422, "file")
    assert found["error"].endswith(".")
    # The reader knows the file by its own name, not by where the server kept it.
    assert str(tmp_path_factory.getbasetemp()) not in found["error"]
    assert not list(tmp_path_factory.getbasetemp().glob("uploads*/*"))


@pytest.mark.parametrize("decay", ["0", "-1", "nan", "much", "1e9"])
def test_a_bad_weight_decay_is_named(address, decay, tmp_path_factory):
    body = archive(features=FEATURES, labels=LABELS)
    status, answer = fetch(f"{address}/api/diagnosis?weight_decay={decay}", body)
    found = json.loads(answer)
    assert (status, found["field"]) == (422, "weight_decay")
    assert "weight decay" in found["error"] and found["error"].endswith(".")
    assert not list(tmp_path_factory.getbasetemp().glob("uploads*/*"))


@pytest.mark.parametrize("declared", [True, False])
def test_an_oversize_upload_is_stopped(address, declared):
    with contextlib.closing(http.client.HTTPConnection(address.removeprefix("http://"))) as line:
        line.putrequest("POST", "/api/diagnosis")
        if declared:
            line.putheader("Content-Length", str(MAX_UPLOAD + 1))
        else:
            line.putheader("Transfer-Encoding", "chunked")
        line.endheaders()
        part = bytes(2**16)
        for _ in range(0 if declared else MAX_UPLOAD // 2**16 + 1):
            line.send(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        answer = line.getresponse()
        assert answer.status == 422
        assert "MiB" in json.loads(answer.read())["error"]


def test_the_page_knows_the_limit_of_uploads(address):
    assert f'data-limit="{uploads.MAX_UPLOAD}"'.encode() in fetch(address)[1]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "192.168.1.5", "127.0.0.1.evil"]
)
def test_a_foreign_host_is_refused(address, host):
    status, _ = fetch(address, headers={"Host": host})
    assert status == 400


def test_a_foreign_page_is_refused(address):
    headers = {"Origin": "http://evil.example"}
    status, _ = fetch(f"{address}/api/map", json.dumps(VIEW).encode(), headers)
    assert status == 403


@pytest.mark.parametrize(
    "path",
    ["/page/../app.py", "/page/%2e%2e/app.py", "/api", "/etc/passwd", "/reports/1", "/reports/"],
)
def test_nothing_but_the_page_is_served(address, path):
    assert fetch(address + path)[0] == 404


@pytest.mark.parametrize(
    "option", [["--port", "x"], ["--port", "-1"], ["--port", "70000"], ["--what"]]
)
def test_a_bad_option_gets_one_line(option, capsys):
    with pytest.raises(SystemExit) as ended:
        main(option)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
