"""Runs the stale steps of a project for real."""

from flows.pipeline import pipeline
from tasks.engine.key import Request
from tasks.engine.make import make
from tasks.engine.plan import plan_step


def run(project, *labels: str):
    """Run the stale ones of these steps for real, as a flow does; the others stay as they are."""
    store, made = project.config.open_store(), {}

    def each(step, config, *, label="", **inputs):
        request = Request(step, config, inputs, label or step.name)
        planned = plan_step(request, store)
        if planned.status != "fresh":
            assert request.label in labels, f"{request.label}: {planned.why}"
        made[request.label], _ = make(request, store, why=planned.why, before=planned.before)
        return made[request.label]

    each.store = store
    pipeline(project.config, each)
    return made
