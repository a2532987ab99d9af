"""Every number of a diagnosis, with one line that explains it."""

from typing import NamedTuple

import numpy as np

from nc_jax.diagnosis.diagnosed import Diagnosis
from nc_jax.diagnosis.head import HeadMeasured
from nc_jax.diagnosis.head_predicted import HeadPredicted
from nc_jax.diagnosis.predicted import Predicted


class Measure(NamedTuple):
    """One number.

    Attributes:
        name: its name in the package.
        value: NaN if it does not exist.
        ideal: its value in full neural collapse; empty if there is none.
        meaning: one line that explains it.
    """

    name: str
    value: float
    ideal: str
    meaning: str


# Name, value in full neural collapse, meaning.
COLLAPSE = (
    (
        "nc1_pinv",
        "0",
        "NC1: spread of the features within a class against the distances between class means, "
        "tr(Σ_W Σ_B⁺)/K. The smaller, the tighter the classes.",
    ),
    (
        "nc1_quotient",
        "0",
        "NC1 as a plain ratio: total spread within classes over the spread of the class means.",
    ),
    (
        "nc1_cdnv",
        "0",
        "NC1 pair by pair: spread within two classes over the squared distance of their means, "
        "averaged over all pairs.",
    ),
    (
        "separation",
        "0",
        "K times nc1_pinv, the data separation of a layer. It can be compared between layers.",
    ),
    (
        "nc2_etf",
        "0",
        "NC2: distance of the class means from a simplex ETF, in which all are equally long and "
        "equally far apart. It is at most 1.41.",
    ),
    (
        "nc2_equinorm",
        "0",
        "NC2, lengths only: standard deviation of the lengths of the class means over their mean.",
    ),
    (
        "nc2_equiangularity",
        "0",
        "NC2, angles only: mean distance of the cosines between class means from −1/(K−1), the "
        "value of classes equally far apart.",
    ),
    (
        "nc2_etf_classifiers",
        "0",
        "NC2 of the weight vectors of the last layer instead of the class means.",
    ),
    (
        "nc3_product",
        "0",
        "NC3: whether weight vectors and class means agree, as the distance of their products "
        "from a simplex ETF.",
    ),
    (
        "nc3_difference",
        "0",
        "NC3: distance between weight vectors and class means once both are scaled to length one.",
    ),
    (
        "nc4",
        "0",
        "NC4: share of the samples on which the last layer and the nearest class mean choose "
        "different classes.",
    ),
)


def measures(diagnosis: Diagnosis) -> list[Measure]:
    """Neural collapse, budgets, and how well the model describes the network."""
    seen, model = diagnosis.seen, diagnosis.model
    found = [Measure(name, seen.collapse[name], ideal, text) for name, ideal, text in COLLAPSE]
    budget = float(np.sqrt(seen.weight_energy * seen.feature_energy))
    found += [
        Measure(
            "E_W",
            seen.weight_energy,
            "",
            "Budget of the weights: mean squared length of the weight vectors of the classes.",
        ),
        Measure(
            "E_H",
            seen.feature_energy,
            "",
            "Budget of the features: mean over classes of the squared distance of their features "
            "from the centre of all class means.",
        ),
        Measure(
            "E",
            budget,
            "",
            "√(E_W E_H), the only combination of the budgets on which the angles of the model "
            "depend. The smaller it is, the earlier small classes merge.",
        ),
    ]
    return found if model is None else found + _of_model(diagnosis, model)


def _of_model(diagnosis: Diagnosis, model: Predicted) -> list[Measure]:
    return [
        Measure(
            "ratio",
            model.ratio,
            "",
            "Imbalance: number of samples of the largest class over that of the smallest, after "
            "similar class sizes were made equal.",
        ),
        Measure(
            "R0",
            model.collapse_ratio,
            "",
            "Imbalance ratio at which the model begins to merge the smallest classes at these "
            "budgets.",
        ),
        Measure(
            "residual",
            diagnosis.residual,
            "",
            "Mean difference between measured and predicted cosines over all pairs of classes: "
            "how well the model describes this network (0: exactly).",
        ),
        Measure(
            "gap",
            model.gap,
            "",
            "Proved bound on how far the loss of the model's solution is from the minimum: the "
            "certificate that the prediction is solved, not guessed.",
        ),
    ]


def head_measures(seen: HeadMeasured, model: HeadPredicted | None) -> list[Measure]:
    """Lengths and budgets of a head, and the certificate of its prediction."""
    found = [
        Measure("E_W", seen.weight_energy, "", "Mean squared length of all rows."),
        Measure(
            "E_W of the tokens that occur",
            seen.seen_energy,
            "",
            "The same over the rows of tokens that occur in the text; the models use this one.",
        ),
        Measure(
            "length of the longest row", seen.longest, "", "The unit of all lengths of this report."
        ),
        Measure(
            "share of E_W in the mean row",
            seen.offset_share,
            "",
            "How much of the rows is common to all tokens. A softmax does not see that part, but "
            "it raises all cosines.",
        ),
    ]
    if model is not None:
        text = "Proved bound on how far the objective of the model's solution is from the optimum."
        found.append(Measure("gap", model.gap, "0", text))
    return found
