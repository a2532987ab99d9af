"""Maps, points, code and reports are those of nc_jax itself."""

import io
import json
import math
import signal
import socket
import subprocess
import sys
import urllib.request

import numpy as np
import pytest

import nc_jax as nc
from nc_jax.explorer import maps
from nc_jax.explorer.maps import EXACT_CELLS
from nc_jax.explorer.paths import POINTS, exponents_of, path_of
from nc_jax.explorer.points import principal
from nc_jax.explorer.reports import KEPT, Reports
from nc_jax.explorer.serve import main
from nc_jax.explorer.settings import centres, map_of, parse_sizes
from nc_jax.explorer.thresholds import exact_curves, exact_ratios
from studies import diagnose
from tests.explorer.serving import VIEW, ask, fetch, frames_of

CELLS = EXACT_CELLS[-1]
UNCONSTRAINED = VIEW | {
    "surrogate": "unconstrained",
    "strength_low": "1e-4",
    "strength_high": "0.1",
    "strength": "0.003",
}


@pytest.fixture(scope="module")
def solved_map(address):
    """JSON, cosines and codes of the map of VIEW."""
    status, body = fetch(f"{address}/api/map", json.dumps(VIEW).encode())
    assert status == 200
    frames = frames_of(body)
    assert {about["kind"] for about, _ in frames[:-1]} <= {"compiling"}
    about, planes = frames[-1]
    return about, *planes.reshape(2, CELLS, CELLS)


def test_every_program_of_a_map_is_certified(solved_map):
    about, _, codes = solved_map
    assert about["solved"] == CELLS**2
    assert about["worst_gap"] < 1e-9
    assert about["unresolved"] == np.sum(codes == nc.Phase.UNRESOLVED) == 0


def test_a_map_agrees_with_solve_at_random_cells(solved_map):
    _, cosines, codes = solved_map
    ratios, budgets = centres(1, 1e4, CELLS), centres(0.25, 4, CELLS)
    for row, column in np.random.default_rng(0).integers(0, CELLS, (8, 2)):
        model = nc.LayerPeeled(nc.two_groups(2, 4, ratios[column]), budgets[row], budgets[row])
        solution = nc.solve(model)
        assert codes[row, column] == nc.phase_codes(solution)
        np.testing.assert_allclose(
            cosines[row, column], float(solution.within_cosines[1]), rtol=1e-6
        )


def test_the_curves_of_a_map_part_its_phases(solved_map):
    about, _, codes = solved_map
    ratios, budgets = centres(1, 1e4, CELLS), centres(0.25, 4, CELLS)
    collapse = np.asarray(about["curves"]["collapse"])
    order = np.argsort(collapse[:, 1])
    edges = np.interp(np.log10(budgets), collapse[order, 1], collapse[order, 0])
    for row in range(0, CELLS, 7):
        away = np.abs(np.log10(ratios) - edges[row]) > 0.05
        separated = np.log10(ratios) < edges[row]
        np.testing.assert_array_equal((codes[row] == 0)[away], separated[away])


def test_a_point_is_the_solution_of_solve(address):
    status, found = ask(address, "/api/point", VIEW)
    solution = nc.solve(nc.LayerPeeled(nc.two_groups(2, 4, 30.0), 2.0, 2.0))
    assert status == 200
    np.testing.assert_allclose(found["objective"], float(solution.objective), rtol=1e-12)
    np.testing.assert_allclose(found["gram"], solution.classifier_gram, atol=1e-12)
    assert found["phase"] == nc.phase(solution)
    assert found["membership"] == [0, 0, 1, 1, 1, 1]
    np.testing.assert_allclose(
        found["curve"]["collapse"], nc.theory.collapse_ratio(2, 4, 2.0), rtol=1e-12
    )


def test_numbers_that_do_not_exist_are_no_numbers(address):
    _, found = ask(address, "/api/point", VIEW | {"strength": "0.25", "ratio": "1e4"})
    assert found["phase"] == "vanished"
    assert found["groups"][1]["cosine"] is None
    assert found["curve"]["small"][-1] is None
    assert ask(address, "/api/point", VIEW)[1]["curve"]["vanish"] == "infinite"


def test_the_code_gives_the_numbers_of_the_view(address, solved_map, capsys):
    _, answer = ask(address, "/api/code", VIEW)
    names = {}
    exec(answer["code"], names)
    _, cosines, codes = solved_map
    phases = np.asarray([phase.name.lower() for phase in nc.Phase])[codes.astype(int)]
    np.testing.assert_array_equal(names["phases"], phases)
    np.testing.assert_allclose(names["minority_cosines"], cosines, rtol=1e-6)
    _, point = ask(address, "/api/point", VIEW)
    np.testing.assert_allclose(float(names["solution"].objective), point["objective"], rtol=1e-12)
    assert point["phase"] in capsys.readouterr().out


def test_class_sizes_are_solved_as_typed_and_so_is_their_code(address, capsys):
    view = VIEW | {"sizes": "500, 500\t120;\n 5 5,"}
    status, found = ask(address, "/api/sizes", view)
    solution = nc.solve(nc.LayerPeeled([500, 500, 120, 5, 5], 2.0, 2.0))
    assert status == 200
    np.testing.assert_allclose(found["objective"], float(solution.objective), rtol=1e-12)
    np.testing.assert_allclose(found["gram"], solution.classifier_gram, atol=1e-12)
    names = {}
    exec(ask(address, "/api/code", view)[1]["code"], names)
    np.testing.assert_array_equal(names["solution"].objective, solution.objective)
    _, path = ask(address, "/api/path", view)
    ratios = path["curve"]["ratio"]
    place = int(np.argmin(np.abs(np.log(ratios) - np.log(path["ratio"]))))
    np.testing.assert_allclose((ratios[place], path["ratio"]), 100)
    np.testing.assert_allclose(path["curve"]["large"], names["cosines"][:, 0, 0], atol=1e-9)
    np.testing.assert_allclose(path["curve"]["small"], names["cosines"][:, 2, 2], atol=1e-6)
    np.testing.assert_allclose(path["curve"]["large"][place], solution.within_cosines[0])
    assert len(ratios) == POINTS and ratios[0] == 1 and ratios[-1] > 999
    assert path["curve"]["worst_gap"] < 1e-10
    assert path["curve"]["collapse"] is None


def test_the_path_of_two_sizes_is_the_curve_of_the_map(address):
    view = VIEW | {"sizes": "300 300 10 10 10 10", "ratio_high": "1000"}
    _, path = ask(address, "/api/path", view)
    _, point = ask(address, "/api/point", view)
    for name in ("collapse", "vanish"):
        assert path["curve"][name] == point["curve"][name]
    for name in ("large", "small"):
        known = np.interp(
            np.log(path["curve"]["ratio"][:16]),
            np.log(point["curve"]["ratio"]),
            point["curve"][name],
        )
        np.testing.assert_allclose(path["curve"][name][:16], known, atol=1e-3)


def test_paths_that_cannot_be_drawn_say_why(address):
    _, equal = ask(address, "/api/path", VIEW | {"sizes": "5 5 5"})
    assert equal == {"reason": "All classes have the same size, so there is no imbalance to vary."}
    _, many = ask(address, "/api/path", VIEW | {"sizes": " ".join(map(str, range(1, 31)))})
    assert many == {"reason": "The curve is solved for at most 16 different sizes; these are 30."}


@pytest.mark.parametrize("sizes", [[7, 7, 3], [1e9, 1], [5, 4.99], [1e12, 5, 1e-6]], ids=str)
def test_a_path_begins_balanced_and_passes_through_the_sizes(sizes):
    values, counts = np.unique(sizes, return_counts=True)
    values, counts = values[::-1], counts[::-1]
    exponents = exponents_of(values)
    path = path_of(values, counts, exponents)
    assert (np.diff(exponents) > 0).all() and exponents[0] == 0
    np.testing.assert_allclose(path @ counts, sum(sizes))
    np.testing.assert_allclose(path[0], sum(sizes) / len(sizes))
    np.testing.assert_allclose(path[exponents == 1], [values])


def test_models_without_a_closed_form_come_coarse_first(address, monkeypatch):
    monkeypatch.setattr(maps, "ITERATIVE_CELLS", (4, 12, 24))
    status, body = fetch(f"{address}/api/map", json.dumps(UNCONSTRAINED).encode())
    seen, planes = zip(
        *((about, own) for about, own in frames_of(body) if about["kind"] == "map"), strict=True
    )
    assert status == 200
    assert [about["cells"] for about in seen] == [4, 12, 24]
    assert [about["last"] for about in seen] == [False, False, True]
    # The second map contains the first one, and solves only its other cells.
    assert [about["solved"] for about in seen] == [4**2, 12**2, 12**2 + 24**2]
    coarse, fine = planes[0].reshape(2, 4, 4), planes[1].reshape(2, 12, 12)
    np.testing.assert_array_equal(fine[:, 1::3, 1::3], coarse)
    assert seen[-1]["worst_gap"] < 1e-8
    settings = map_of(UNCONSTRAINED)
    np.testing.assert_allclose(centres(*settings.ratios, 12)[1::3], centres(*settings.ratios, 4))
    model = nc.UnconstrainedFeatures(
        nc.two_groups(2, 4, centres(1, 1e4, 12)[5], 500 / centres(1, 1e4, 12)[5]),
        *[centres(1e-4, 0.1, 12)[2]] * 2,
    )
    np.testing.assert_allclose(fine[0, 2, 5], nc.solve(model).within_cosines[1], atol=1e-5)


def test_unconstrained_thresholds_are_where_the_theory_says():
    settings = map_of(UNCONSTRAINED | {"classes": "10", "majority": "5"})
    collapse, vanish = exact_ratios(settings, 0.003)
    expected = nc.theory.unconstrained_collapse_ratio(5, 5, 500.0, 0.003)
    np.testing.assert_allclose(collapse, expected, rtol=1e-12)
    at = nc.theory.unconstrained_vanish_penalty(5, 5, 500.0, 500.0 / vanish)
    np.testing.assert_allclose(at, 0.003, rtol=1e-6)
    curve = exact_curves(settings).collapse
    ratio = np.interp(-0.003, -curve[:, 1], curve[:, 0])
    np.testing.assert_allclose(ratio, collapse, rtol=1e-2)
    assert exact_ratios(map_of(UNCONSTRAINED), 0.003)[1] == np.inf


def test_no_exact_threshold_is_claimed_for_other_losses():
    settings = map_of(VIEW | {"loss": "squared-error"})
    assert not len(exact_curves(settings).collapse)
    assert all(math.isnan(ratio) for ratio in exact_ratios(settings, 2.0))


def test_sizes_are_read_with_any_separators():
    assert parse_sizes("500, 300 120;60\n5") == (500, 300, 120, 60, 5)


def test_principal_coordinates_keep_the_lengths_of_few_classes():
    rows = np.random.default_rng(0).normal(size=(3, 7))
    coordinates, shares = principal(rows @ rows.T)
    np.testing.assert_allclose(coordinates @ coordinates.T, rows @ rows.T, atol=1e-12)
    np.testing.assert_allclose(shares.sum(), 1)


def archive(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def features():
    """Three equally large classes around the classifiers of a simplex ETF."""
    rng = np.random.default_rng(0)
    labels = np.repeat([3, 5, 7], 30)
    classifiers = 2 * np.asarray(nc.simplex_etf(3, 4))
    rows = classifiers[np.searchsorted([3, 5, 7], labels)]
    rows = rows + 0.1 * rng.normal(size=rows.shape)
    return {"features": rows, "labels": labels, "classifiers": classifiers}


def head():
    rows = np.random.default_rng(0).normal(size=(40, 8))
    return {"classifiers": rows, "counts": np.arange(40)[::-1] // 4}


def reported(address, body, name, decay=""):
    """Address and HTML of the report on a file."""
    status, answer = fetch(f"{address}/api/diagnosis?name={name}&weight_decay={decay}", body)
    assert status == 200
    report = address + json.loads(answer)["report"]
    return report, fetch(report)[1].decode()


@pytest.mark.parametrize(("kind", "decay"), [("features", ""), ("head", "0.01")])
def test_a_file_gets_the_report_of_the_study(address, kind, decay, tmp_path, tmp_path_factory):
    body = archive(**{"features": features, "head": head}[kind]())
    path = tmp_path / "mine.npz"
    path.write_bytes(body)
    _, html = reported(address, body, "mine.npz", decay)
    options = {"weight_decay": float(decay)} if decay else {}
    diagnose.main(diagnose.Config(path, out=tmp_path / "out", **options))
    assert html == (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert ("weight decay" in html.lower()) >= bool(decay)
    assert not list(tmp_path_factory.getbasetemp().glob("uploads*/*"))


def test_a_report_can_do_nothing_but_draw_itself(address):
    report, html = reported(address, archive(**features()), "%3Cb%3E.npz")
    assert "<h1>Diagnosis of &lt;b&gt;.npz</h1>" in html
    with urllib.request.urlopen(report) as answer:
        policy = answer.headers["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "img-src data:", "frame-ancestors 'self'"} <= set(policy)
    assert "sandbox allow-scripts allow-downloads" in policy


def test_only_the_last_reports_are_kept():
    kept = Reports()
    names = [kept.add(f"report {number}") for number in range(KEPT + 2)]
    assert len(set(names)) == len(names)
    assert [kept.answer(name).status_code for name in names] == [404] * 2 + [200] * KEPT
    assert kept.answer(names[-1]).body == f"report {KEPT + 1}".encode()


def test_the_page_is_whole_and_asks_nobody_else(address):
    status, page = fetch(address)
    assert status == 200
    assert b"http://" not in page and b"https://" not in page
    for name in ("main.js", "style.css", "theme.js", "icon.svg"):
        assert fetch(f"{address}/page/{name}")[0] == 200


def test_the_command_serves_this_machine_alone_and_ends_quietly():
    command = [sys.executable, "-m", "nc_jax.explorer", "--no-browser"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout
        line = process.stdout.readline()
        port = int(line.split("127.0.0.1:")[1].split("/")[0])
        assert fetch(f"http://127.0.0.1:{port}/")[0] == 200
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert errors == ""


def test_a_port_in_use_gets_one_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(SystemExit) as ended:
            main(["--port", port, "--no-browser"])
    assert ended.value.code == 2
    assert port in capsys.readouterr().err
