"""How well single latent dimensions stand for single ground-truth factors.

Codes are posterior means (N, D), factors (N, F). A factor with more than `BINS` values is cut into bins of equal count
where a measure needs classes. All measures are 1 (modularity, MIG, DCI) for a code that has one dimension for each
factor, and fall when factors are mixed into dimensions.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from morphospace.evaluation.embedding import accuracy
from morphospace.evaluation.records import Figure
from morphospace.types import Progress, silent

__all__ = [
    "Dci",
    "beta_vae_score",
    "dci",
    "discretised",
    "disentanglement_figures",
    "factor_vae_score",
    "mig",
    "modularity",
    "mutual_informations",
    "sap",
]

BINS = 20
"""Of a continuous code or factor, as in Locatello et al. 2019 (arXiv:1811.12359), appendix C."""
FEW_FOR_HISTOGRAMS = 0.05
"""Nats of information between independent columns from which on it is said that histograms have too few images."""
DEAD = 1e-6
"""A code dimension with less than this part of the largest standard deviation says nothing."""
TREES = 20
MOST_FOR_TREES = 5_000
"""Images that DCI's random forests learn from, and as many again at most to test on."""
VOTES, PER_VOTE = 800, 64
"""Of the FactorVAE and β-VAE scores: votes to learn from, and as many to test on; images for each (Kim & Mnih 2018)."""

Sampler = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""(n, F) amounts from 0 to 1 -> the codes, (n, D), of n images drawn from them; what else they have is free."""


def discretised(values: Float[np.ndarray, "N F"], bins: int = BINS) -> Int[np.ndarray, "N F"]:
    """Each column as classes: its own values if they are few, else ``bins`` of equal count."""
    columns = []
    for column in values.T:
        own, inverse = np.unique(column, return_inverse=True)
        if len(own) > bins:
            edges = np.quantile(column, np.linspace(0, 1, bins + 1)[1:-1])
            inverse = np.searchsorted(edges, column, side="right")
        columns.append(inverse)
    return np.stack(columns, 1).astype(np.int64)


def _information(a: Int[np.ndarray, " N"], b: Int[np.ndarray, " N"]) -> float:
    """The mutual information of two classifications, in nats, from their counts."""
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1)
    table /= table.sum()
    apart = table.sum(1, keepdims=True) * table.sum(0, keepdims=True)
    seen = table > 0
    return float((table[seen] * np.log(table[seen] / apart[seen])).sum())


def mutual_informations(
    codes: Float[np.ndarray, "N D"], factors: Float[np.ndarray, "N F"]
) -> tuple[Float[np.ndarray, "D F"], Float[np.ndarray, " F"]]:
    """Mutual information of every dimension and factor, and each factor's entropy, in nats, from histograms."""
    c, f = discretised(codes), discretised(factors)
    table = np.array([[_information(c[:, d], f[:, k]) for k in range(f.shape[1])] for d in range(c.shape[1])])
    return table, np.array([_information(f[:, k], f[:, k]) for k in range(f.shape[1])])


def mig(codes: Float[np.ndarray, "N D"], factors: Float[np.ndarray, "N F"]) -> Float[np.ndarray, " F"]:
    """The mutual information gap of each factor: between the two dimensions that know most of it, over its entropy.

    Chen, Li, Grosse & Duvenaud (2018), Isolating sources of disentanglement, arXiv:1802.04942, eq. 6. A code of one
    dimension has no second: the gap is then to nought.
    """
    table, entropy = mutual_informations(codes, factors)
    ordered = np.sort(np.vstack([table, np.zeros((1, table.shape[1]))]), axis=0)
    return np.asarray((ordered[-1] - ordered[-2]) / entropy)


def modularity(
    codes: Float[np.ndarray, "N D"], factors: Float[np.ndarray, "N F"]
) -> Float[np.ndarray, " telling"]:
    """For each dimension that knows something, how much it keeps to one factor.

    Ridgeway & Mozer (2018), arXiv:1802.05312: 1 − Σ over the other factors of m² / ((F − 1)·max m²).
    Dimensions that know nothing are left out.

    Raises:
        ValueError: for a single factor, to which every dimension keeps.
    """
    table, entropy = mutual_informations(codes, factors)
    if len(entropy) < 2:
        raise ValueError("modularity needs two factors")
    squares = np.square(table)
    most = squares.max(1)
    # Histograms of N independent pairs share (bins − 1)² / 2N nats on average (Miller 1955).
    told = np.sqrt(most) > 3 * (BINS - 1) ** 2 / (2 * len(codes))
    others = squares.sum(1) - most
    return np.asarray(1 - others[told] / (most[told] * (len(entropy) - 1)))


def sap(
    codes: Float[np.ndarray, "N D"], factors: Float[np.ndarray, "N F"], classes: Sequence[bool]
) -> Float[np.ndarray, " F"]:
    """The separated attribute predictability of each factor: the gap between its two best single dimensions.

    Kumar, Sattigeri & Balakrishnan (2018), arXiv:1711.00848, section 3. For a continuous factor a dimension's score is
    the squared correlation; for classes it is the balanced accuracy of a linear classifier, brought to 0 for chance.
    """
    scores = np.zeros((codes.shape[1] + 1, factors.shape[1]))
    for k, categorical in enumerate(classes):
        for d in range(codes.shape[1]):
            column = codes[:, d]
            if column.std() <= DEAD * codes.std(0).max():
                continue
            scores[d, k] = (
                _linear_accuracy(column, factors[:, k])
                if categorical
                else float(np.corrcoef(column, factors[:, k])[0, 1] ** 2)
            )
    ordered = np.sort(scores, axis=0)
    return np.asarray(ordered[-1] - ordered[-2])


def _linear_accuracy(column: Float[np.ndarray, " N"], labels: Float[np.ndarray, " N"]) -> float:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    train, test = _halves(len(column), len(column), 0)
    classes = labels.astype(np.int64)
    model = LinearDiscriminantAnalysis().fit(column[train, None], classes[train])
    return _balanced(classes[test], model.predict(column[test, None]))


def _balanced(truth: NDArray[np.int64], found: NDArray[np.int64]) -> float:
    """The mean over the classes that there are of the share found, brought to 0 for chance."""
    from sklearn.metrics import balanced_accuracy_score

    with warnings.catch_warnings():
        # Of a rare class all images may be in the half that was learned from.
        warnings.filterwarnings("ignore", "y_pred contains classes not in y_true", UserWarning)
        return float(balanced_accuracy_score(truth, found, adjusted=True))


@dataclass(frozen=True, eq=False)
class Dci:
    """Disentanglement, completeness and informativeness (Eastwood & Williams 2018, ICLR).

    Attributes:
        disentanglement: Σ_d ρ_d·(1 − H_F of dimension d's importances), ρ its share of all importance.
        completeness: the mean over factors of 1 − H_D of its importances.
        informativeness: (F,) R², or accuracy above chance, of each factor on held-out images.
        importance: (D, F) of the random forests.
    """

    disentanglement: float
    completeness: float
    informativeness: Float[np.ndarray, " F"]
    importance: Float[np.ndarray, "D F"]


def dci(
    codes: Float[np.ndarray, "N D"],
    factors: Float[np.ndarray, "N F"],
    classes: Sequence[bool],
    seed: int = 0,
) -> Dci:
    """DCI by random forests, as in the paper; half the images to learn from, half to test on."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.metrics import r2_score

    train, test = _halves(len(codes), 2 * MOST_FOR_TREES, seed)
    importance = np.zeros((codes.shape[1], factors.shape[1]))
    told = np.zeros(factors.shape[1])
    for k, categorical in enumerate(classes):
        # Every split looks at all dimensions: one that is never offered the right one would seem to need the others.
        options = {"n_estimators": TREES, "max_features": None, "min_samples_leaf": 5, "random_state": seed}
        if categorical:
            labels = factors[:, k].astype(np.int64)
            forest = RandomForestClassifier(**options).fit(codes[train], labels[train])
            found = forest.predict(codes[test])
            told[k] = _balanced(labels[test], found)
        else:
            forest = RandomForestRegressor(**options).fit(codes[train], factors[train, k])
            told[k] = r2_score(factors[test, k], forest.predict(codes[test]))
        importance[:, k] = forest.feature_importances_
    weights = importance.sum(1) / importance.sum()
    by_dimension = _peaked(importance.T)  # of each dimension, over factors
    by_factor = _peaked(importance)  # of each factor, over dimensions
    return Dci(float((weights * by_dimension).sum()), float(by_factor.mean()), told, importance)


def _halves(count: int, most: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Images to learn from and to test on, ``most`` in all, by chance: sets may be sorted by class."""
    order = np.random.default_rng(seed).permutation(count)[:most]
    return order[: len(order) // 2], order[len(order) // 2 :]


def _peaked(table: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, " columns"]:
    """1 − the entropy of each column over its rows, in units of its greatest; 1 where there is but one row."""
    total = table.sum(0)
    if len(table) < 2:
        return np.ones(table.shape[1])
    p = table / np.where(total > 0, total, 1)
    entropy = -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(0) / np.log(len(table))
    return np.asarray(np.where(total > 0, 1 - entropy, 0))


def factor_vae_score(
    codes: Float[np.ndarray, "N D"], count: int, sampler: Sampler, seed: int = 0
) -> NDArray[np.bool_]:
    """Which test votes a majority vote gets right: the held factor from the dimension that varies least.

    Kim & Mnih (2018), Disentangling by factorising, arXiv:1802.05983, section 4. Dimensions are scaled by their
    standard deviation over ``codes``; those without any are left out. The mean is the score.

    Args:
        codes: (N, D) of images as they come.
        count: how many factors there are.
        sampler: codes of images with given factors.
        seed: of the votes.
    """
    scale = codes.std(0)
    alive = scale > DEAD * scale.max()
    rng = np.random.default_rng(seed)
    held = np.arange(2 * VOTES) % count
    values = rng.random((2 * VOTES, PER_VOTE, count))
    vote = np.arange(2 * VOTES)
    values[vote, :, held] = values[vote, :1, held]
    found = sampler(values.reshape(-1, count)).reshape(2 * VOTES, PER_VOTE, -1)
    least = (found[:, :, alive] / scale[alive]).var(1).argmin(1)
    table = np.zeros((int(alive.sum()), count))
    np.add.at(table, (least[:VOTES], held[:VOTES]), 1)
    return np.asarray(table.argmax(1)[least[VOTES:]] == held[VOTES:])


def beta_vae_score(count: int, sampler: Sampler, seed: int = 0) -> NDArray[np.bool_]:
    """Which test points a linear classifier gets right: the shared factor from mean |z₁ − z₂| of pairs that share it.

    Higgins et al. (2017), β-VAE, ICLR, algorithm 1. The mean is the score.
    """
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(seed)
    shared = np.arange(2 * VOTES) % count
    values = rng.random((2, 2 * VOTES, PER_VOTE // 2, count))
    vote = np.arange(2 * VOTES)
    values[1, vote, :, shared] = values[0, vote, :, shared]
    one, other = sampler(values.reshape(-1, count)).reshape(2, 2 * VOTES, PER_VOTE // 2, -1)
    points = np.abs(one - other).mean(1)
    points /= np.where(points.std(0) > 0, points.std(0), 1)
    model = LogisticRegression(max_iter=1000).fit(points[:VOTES], shared[:VOTES])
    return np.asarray(model.predict(points[VOTES:]) == shared[VOTES:])


def disentanglement_figures(
    codes: Float[np.ndarray, "N D"],
    factors: Float[np.ndarray, "N F"],
    names: Sequence[str],
    classes: Sequence[bool],
    sampler: Sampler | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[dict[str, Figure], list[str]]:
    """All measures for codes and factors.

    Args:
        codes: (N, D) posterior means.
        factors: (N, F) ground truth, or labels in one column.
        names: of the factors.
        classes: which factors are classes rather than amounts.
        sampler: the codes of images with given amounts, the factors that are no classes; for two of the scores.
        seed: of everything random.
        progress: told how far it is.
    """
    figures: dict[str, Figure] = {}
    notes: list[str] = []
    count = len(codes)

    def over_factors(name: str, values: Float[np.ndarray, " F"], definition: str) -> None:
        spread = float(values.std(ddof=1)) if len(values) > 1 else None
        each = {n: float(v) for n, v in zip(names, values, strict=True)}
        said = "standard deviation over factors" if spread is not None else ""
        figures[name] = Figure(float(values.mean()), definition, "", spread, said, count, extra=each)

    progress("disentanglement", 0, 4)
    over_factors("mig", mig(codes, factors), "mutual information gap (Chen et al. 2018)")
    chance = (BINS - 1) ** 2 / (2 * count)  # nats that histograms of independent pairs share (Miller 1955)
    if chance > FEW_FOR_HISTOGRAMS:
        notes.append(
            f"The mutual information gap is taken from histograms of {BINS} × {BINS} cells, which find some "
            f"{chance:.2g} nats where there are none: with {count} images it is too low. Measure more (--images), or "
            "compare only with as many."
        )
    progress("disentanglement", 1, 4)
    over_factors(
        "sap", sap(codes, factors, classes), "separated attribute predictability (Kumar et al. 2018)"
    )
    if len(names) > 1:
        each = modularity(codes, factors)
        if len(each):
            figures["modularity"] = Figure(
                float(each.mean()),
                "modularity (Ridgeway & Mozer 2018), over dimensions that know something",
                images=count,
            )
    else:
        notes.append("Modularity and DCI disentanglement need two factors; there is one, the class.")
    progress("disentanglement", 2, 4)
    found = dci(codes, factors, classes, seed)
    paper = "(Eastwood & Williams 2018), random forests"
    if len(names) > 1:
        figures["dci_disentanglement"] = Figure(
            found.disentanglement, f"DCI disentanglement {paper}", images=count
        )
    figures["dci_completeness"] = Figure(found.completeness, f"DCI completeness {paper}", images=count)
    over_factors(
        "dci_informativeness",
        found.informativeness,
        f"DCI informativeness {paper}: R², or accuracy above chance",
    )
    progress("disentanglement", 4, 4)
    amounts = sum(not c for c in classes)
    if sampler is None or amounts < 2:
        notes.append(
            "The FactorVAE and β-VAE scores need images drawn with one factor held; these cannot be drawn."
        )
    else:
        figures["factor_vae_score"] = accuracy(
            factor_vae_score(codes, amounts, sampler, seed), "FactorVAE score (Kim & Mnih 2018)"
        )
        figures["beta_vae_score"] = accuracy(
            beta_vae_score(amounts, sampler, seed), "β-VAE score (Higgins et al. 2017)"
        )
    return figures, notes
