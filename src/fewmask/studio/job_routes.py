"""Jobs for the page: forms, the queue, logs, cancelling and resuming."""

import shlex
from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict

from fewmask.studio.commands import VERBS, Command, command_of
from fewmask.studio.context import Context
from fewmask.studio.jobs import JobRecord


class JobWish(BaseModel):
    """A verb of `fewmask.studio.commands.VERBS`, and the answers to its questions."""

    model_config = ConfigDict(extra="forbid")
    verb: str
    answers: dict[str, Any]


def job_routes(context: Context) -> APIRouter:
    """The routes below ``/api/jobs`` and ``/api/verbs``."""
    routes = APIRouter(prefix="/api")

    @routes.get("/verbs")
    def verbs() -> dict[str, Any]:
        trained = sorted(path.parent.name for path in (context.out / "trained").glob("*/weights") if path.is_dir())
        return {"verbs": [verb.described() for verb in VERBS.values()], "trained": trained}

    @routes.get("/jobs")
    def jobs() -> dict[str, Any]:
        """Newest first; what a finished job made is in the library from then on."""
        return {"jobs": [described(context, job) for job in reversed(context.jobs.all())]}

    @routes.post("/jobs")
    def add(wish: Annotated[JobWish, Body()]) -> dict[str, Any]:
        return described(context, queue(context, command_of(context, wish.verb, wish.answers)))

    @routes.get("/jobs/{number}/log")
    def log(number: int) -> dict[str, str]:
        return {"log": context.jobs.log(context.jobs.get(number))}

    @routes.post("/jobs/{number}/cancel")
    def cancel(number: int) -> dict[str, Any]:
        job = context.jobs.get(number)
        context.jobs.cancel(job)
        return described(context, job)

    @routes.post("/jobs/{number}/resume")
    def resume(number: int) -> dict[str, Any]:
        context.jobs.resume(context.jobs.get(number))
        return described(context, context.jobs.get(number))

    return routes


def queue(context: Context, command: Command) -> JobRecord:
    """Put a command into the queue."""
    return context.jobs.add(command.title, command.words, made=command.made, resumable=command.resumable)


def described(context: Context, job: JobRecord) -> dict[str, Any]:
    """For the page, with what it made."""
    facts = context.jobs.described(job)
    result = context.opened(job) if facts["status"] == "finished" else None
    return {**facts, "words": len(shlex.split(facts["command"])), "made": result}
