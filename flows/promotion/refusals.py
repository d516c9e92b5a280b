"""Why the promotion log does not take an entry, in words, each with the command that would do it."""

from flows.promotion.judged import judged
from flows.promotion.promotion_log import Entry, State, Version
from tasks.engine.errors import UserError
from tasks.engine.storage.artifact import Artifact
from tasks.evaluation.gating.decision import Decision


class Outdated(UserError):
    """The gate compared with a champion that is not the one in service any more."""


def require_proof(champion: Version | None, adapter: Version, gate: Artifact, decision: Decision) -> None:
    """UserError unless the gate says promote, and means this adapter against the champion of now."""
    about = adapter.about
    if decision.decision != "promote":
        verb = "refused it" if decision.decision == "refuse" else "could not decide"
        raise UserError(
            f"{about} is not promoted: the gate {verb}. {decision.why}",
            "train a better one, or promote it by hand: `--force --because …`",
        )
    compared = judged(gate)
    if compared.adapter != adapter.weights:
        raise UserError(f"{gate.about} judged another adapter than {about}", "give the gate of this adapter")
    if compared.champion != (champion.weights if champion else None):
        now = f"{champion.about} is champion now" if champion else "there is no champion now"
        raise Outdated(
            f"{gate.about} compared {about} with another champion: {now}",
            "run `reground retrain`, which compares anew, or promote it by hand: `--force --because …`",
        )


def require_reason(why: str, what: str) -> None:
    if not why.strip():
        raise UserError(f"{what} for no reason", "say why: `--because …`")


def rolled_back(version: Version, entry: Entry | None) -> UserError:
    when = f" on {entry.day} by {entry.who}: {entry.why}" if entry else ""
    return UserError(
        f"{version.about} was rolled back{when}", "bring it back only by hand: `reground promote --force --because …`"
    )


def rolled_back_just_now(entry: Entry, state: State) -> UserError:
    champion = state.champion
    assert champion
    return UserError(
        f"{entry.about} was rolled back already, on {entry.day} by {entry.who}; {champion.about} is in service",
        f"to take that one out as well, name it: `reground rollback {champion.about} --because …`",
    )


def not_in_service(version: Version, state: State) -> UserError:
    now = f"{state.champion.about} is" if state.champion else "no adapter is"
    return UserError(f"{version.about} is not in service: {now}", "see `reground versions`")
