"""The entry point: signals are heeded before anything slow is imported."""

from fewmask.media import stopping


def main() -> None:
    """Run the command line; never returns."""
    stopping.listen()
    from fewmask.cli.main import main as run

    run()
