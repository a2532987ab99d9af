"""Findings: the sentences say what the numbers are."""

import numpy as np

from nc_jax.diagnosis import by_part, cure_advice, findings, verdict
from nc_jax.diagnosis.findings import listed
from tests.diagnoses import made_diagnosis


def text_of(diagnosis):
    return "\n".join(one.text for one in findings(diagnosis))


def test_lists_read_like_sentences():
    assert listed(["a"]) == "a" and listed(["a", "b"]) == "a and b"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(list("abcde"), 2) == "a, b and 3 more"


def test_what_is_wrong_how_sure_and_what_to_do():
    made = made_diagnosis()
    said = verdict(made)
    assert said.level == "bad"
    assert said.text == "2 of 5 classes have merged with others and 1 more is close to merging."
    parts = by_part(findings(made))
    assert len(parts) == 4
    text = text_of(made)
    assert "classes “<script>alert(1)</script>” and “a|b*c*” point in almost the same" in text
    assert "R0 = 20. The ratio of your data is 150, which is 7.5 times as large." in text
    assert "Class sizes explain what was found" in text and "1 classes" not in text
    assert "with s = 1. In the model, all classes are apart with this cure." in text
    assert "with τ = 1.5. In the model, classes still merge with this cure." in text


def test_classes_that_the_model_keeps_apart_point_to_another_cause():
    made = made_diagnosis()
    cosines = np.where(np.eye(5) > 0, 1.0, -0.25)
    model = made.model._replace(merged=[], rank=4, cosines=cosines, collapse_ratio=np.inf)
    text = text_of(made._replace(model=model))
    assert "Class sizes do not explain why" in text and "wrong labels" in text
    assert "keeps all classes apart" in text and "No imbalance of this kind" in text


def test_without_a_prediction_the_reason_is_said():
    made = made_diagnosis(model=None, cures=[], has_classifiers=False)
    text = text_of(made)
    assert "--weight-energy" in text and "mean features of classes" in text
    assert "Recommended" not in text


def test_a_sound_network_gets_a_plain_yes():
    made = made_diagnosis()
    cosines = np.where(np.eye(5) > 0, 1.0, -0.25)
    seen = made.seen._replace(cosines=cosines, accuracy=np.ones(5))
    model = made.model._replace(merged=[], rank=4, cosines=cosines)
    changes = {"seen": seen, "model": model, "merged": [], "states": np.array(["apart"] * 5)}
    sound = made._replace(**changes)
    assert verdict(sound).level == "good" and sound.residual == 0
    assert "Nothing has to be done" in text_of(sound) and "Train again" not in text_of(sound)
    assert "is right for every sample" in text_of(sound)
    assert "Recommended" not in text_of(sound)
    assert {advice.rank for advice in cure_advice(sound)} == {"Optional"}
    assert [advice.rank for advice in cure_advice(made)] == ["Recommended", "Alternative"]
    assert verdict(sound._replace(model=made.model)).level == "warning"
