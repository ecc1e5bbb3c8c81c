"""The figure of embeddings: which query is whose, directions, and a picture that is there."""

import numpy as np
import pytest
import torch

from fewmask.errors import ConfigError
from fewmask.minvis.embedding_figure import ObjectQuery, draw, nearest_is_the_same, object_queries, projection
from fewmask.minvis.segmenter import SegmenterOutput


def output_of(masks, embeddings):
    logits = torch.where(torch.as_tensor(masks), 5.0, -5.0)
    size = tuple(logits.shape[-2:])
    classes = torch.zeros(*logits.shape[:2], 2)
    return SegmenterOutput(classes, logits, torch.as_tensor(embeddings), size, size)


def test_the_best_fitting_query_is_the_objects():
    masks = np.zeros((1, 3, 16, 16), bool)
    masks[0, 0, :4], masks[0, 1, 8:], masks[0, 2, 8:15] = True, True, True
    embeddings = np.arange(12.0).reshape(1, 3, 4)
    truth = {7: masks[0, 1].copy(), 9: np.eye(16, dtype=bool)}
    [found] = object_queries(output_of(masks, embeddings), [truth], first=5)
    assert (found.object, found.frame, found.slot) == (7, 5, 1)
    assert found.embedding.tolist() == [4.0, 5.0, 6.0, 7.0]
    assert object_queries(output_of(masks, embeddings), [{}]) == []


def test_main_directions_keep_what_is_in_a_plane():
    chance = np.random.default_rng(0)
    angles = chance.uniform(0, 6, 20)
    plane = np.linalg.qr(chance.normal(size=(8, 2)))[0].T
    rows = np.stack([np.cos(angles), np.sin(angles)], 1) @ plane * chance.uniform(1, 5, (20, 1))
    flat = projection(rows)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    away = np.linalg.norm(unit[:, None] - unit[None], axis=2)
    assert np.allclose(np.linalg.norm(flat[:, None] - flat[None], axis=2), away)


def query(number, frame, vector):
    return ObjectQuery(number, frame, 0, np.array(vector, float))


def test_nearest_counts_only_where_there_is_a_choice():
    queries = [
        query(1, 0, [1, 0]),
        query(2, 0, [0, 1]),
        query(1, 1, [1, 0.1]),
        query(2, 1, [1, 0.2]),
        query(3, 1, [0, 1]),
    ]
    assert nearest_is_the_same(queries) == (1, 2)
    assert nearest_is_the_same([query(1, 0, [1, 0]), query(1, 1, [1, 0])]) == (0, 0)


def test_the_picture_is_drawn(tmp_path):
    queries = [query(n, t, [n, t, 1]) for n in (1, 2) for t in range(4)]
    draw(queries, tmp_path / "figure.png", "a video")
    assert (tmp_path / "figure.png").stat().st_size > 5000
    with pytest.raises(ConfigError, match="nothing to draw"):
        draw(queries[:1], tmp_path / "none.png")
