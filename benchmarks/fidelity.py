"""How far every statistic of a profile is from its exact value, beside the bound that it states.

Exact values come from the raw values: `np.quantile` and comparison, SciPy's `ks_2samp` and `wasserstein_distance`,
`math.fsum`. Two of a hundred values are missing, three now.

Run: python -m benchmarks.fidelity [--rows 1000000]
"""

from __future__ import annotations

import argparse
import math

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp, wasserstein_distance

from monitor.profiles.numeric import NumericProfile
from monitor.profiles.standardise import standardise
from monitor.statistics import divergence
from monitor.statistics.atoms import atoms
from monitor.statistics.result import Estimate, Result

Floats = npt.NDArray[np.float64]
REFERENCE_ROWS = 100_000
# Missing values beside each hundred that are there, then and now.
MISSING = (0.02, 0.03)


def column(kind: str, rows: int, seed: int, shift: float) -> Floats:
    """A column of a kind, moved by about `shift` standard deviations or its shares by as much."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal(rows) + shift
    high = rng.random(rows) < 0.5 + shift / 2
    made: dict[str, Floats] = {
        "normal": z,
        "lognormal": np.exp(z),
        "Student t (2.5)": rng.standard_t(2.5, rows) + shift,
        "1e9 + normal": 1e9 + z,
        "integers": np.round(5 * z),
        "clusters ±1000 (sd 0.001)": np.where(high, 1_000.0, -1_000.0) + 1e-3 * z,
        "bimodal scores": np.where(high, 0.98, 0.02) + 0.004 * z,
        "95 % one value": np.where(rng.random(rows) < 0.95 - shift / 2, 10.0, z),
    }
    return made[kind]


KINDS = (
    "normal",
    "lognormal",
    "Student t (2.5)",
    "1e9 + normal",
    "integers",
    "clusters ±1000 (sd 0.001)",
    "bimodal scores",
    "95 % one value",
)


def plain_counts(edges: Floats, values: Floats) -> Floats:
    """Values between the deciles; one that is two or more of them by itself."""
    counts, last = [], 0
    for edge in np.unique(edges):
        steps = [(values < edge).sum()] if (edges == edge).sum() > 1 else []
        for up_to in (*steps, (values <= edge).sum()):
            counts.append(up_to - last)
            last = up_to
    return np.array([*counts, values.size - last], dtype=np.float64)


def exact_mean(values: Floats, centre: float) -> float:
    """The mean about a centre, summed without rounding."""
    return math.fsum((values - centre).tolist()) / values.size


def exact(reference: Floats, current: Floats) -> dict[str, float]:
    """Every statistic from the raw values."""
    edges, centre = np.quantile(reference, np.arange(1, 10) / 10), float(np.median(reference))
    r, c = (
        np.append(plain_counts(edges, values), round(values.size * share))
        for values, share in ((reference, MISSING[0]), (current, MISSING[1]))
    )
    used = (r > 0) | (c > 0)
    r, c = r[used], c[used]
    p, q = ((counts + 0.5) / (counts + 0.5).sum() for counts in (c, r))
    return {
        "PSI": float(((p - q) * np.log(p / q)).sum()),
        "Jensen-Shannon": float(jensenshannon(c / c.sum(), r / r.sum(), 2)),
        "total variation": float(np.abs(c / c.sum() - r / r.sum()).sum() / 2),
        "Hellinger": float(np.sqrt(((np.sqrt(c / c.sum()) - np.sqrt(r / r.sum())) ** 2).sum() / 2)),
        "Kolmogorov-Smirnov": float(ks_2samp(reference, current, method="asymp").statistic),
        "Wasserstein": float(wasserstein_distance(reference, current) / reference.std()),
        "mean shift": (exact_mean(current, centre) - exact_mean(reference, centre)) / float(reference.std()),
        "out of range": float(((current < reference.min()) | (current > reference.max())).mean()),
        "missing rate": float(c[-1] / c.sum() - r[-1] / r.sum()),
    }


def estimated(reference: Floats, current: Floats) -> dict[str, Result]:
    """Every statistic from profiles."""
    standardisation = standardise(reference)
    old, new = (
        NumericProfile.build(values, standardisation, null=round(values.size * share))
        for values, share in zip((reference, current), MISSING, strict=True)
    )
    cells, both = divergence.decile_cells(old, new), atoms(old, new)
    return {
        "PSI": divergence.population_stability_index(cells),
        "Jensen-Shannon": divergence.jensen_shannon_distance(cells),
        "total variation": divergence.total_variation_distance(cells),
        "Hellinger": divergence.hellinger_distance(cells),
        "Kolmogorov-Smirnov": divergence.kolmogorov_smirnov(old, new, both),
        "Wasserstein": divergence.wasserstein_distance(old, new, both),
        "mean shift": divergence.mean_shift(old, new),
        "out of range": divergence.out_of_range_ratio(old, new),
        "missing rate": divergence.missing_rate_difference(old, new),
    }


def main() -> None:
    """Print the table; a seen error over its bound ends the run."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=1_000_000)
    rows = arguments.parse_args().rows
    print("| column | statistic | exact | seen error | stated bound |\n| --- | --- | --- | --- | --- |")
    for kind in KINDS:
        reference, current = column(kind, REFERENCE_ROWS, 1, 0.0), column(kind, rows, 2, 0.1)
        truth = exact(reference, current)
        for name, result in estimated(reference, current).items():
            assert isinstance(result, Estimate), (kind, name, result)
            error, bound = abs(result.value - truth[name]), result.error_bound
            stated = "–" if bound is None else f"{bound:.2g}"
            print(f"| {kind} | {name} | {truth[name]:.5g} | {error:.1e} | {stated} |")
            # SciPy's own sums over a million values have rounding errors of this order.
            if bound is not None and error > bound + 1e-6 * max(abs(truth[name]), 1):
                raise SystemExit(f"{kind}, {name}: {error} is over its bound {bound}")


if __name__ == "__main__":
    main()
