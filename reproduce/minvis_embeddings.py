r"""The figure of query embeddings over time: the queries that find an object, projected, one colour for each object.

    python reproduce/minvis_embeddings.py --data instances.json --images JPEGImages --out figures [--weights FOLDER]

Each video with two objects or more gives a picture (main directions of the unit embeddings; the paper shows t-SNE,
whose distances cannot be read) and a line: how often, for an object among others, the most alike query of the frame
before is its own; and how often it sits in the same slot of the network, which is the cheaper way to be alike.
"""

import argparse
from pathlib import Path

import numpy as np

from fewmask.datasets.ytvis import read_ytvis
from fewmask.media import rle
from fewmask.media.frames import open_frames
from fewmask.minvis.embedding_figure import draw, nearest_is_the_same, object_queries
from fewmask.minvis.pretrained import load


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="YouTube-VIS file")
    parser.add_argument("--images", type=Path, required=True, help="its frames")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", default="mask2former")
    parser.add_argument("--videos", type=int, default=8)
    options = parser.parse_args()
    segmenter, dataset = load(options.weights), read_ytvis(options.data)
    options.out.mkdir(parents=True, exist_ok=True)
    rights, counts, stayed, pairs = 0, 0, 0, 0
    for video in dataset.videos[: options.videos]:
        tracks = [a for a in dataset.annotations if a.video_id == video.id]
        if len(tracks) < 2:
            continue
        queries = []
        with open_frames([options.images / name for name in video.file_names]) as frames:
            for t, frame in enumerate(frames):
                seen = {n: a.segmentations[t] for n, a in enumerate(tracks, 1) if a.segmentations[t] is not None}
                truth = {n: rle.decode(mask).astype(bool) for n, mask in seen.items()}
                output = segmenter(frame.rgb[None], short_side=segmenter.short_side)
                queries += object_queries(output, [{n: m for n, m in truth.items() if m.any()}], t)
        at = {(query.object, query.frame): query.slot for query in queries}
        same = [at[o, t] == at[o, t - 1] for o, t in at if (o, t - 1) in at]
        right, counted = nearest_is_the_same(queries)
        rights, counts, stayed, pairs = rights + right, counts + counted, stayed + sum(same), pairs + len(same)
        if len(queries) > 1:
            draw(queries, options.out / f"{video.id}.png", f"video {video.id}")
        print(f"video {video.id}: {len(queries)} queries, nearest is its own {right} of {counted}", flush=True)
    print(f"nearest is its own: {rights} of {counts} = {rights / max(counts, 1):.3f}")
    print(f"same slot as in the frame before: {stayed} of {pairs} = {np.divide(stayed, max(pairs, 1)):.3f}")


if __name__ == "__main__":
    main()
