"""What to do about the imbalance: the recommended cures, in sentences and ready to use."""

from nc_jax.diagnosis.diagnosed import Diagnosis
from nc_jax.diagnosis.findings import Advice, Finding
from nc_jax.diagnosis.recommended import Recommended

TITLES = {
    "class-weights": "Weight the loss of each class",
    "logit-adjustment": "Adjust the logits by class frequency",
}
HOW = {
    "class-weights": (
        "Multiply the loss of every training sample by the weight of its class: the size of the "
        "largest class over its own, to the power s."
    ),
    "logit-adjustment": (
        "Add an offset for each class to the logits while training, and leave it out when "
        "predicting: τ times the logarithm of its size over that of the largest class."
    ),
}
VECTORS = {"class-weights": "class weights", "logit-adjustment": "logit offsets"}
SYMBOLS = {"class-weights": "s", "logit-adjustment": "τ"}
CODE = {
    "class-weights": "loss = torch.nn.functional.cross_entropy(\n"
    "    logits, labels, weight=torch.tensor(weights)\n)",
    "logit-adjustment": "loss = torch.nn.functional.cross_entropy(\n"
    "    logits + torch.tensor(offsets), labels\n)",
}


def cure_advice(diagnosis: Diagnosis) -> list[Advice]:
    """The cures with the numbers to use, the recommended one first."""
    by = "the Layer-Peeled Model" if diagnosis.settled is None else "the model of this weight decay"
    return [
        Advice(
            _rank(diagnosis, place),
            TITLES[cure.cure],
            f"{SYMBOLS[cure.cure]} = {cure.strength:.3g}",
            f"{HOW[cure.cure]} {_effect(cure, by)}",
            VECTORS[cure.cure],
            cure.parameters,
            CODE[cure.cure],
        )
        for place, cure in enumerate(diagnosis.cures)
    ]


def _rank(diagnosis: Diagnosis, place: int) -> str:
    if _is_sound(diagnosis):
        return "Optional"
    return "Recommended" if place == 0 else "Alternative"


def _is_troubled(diagnosis: Diagnosis) -> bool:
    """Whether classes have merged or vanished."""
    return bool(diagnosis.in_state("merged") or diagnosis.in_state("vanished"))


def _is_sound(diagnosis: Diagnosis) -> bool:
    """Whether all classes are apart, in the network and in the model."""
    model = diagnosis.model
    return model is not None and not (_is_troubled(diagnosis) or model.merged or model.vanished)


def _effect(cure: Recommended, by: str) -> str:
    symbol = SYMBOLS[cure.cure]
    text = (
        f"At {symbol} = {cure.strength:.3g} {by} comes closest to classes that are all equally "
        f"far apart: its distance from that ideal is {cure.distance:.3f} with this cure and "
        f"{cure.distance_before:.3f} without. "
    )
    if not cure.parts:
        return text + "It still merges classes there, so this cure alone is not sufficient."
    text += "All classes are apart there."
    if cure.least > 0:
        text += (
            f" The smallest strength that keeps all classes apart is {symbol} = {cure.least:.3g}."
        )
    return text


def advice_findings(diagnosis: Diagnosis) -> list[Finding]:
    """What to do, the recommended cure first."""
    lines = []
    troubled, model = _is_troubled(diagnosis), diagnosis.model
    if _is_sound(diagnosis):
        more = " A cure would make their distances more equal." if diagnosis.cures else ""
        lines.append(f"Nothing has to be done to keep the classes apart.{more}")
    for place, cure in enumerate(diagnosis.cures):
        first = _rank(diagnosis, place)
        title, symbol = TITLES[cure.cure], SYMBOLS[cure.cure]
        then = "all classes are apart" if cure.parts else "classes still merge"
        lines.append(
            f"{first}: {title[:1].lower()}{title[1:]}, with {symbol} = {cure.strength:.3g}. In the "
            f"model, {then} with this cure."
        )
    if model is not None and model.oversampling.max() > 1:
        lines.append(
            "You can also repeat samples: the model just keeps all classes apart if the samples of "
            f"the smallest class are shown {model.oversampling.max():.3g} times as often, and "
            "those of the other classes as in the column 'repeat' of the table."
        )
    if troubled and model is not None and not diagnosis.cures:
        lines.append("All classes are equally large, so no cure against imbalance applies.")
    if model is None:
        lines.append(
            "Save the weights of the last layer ('classifiers') with the features and run the "
            "diagnosis again: it can then recommend a cure and its strength."
        )
    elif troubled and diagnosis.cures:
        lines.append(
            "Train again with one of these cures, then run this diagnosis on the new features."
        )
    return [Finding("advice", "note", line) for line in lines]
