"""What the flow of a sweep does: trial after trial, then the table."""

from typing import Any

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.orchestration import ui_artifacts
from flows.settings import refuse_outside
from flows.sweeps.engines import contrasts, proposed
from flows.sweeps.grid import looks
from flows.sweeps.optuna import scales
from flows.sweeps.outcome import Outcome, Row, markdown
from flows.sweeps.search import Search
from flows.sweeps.trial import trial
from tasks.engine.errors import Unreachable, UserError


def run(search: Search) -> State[dict[str, Any]]:
    """All mistakes of the settings are told before the first trial begins."""
    for group in contrasts(search):
        for each in group:
            refuse_outside(each.config)
        looks(group)
    logger = get_run_logger()
    for scale in scales(search):
        logger.info("%s", scale)
    rows: list[Row] = []
    for each in proposed(search, rows):
        try:
            refuse_outside(each.config)
            figures = trial(each.name, each.config)
        except Unreachable:  # of no trial's making: the others would fail of it, too
            raise
        except UserError as error:
            logger.warning("%s failed: %s", each.name, error)
            rows.append(Row(each.number, each.settings, error=str(error)))
        else:
            rows.append(Row(each.number, each.settings, **figures))
    outcome = Outcome(rows)
    ui_artifacts.markdown(markdown(outcome), key="sweep", description="Trials by their settings, and the best")
    if outcome.failed:
        raise UserError(f"all {len(rows)} trials failed; the first: {rows[0].error}", "mend that, and run it again")
    return Completed(message=outcome.headline, data=outcome.plain())
