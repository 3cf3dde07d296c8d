"""Embedding profiles and references as the codec's plain content: numbers, lists and arrays.

What lives here: the mapping, both ways. What must not: the container (`codec`), any computation on profiles.

A profile of 64 coordinates and one of the distance is about 26 kB, whatever its rows: 1,024 + 65 + 65 · 66 / 2 numbers
of 8 bytes that hardly compress, and its sample of ids.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from monitor.profiles.embedding import NO_SPACE, EmbeddingProfile, EmbeddingSpace
from monitor.profiles.embedding_fit import EmbeddingReference, NullMoments
from monitor.profiles.embedding_rows import sample_of


def profile_content(profile: EmbeddingProfile | None) -> dict[str, Any] | None:
    """Content of a profile; its space stays with the reference."""
    if profile is None:
        return None
    return {
        "counts": [profile.count, profile.null, profile.wrong_dimension, profile.not_finite],
        # Without rows there are only zeros.
        "sums": [profile.total, profile.products, profile.features] if profile.count else [],
        "sample": [name for _, name in profile.sample],
    }


def profile(content: dict[str, Any] | None, reference: EmbeddingReference | None) -> EmbeddingProfile | None:
    """The profile in `content`, in the space of its reference."""
    if content is None:
        return None
    space = NO_SPACE if reference is None else reference.space
    empty = EmbeddingProfile.empty(space)
    total, products, features = content["sums"] or (empty.total, empty.products, empty.features)
    count, null, wrong, not_finite = content["counts"]
    sample = sample_of(content["sample"])
    return EmbeddingProfile(space, count, null, wrong, not_finite, total, products, features, sample)


def reference_content(reference: EmbeddingReference | None) -> dict[str, Any] | None:
    """Content of a reference's space and null moments."""
    if reference is None:
        return None
    space, null = reference.space, reference.null
    numbers = [space.residual, space.bandwidth, space.explained, reference.missing_rate]
    return {
        "dimension": space.dimension,
        "seed": space.seed,
        "centre": space.centre,
        "basis": space.basis,
        "numbers": np.array([*numbers, null.trace_square, null.trace_cube, null.frechet_bias]),
    }


def reference(content: dict[str, Any] | None) -> EmbeddingReference | None:
    """The reference in `content`."""
    if content is None:
        return None
    residual, bandwidth, explained, missing, square, cube, bias = (float(value) for value in content["numbers"])
    space = EmbeddingSpace(
        content["dimension"], content["centre"], content["basis"], residual, bandwidth, content["seed"], explained
    )
    return EmbeddingReference(space, NullMoments(square, cube, bias), missing)
