"""The model card of an expression classifier: what it was trained on, how good it is, what it must not be used for."""

from typing import Any

from training.expression_classifier import ExpressionConfig
from training.expression_options import ExpressionOptions

_PROTOTYPES = """\
**No person's face was used for the labels.** The samples are synthetic coefficients drawn around FACS prototypes
(EMFACS, and Du, Tao and Martinez, PNAS 2014), through the face model's ARKit map, with random intensity, asymmetry,
speech, blinks and noise. The numbers below say how well these prototypes can be told apart. They do **not** say how
well faces of persons are read; on posed or spontaneous faces expect far less. Train with `--labels` on data that
you may use before you rely on the class."""

_LABELS = """\
The samples are labelled by people who looked at pictures: the classes are *perceived* expressions, with the
labellers' disagreements and biases in them. Images in which no face was found: {images_without_face} (left out of
the numbers below). Folds grouped by subject: {grouped}."""

_USE = """\
## Use

The class names the expression that a face shows in one frame. It does not tell what the person feels, thinks or
intends: the link from a face to a feeling is weak and differs between people, cultures and situations.

Do not use it

- to infer emotions of natural persons at a workplace or in education: prohibited in the European Union since
  2 February 2025 (Regulation (EU) 2024/1689, Article 5(1)(f)), but for medical or safety reasons;
- to decide about a person: hiring, credit, insurance, border control, policing, school, custody;
- to judge truthfulness, pain, intoxication or mental health;
- on people who were not told: where its use is lawful, Article 50(3) asks that those exposed be informed, and
  emotion recognition is otherwise a high-risk system (Annex III);
- on children.

Errors differ between groups of people, because the face model's prior, the landmark network and the labels do.
Measure it on the people that you mean to use it with."""


def expression_card(config: ExpressionConfig, metrics: dict[str, Any], options: ExpressionOptions) -> str:
    """The card as Markdown."""
    about = _PROTOTYPES if config.trained_on == "prototypes" else _LABELS.format(
        images_without_face=metrics["images_without_face"],
        grouped="yes" if metrics["folds_grouped_by_subject"] else "no (the file names no subjects)",
    )
    lines = [
        "# Expression classifier",
        f"""
Reads {config.n_expression} expression coefficients of the face model `{config.face_model}`
(sha256 `{config.face_model_sha256}`), as DeepExp3D or the fit gives them, and gives the probability of each of
{len(config.classes)} classes: {', '.join(config.classes)}.

Error-correcting output codes over support vector machines with one-versus-all coding (Koujan et al., FG 2020);
RBF kernel on standardised coefficients, balanced class weights, C = {options.penalty:g}; probabilities by temperature
scaling on held-out folds.

## Trained on: {config.trained_on}

{about}

## Cross-validation, {metrics['folds']} folds, {metrics['samples']} samples

- accuracy {_spread(metrics, 'accuracy')} (mean and standard deviation over the folds); of always saying the most
  frequent class {metrics['accuracy_most_frequent_class']:.3f}
- balanced accuracy {_spread(metrics, 'balanced_accuracy')}
- macro F1 {_spread(metrics, 'macro_f1')}
- expected calibration error {metrics['expected_calibration_error']:.3f}

| class | precision | recall | F1 | n |
|---|---|---|---|---|""",
    ]
    for name, row in metrics["per_class"].items():
        lines.append(f"| {name} | {row['precision']:.3f} | {row['recall']:.3f} | {row['f1']:.3f} | {row['n']} |")
    lines += ["", "Confusion matrix (rows: true, columns: predicted):", "", f"| | {' | '.join(config.classes)} |"]
    lines.append("|---|" + "---|" * len(config.classes))
    for name, counts in zip(config.classes, metrics["confusion_matrix"], strict=True):
        lines.append(f"| **{name}** | {' | '.join(str(count) for count in counts)} |")
    return "\n".join([*lines, "", _USE, ""])


def _spread(metrics: dict[str, Any], name: str) -> str:
    return f"{metrics[f'{name}_fold_mean']:.3f} +- {metrics[f'{name}_fold_sd']:.3f}"
