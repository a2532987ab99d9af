"""The diagnosis of features in one sentence, and all its findings."""

from nc_jax.diagnosis.advice import advice_findings
from nc_jax.diagnosis.class_findings import class_findings, unknown_findings
from nc_jax.diagnosis.diagnosed import Diagnosis
from nc_jax.diagnosis.findings import Finding, Verdict, sentence
from nc_jax.diagnosis.theory_findings import theory_findings


def verdict(diagnosis: Diagnosis) -> Verdict:
    """The report in one sentence."""
    size = f"{len(diagnosis.names):,} classes"
    merged, gone, near = map(diagnosis.in_state, ("merged", "vanished", "close"))
    said = []
    if merged:
        said.append(f"{len(merged):,} of {size} have merged with others")
    if gone:
        said.append(f"{len(gone):,} of {size} {'has' if len(gone) == 1 else 'have'} vanished")
    if near:
        first = f"{len(near):,} more" if said else f"{len(near):,} of {size}"
        said.append(f"{first} {'is' if len(near) == 1 else 'are'} close to merging")
    if said:
        return Verdict("bad" if merged or gone else "warning", sentence(" and ".join(said)) + ".")
    model = diagnosis.model
    if model is not None and (model.merged or model.vanished):
        text = f"All {size} are still apart, but theory expects that training longer merges some."
        return Verdict("warning", text)
    return Verdict("good", f"All {size} are apart: none has merged, vanished or come close to it.")


def findings(diagnosis: Diagnosis) -> list[Finding]:
    """All findings, in the order of the parts of a report."""
    return [
        *class_findings(diagnosis),
        *theory_findings(diagnosis),
        *advice_findings(diagnosis),
        *unknown_findings(diagnosis),
    ]
