"""The page: whole HTML, nothing from the network, names escaped, the numbers of the table."""

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from nc_jax import report
from nc_jax.diagnosis import measures
from nc_jax.report.classes_page import path_chart
from nc_jax.report.page import heat_map
from nc_jax.report.page.heat import averaged, cell_starts
from nc_jax.report.page.writing import script_data
from tests.diagnoses import NAMES, made_diagnosis

VOID = {"meta", "link", "input", "br", "img", "hr"}


class Tags(HTMLParser):
    """Open elements, which have to close in order, texts, and attributes."""

    def __init__(self):
        super().__init__()
        self.open, self.texts, self.attributes, self.seen = [], {}, [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, text):
        tag, attributes = self.open[-1] if self.open else ("", {})
        key = attributes.get("id", tag)
        self.texts[key] = self.texts.get(key, "") + text


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    made = made_diagnosis()
    report.write_diagnosis(folder, made, report.diagnosis_page("<b>.npz", made))
    return folder


def parsed(path):
    tags = Tags()
    tags.feed(path.read_text(encoding="utf-8"))
    tags.close()
    return tags, json.loads(tags.texts["data"])


def test_elements_close_and_nothing_comes_from_the_network(folder):
    tags, _ = parsed(folder / "report.html")
    assert not tags.open
    sources = [value for name, value in tags.attributes if name in {"src", "href", "action"}]
    assert sources == ["data:,"]
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\"' ]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xhtml",
    }
    assert "@import" not in text and "url(" not in text and "default-src 'none'" in text


def test_names_are_escaped_everywhere(folder):
    tags, data = parsed(folder / "report.html")
    assert tags.seen.count("script") == 2 and "b" not in tags.seen
    assert any("<script>alert(1)</script>" in text for text in (tags.texts["li"],))
    assert [row[0] for row in data["table"]["rows"]] == NAMES[::-1]
    assert "</" not in script_data({"name": "</script><!--\u2028"})
    lines = (folder / "report.md").read_text(encoding="utf-8")
    assert r"“\<script\>alert(1)\</script\>” and “a\|b\*c\*”" in lines
    assert r"| &lt;script>alert(1)&lt;/script> |" in lines


def test_numbers_are_those_of_the_table(folder):
    tags, data = parsed(folder / "report.html")
    made, table = made_diagnosis(), pd.read_csv(folder / "classes.csv")
    columns = [column["name"] for column in data["table"]["columns"]]
    assert columns == list(table.columns)
    page = pd.DataFrame(data["table"]["rows"], columns=columns)
    for name in columns:
        if page[name].dtype.kind == "f":
            np.testing.assert_allclose(page[name], table[name], rtol=1e-5, err_msg=name)
        else:
            assert page[name].tolist() == table[name].tolist()
    assert page["its cosine"].tolist() == [0.876, 0.9725, 0.9725, -0.25, -0.25]
    assert data["charts"][0]["series"][0]["points"] == made.model.path.tolist()
    assert [mark["x"] for mark in data["charts"][0]["marks"]] == [150, 20]
    assert tags.texts["vector-1"] == "[1, 1.5, 75, 100, 150]"
    for measure in measures(made):
        assert measure.meaning in tags.texts["td"]


def decoded(text, size):
    whole = np.frombuffer(base64.b64decode(text), "<i2").astype(float)
    matrix = np.zeros((size, size))
    matrix[np.triu_indices(size)] = np.where(whole == -32768, np.nan, whole / 1000)
    return matrix


def test_heat_maps_hold_the_cosines_in_each_order(folder):
    _, data = parsed(folder / "report.html")
    cosines = made_diagnosis().seen.cosines
    for place, order in enumerate(data["heat"]["orders"]):
        matrix = decoded(data["heat"]["panels"][0]["matrices"][place], 5)
        wanted = np.triu(cosines[np.ix_(order["rows"], order["rows"])])
        np.testing.assert_allclose(matrix, wanted, atol=5.1e-4)
    similar = data["heat"]["orders"][1]["rows"]
    assert sorted(map(similar.index, (2, 3, 4))) in ([0, 1, 2], [2, 3, 4])


def test_a_curve_without_cosines_says_from_where_on():
    model = made_diagnosis().model
    path = np.array([[1.0, -0.2], [2.0, 0.5], [4.0, np.nan], [8.0, np.nan]])
    ends = path_chart(made_diagnosis().seen, model._replace(path=path)).text
    assert "The curve ends at a ratio of 4: from there on" in ends
    path[3, 1] = 1.0
    breaks = path_chart(made_diagnosis().seen, model._replace(path=path)).text
    assert "Where the curve is interrupted" in breaks
    assert "zero" not in path_chart(made_diagnosis().seen, model._replace(path=path[:2])).text


def test_many_classes_are_averaged(monkeypatch):
    monkeypatch.setattr("nc_jax.report.page.heat.CELLS", 3)
    rng = np.random.default_rng(0)
    cosines = np.corrcoef(rng.normal(size=(8, 5)))
    cosines[5] = cosines[:, 5] = np.nan
    starts = cell_starts(8)
    means = averaged(cosines, starts)
    ends = [*starts[1:], 8]
    for i, own in enumerate(map(range, starts, ends)):
        for j, other in enumerate(map(range, starts, ends)):
            pairs = [cosines[a, b] for a in own for b in other if a != b]
            np.testing.assert_allclose(means[i, j], np.nanmean(pairs))
    texts = [str(k) for k in range(8)]
    heat = heat_map("", "", texts, texts, np.arange(8), {"measured": cosines})
    assert "too many to draw one by one" in heat.text and len(heat.orders[0]["starts"]) == 3
    assert heat.orders[0]["rows"] == list(range(8))[::-1]


def test_a_thousand_classes_stay_small(tmp_path):
    made = made_diagnosis()
    size = 1000
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(size, 20))
    cosines = np.corrcoef(rows)
    seen = made.seen._replace(
        counts=np.arange(1, size + 1),
        cosines=cosines,
        norms=np.ones(size),
        mean_norms=np.ones(size),
        accuracy=np.ones(size),
    )
    model = made.model._replace(cosines=cosines, oversampling=np.ones(size), merged=[])
    many = made._replace(
        names=np.array([f"class {k}" for k in range(size)]),
        seen=seen,
        model=model,
        cures=[],
        merged=[],
        states=np.array(["apart"] * size),
        nearest=np.zeros(size, int),
        nearest_cosines=np.zeros(size),
    )
    report.write_diagnosis(tmp_path, many, report.diagnosis_page("features.npz", many))
    assert (tmp_path / "report.html").stat().st_size < 1_000_000
    _, data = parsed(tmp_path / "report.html")
    assert len(data["table"]["rows"]) == size and "too many" in data["heat"]["text"]
