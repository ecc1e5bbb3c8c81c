r"""Figure 5 of Self-Shot: what the fuser attends to, in queries and in their supports.

    python reproduce/selfshot_attention.py --eval unseen/instances.json --out figures [--weights FOLDER] [--episodes 8]

For each query two strips and one for each support: frames above, attention on them below (red is most). Printed is how
much of the attention in the query falls on the objects of the class that is asked for, against the share of the picture
that they cover: above it, the fuser looks at what is common.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from fewmask.datasets.ytvis import read_ytvis
from fewmask.media import rle
from fewmask.selfshot.attention_figure import draw_attention, fuser_attention
from fewmask.selfshot.evaluate import oracle_episodes, video_places
from fewmask.selfshot.pretrained import load_transformer
from fewmask.selfshot.segment import BUNDLED
from fewmask.selfshot.supports import read_support


def marked(dataset, episode, grid, first):
    """The cells of a clip that the objects in question cover, bool [T, h, w]."""
    frames, height, width = grid
    cells = np.zeros(grid, bool)
    for track in dataset.annotations:
        if (track.video_id, track.category_id) == (episode.video, episode.category):
            for t in range(frames):
                mask = track.segmentations[first + t]
                if mask is not None:
                    small = cv2.resize(
                        rle.decode(mask).astype(np.float32), (width, height), interpolation=cv2.INTER_AREA
                    )
                    cells[t] |= small > 0
    return cells


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eval", type=Path, required=True, help="YouTube-VIS file, JPEGImages beside it")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=BUNDLED / "small")
    parser.add_argument("--shots", type=int, default=2)
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    network, dataset = load_transformer(options.weights).eval(), read_ytvis(options.eval)
    root, config = options.eval.parent / "JPEGImages", network.config
    places = video_places(dataset, root)
    episodes = oracle_episodes(dataset, root, shots=options.shots, seed=options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(options.seed).permutation(len(episodes))
    ratios = []
    for episode in (episodes[place] for place in order):
        if len(ratios) == options.episodes:
            break
        clip = read_support(places[episode.video], config.frames, config.size)
        if len(clip) < config.frames:
            clip = clip[np.minimum(np.arange(config.frames), len(clip) - 1)]  # the last frame repeats, as in the stream
        place = places[episode.video]
        first = max(0, place.last - place.first + 1 - config.frames) // 2
        supports = [read_support(place, config.support_frames, config.size) for place in episode.supports]
        found = fuser_attention(network, clip, supports)
        length = min(config.frames, place.last - place.first + 1)
        cells = marked(dataset, episode, (length, *found.query.shape[1:]), first)
        if not cells.any():
            continue
        inside = float(found.query[:length][cells].mean())
        ratios.append(inside / float(found.query[:length].mean()))
        name = f"{episode.video}_{episode.category}"
        draw_attention(clip, found.query, options.out / f"{name}_query.jpg")
        for number, (support, share) in enumerate(zip(supports, found.supports, strict=True), 1):
            draw_attention(support, share, options.out / f"{name}_support{number}.jpg")
        print(f"{name}: attention on a cell of the objects is {ratios[-1]:.2f} times the mean cell's", flush=True)
    print(f"mean over {len(ratios)} queries: {np.mean(ratios):.2f}, above 1 in {sum(r > 1 for r in ratios)}")


if __name__ == "__main__":
    main()
