"""Models of the Hugging Face hub, and in words why one cannot be had."""

from pathlib import Path

from tasks.engine.errors import Unreachable, UserError
from tasks.engine.retry import is_away, status_of

# Safetensors only: a pickle can run code when it is loaded.
# Python files are for people to read; they run only if trust_remote_code names their digest.
WANTED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.py"]


def download(name: str, commit: str, token: str | None) -> Path:
    """The folder of a model at a commit; of the hub is asked what is not on this machine yet.

    Raises Unreachable if the hub is away, UserError if it does not give the model out.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=commit, allow_patterns=WANTED, token=token))
    except Exception as error:
        what = f"base.model: cannot download {name}@{commit[:8]}: {brief(error)}"
        if is_away(error):
            raise Unreachable(what, "check the network, then run again: files that are here stay") from error
        if status_of(error) in (401, 403, 404):
            raise UserError(
                what, "check the name; for a gated model accept its licence on its page and run `hf auth login`"
            ) from error
        if isinstance(error, LocalEntryNotFoundError):
            raise UserError(what, "unset HF_HUB_OFFLINE, or set base.model to a folder that has it") from error
        raise


def brief(error: BaseException) -> str:
    """The first line of an error, or its kind if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
