"""`fewmask retrieve`: look at what would support a video."""

import json
from pathlib import Path
from typing import Annotated

import typer


def retrieve(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The query: a video or a folder of frames.")],
    *,
    index: Annotated[Path, typer.Option("--index", help="Made by `fewmask index`.", metavar="INDEX")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many clips.")] = 5,
    per_video: Annotated[int, typer.Option(min=1, help="Most clips from one video of the pool.")] = 1,
    sheet: Annotated[
        Path | None, typer.Option(help="The contact sheet; by default SOURCE-supports.png here.", metavar="PICTURE")
    ] = None,
    encoder: Annotated[
        str, typer.Option(help="The one that made the index: 'small', 'fixed' or a folder; 'auto' asks the index.")
    ] = "auto",
    weights: Annotated[
        Path | None, typer.Option(help="Other weights for the fixed features (safetensors).", metavar="FILE")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an older contact sheet.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Find the clips of a pool that are most like a video, and draw them as a contact sheet.

    The video itself and near-copies of it are left out.
    """
    from fewmask.errors import ConfigError
    from fewmask.pipelines.early_checks import check_device, check_files, check_some, check_weights

    check_some([source])
    check_files({"--index": index, "--weights": weights})
    check_weights(encoder)
    check_device(device)

    from fewmask.media.clip_place import ClipPlace
    from fewmask.retrieval.contact_sheet import draw_contact_sheet
    from fewmask.retrieval.embedders import embedder_of
    from fewmask.retrieval.pool import Pool
    from fewmask.retrieval.retrieve import retrieve as find

    picture = sheet or Path(f"{Path(source).stem}-supports.png")
    if picture.exists() and not overwrite:
        raise ConfigError(f"{picture}: exists; name another with --sheet, or use --overwrite")
    pool = Pool.open(index)
    found = find(source, pool, embedder_of(pool, encoder, weights=weights, device=device), k, per_video=per_video)
    query = ClipPlace(source, found.query[0].first, found.query[-1].last)
    draw_contact_sheet(
        query, [(f"{near.score:.3f}  {near.place.title}", near.place) for near in found.neighbours], picture
    )
    clips = [
        {"video": place.video, "first": place.first, "last": place.last, "score": round(neighbour.score, 4)}
        for neighbour in found.neighbours
        for place in [neighbour.place]
    ]
    if as_json:
        typer.echo(json.dumps({"query": source, "clips": clips, "copies": found.copies, "sheet": str(picture)}))
        return
    for rank, clip in enumerate(clips, 1):
        typer.echo(f"{rank}  {clip['score']:.3f}  {clip['video']}  frames {clip['first']}-{clip['last']}")
    if len(clips) < k:
        typer.echo(f"only {len(clips)} of {k}: the pool has no more videos besides the query and its copies", err=True)
    typer.echo(f"{picture}: contact sheet")
