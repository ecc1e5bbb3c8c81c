"""Start the studio: what is opened is found, the address with its token told, then uvicorn runs until it is stopped."""

import socket
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fewmask.errors import ConfigError
from fewmask.media.given_path import expanded, is_there
from fewmask.pipelines.early_checks import check_files


@dataclass(frozen=True)
class StudioRequest:
    """What the user asked for.

    Attributes:
        paths: runs, datasets, indexes, videos or folders of them.
        out: where the studio writes what its jobs find.
        host: address to listen on; others than this machine's own need ``token``.
        port: 0 takes a free one.
        token: instead of a new one at each start.
        sam: SAM weights for masks by a click.
        open_browser: show the page.
    """

    paths: Sequence[Path]
    out: Path
    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = None
    sam: Path | None = None
    open_browser: bool = False


def serve(request: StudioRequest, tell: Callable[[str], None]) -> None:
    """Run the studio; ``tell`` gets its address once it listens.

    Raises:
        ConfigError: nothing to open, an address that cannot be had, no extra ``studio``.
    """
    for path in request.paths:
        if not is_there(path):
            raise ConfigError(f"{path}: no such file or folder; check the path")
    check_files({"--sam": request.sam})
    try:
        import uvicorn

        from fewmask.studio.app import create_app
        from fewmask.studio.context import Context
        from fewmask.studio.security import check_address, new_token
    except ImportError as error:
        raise ConfigError(f"the studio needs more packages ({error.name}): pip install 'fewmask[studio]'") from error
    check_address(request.host, request.token)
    context = Context(expanded(request.out).resolve(), sam=request.sam)
    for path in request.paths:
        context.library.open(path)
    context.open_results()
    token = request.token or new_token()
    listening = _listen(request.host, request.port)
    shown = "127.0.0.1" if request.host in ("0.0.0.0", "::") else request.host
    shown = f"[{shown}]" if ":" in shown else shown
    address = f"http://{shown}:{listening.getsockname()[1]}/?token={token}"
    app = create_app(context, token=token, hosts=(request.host, socket.gethostname()) if _is_open(request.host) else ())
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=2)
    )
    tell(address)
    if request.open_browser:
        webbrowser.open(address)
    context.jobs.start()
    try:
        server.run([listening])
    finally:
        context.jobs.stop()


def _is_open(host: str) -> bool:
    from fewmask.studio.security import LOOPBACK

    return host not in LOOPBACK


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(128)
    except OSError as error:
        raise ConfigError(f"{host}:{port}: cannot be listened on ({error.strerror}); choose another --port") from error
    return listening
