"""Adapters as they are served: check a bundle, start a server with it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows.cli.options import Overrides, WhichStore, console, open_store, write_json
from flows.config import TINY, load
from tasks.engine.errors import UserError

if TYPE_CHECKING:
    from flows.serving import engines
    from tasks.engine.storage.store import Artifact, Store

Adapter = Annotated[str, typer.Option(help="Key or alias of an adapter, or a role: champion, previous, challenger.")]


def verify(
    bundle: Annotated[
        str, typer.Argument(help="A folder, or an adapter of the store by key, alias or role.", show_default=True)
    ] = "champion",
    config: WhichStore = TINY,
    overrides: Overrides = None,
    key: Annotated[
        Path | None, typer.Option(help="A public key, as PEM: who signed it. Without it promotion.serving.public_key.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The files that differ, for machines.")] = False,
) -> None:
    """Check every byte of a bundle against its manifest, and name the files that changed, are missing or came in.

    With a key its signature, too: that of the store, or FOLDER/model.sig, as OpenSSF model-signing writes it.
    Exits with 0 if it is as it was written, else with 1. `promote` and `serve` refuse what is not.
    """
    from tasks.models.bundle import faults

    tree, place = load(config, overrides or ()), Path(bundle)
    store = tree.open_store()
    adapter = None if place.is_dir() else _adapter(store, bundle)
    folder = adapter["adapter"].local() if adapter else place
    found, public = faults(folder), key or tree.promotion.serving.public_key
    if public and not found:
        from flows.serving.signing import unsigned

        found = unsigned(folder, Path(public), store, adapter)
    if json:
        write_json([each._asdict() for each in found])
    for each in () if json else found:
        console.print(f"[bold red]✗[/] [bold]{each.file}[/]: {each.problem}", highlight=False)
    if not found and not json:
        signed = f", and signed by the key of {public}" if public else ""
        console.print(f"[green]✓[/] {folder} is as it was written{signed}", highlight=False, soft_wrap=True)
    raise typer.Exit(bool(found))


def sign(
    key: Annotated[Path, typer.Option(help="A private key of an elliptic curve, as PEM, such as openssl makes.")],
    bundle: Annotated[
        str, typer.Argument(help="A folder, or an adapter of the store by key, alias or role.", show_default=True)
    ] = "champion",
    config: WhichStore = TINY,
    overrides: Overrides = None,
) -> None:
    """Sign a bundle as OpenSSF model-signing does, with a key pair and without a network.

    `openssl ecparam -name prime256v1 -genkey -noout -out key.pem; openssl ec -in key.pem -pubout -out pub.pem`.
    The signature of an adapter stays in the store, beside it; that of a folder is FOLDER/model.sig. With
    promotion.sign every retraining signs; with promotion.serving.public_key nothing else is promoted or served.
    """
    from flows.serving import signing
    from tasks.models.bundle import SIGNATURE

    place = Path(bundle)
    if place.is_dir():
        (place / SIGNATURE).write_bytes(signing.sign(place, key))
    else:
        store = open_store(config, overrides)
        adapter = _adapter(store, bundle)
        signing.sign_adapter(store, adapter, key)
    console.print(f"[green]✓[/] {bundle} is signed", highlight=False, soft_wrap=True)


def serve(
    options: Annotated[
        list[str] | None, typer.Argument(help="Options of the server's own, after `--`: `-- --dtype float32`.")
    ] = None,
    adapter: Adapter = "champion",
    engine: Annotated[
        Literal["auto", "vllm", "transformers"], typer.Option(help="auto: vLLM where it is installed.")
    ] = "auto",
    base: Annotated[Path | None, typer.Option(help="Where the base model lies, if not where it was trained.")] = None,
    host: Annotated[str, typer.Option(help="Who may connect: by default this machine alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The server's port.", min=1, max=65535)] = 8000,
    swap: Annotated[bool, typer.Option("--swap", help="Let whoever connects load and unload adapters.")] = False,
    show: Annotated[
        bool, typer.Option("--print", help="Print the command and a Docker Compose file; start nothing.")
    ] = False,
    config: WhichStore = TINY,
    overrides: Overrides = None,
) -> None:
    """Serve the adapter in service: the base model once, the adapter beside it, as OpenAI's API on 127.0.0.1:8000.

    Clients ask /v1/chat/completions for the model that is named at the start, by the first digits of the adapter's
    key. Ends with Ctrl-C. A bundle of which a byte changed is refused.
    """
    import os
    import shlex

    import yaml

    from flows.serving import engines

    _, served = _served(config, overrides, adapter, base)
    asked = engines.Asked(host, port, swap, tuple(options or ()))
    if show:
        how = engines.launch(served, "vllm" if engine == "auto" else engine, asked)
        lines = [f"{name}={value} \\" for name, value in how.environment.items()]
        typer.echo("\n".join([*lines, shlex.join(how.command)]))
        if how.engine == "vllm":
            typer.echo("\n# compose.yaml\n" + yaml.safe_dump(engines.compose(served, asked), sort_keys=False))
        return
    how = engines.launch(served, engines.installed() if engine == "auto" else engine, asked)
    console.print(f"{how.engine} on http://{host}:{port}/v1, model {served.name}", highlight=False, soft_wrap=True)
    try:
        os.execvpe(how.command[0], how.command, {**os.environ, **how.environment})
    except FileNotFoundError:
        raise UserError(
            f"there is no `{how.command[0]}` here", f"`pip install {how.engine}`, or leave --engine out"
        ) from None


def _adapter(store: "Store", name: str) -> "Artifact":
    from flows.promotion.candidates import ADAPTERS, find

    found = find(store, name)
    if found.step != ADAPTERS:
        raise UserError(f"{found.about} is no bundle", f"give an artifact of {ADAPTERS}, or a folder")
    return found


def _served(
    config: Path, overrides: list[str] | None, name: str, base: Path | None
) -> "tuple[Artifact, engines.Served]":
    """An adapter that may be served."""
    from flows.serving import engines, signing

    tree = load(config, overrides or ())
    store = tree.open_store()
    adapter = _adapter(store, name)
    served = engines.Served.of(adapter, base)
    signing.require_signed(store, adapter, tree.promotion.serving.public_key)
    return adapter, served


def merge(
    adapter: Annotated[str, typer.Argument(help="Key or alias of an adapter, or a role.")],
    out: Annotated[Path, typer.Argument(help="A new folder for the merged model.")],
    onto: Annotated[
        Literal["full", "quantized"],
        typer.Option(help="full: the base's own weights. quantized: those weights as 4-bit training saw them."),
    ] = "full",
    base: Annotated[Path | None, typer.Option(help="Where the base model lies, if not where it was trained.")] = None,
    config: WhichStore = TINY,
    overrides: Overrides = None,
) -> None:
    """Add an adapter's update to its base model's weights, for servers without adapters: a folder that is a model.

    A weight at a time: memory holds two gigabytes, not the model.
    """
    from tasks.models.merge import merge as merged
    from tasks.models.model import ModelConfig

    found, served = _served(config, overrides, adapter, base)
    training = found.input_artifact("training")
    held = ModelConfig.model_validate(training.record.config["model"]) if training else ModelConfig()
    merged(served.bundle, served.base.local(), out, held, onto)
    console.print(f"[green]✓[/] {out}: `vllm serve {out}`", highlight=False, soft_wrap=True)


def push(
    to: Annotated[str, typer.Option(help="hf://ORG/NAME, oci://HOST/REPOSITORY:TAG or mlflow://NAME.")],
    bundle: Annotated[
        str, typer.Argument(help="A folder, or an adapter of the store by key, alias or role.", show_default=True)
    ] = "champion",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go where; send nothing.")] = False,
    config: WhichStore = TINY,
    overrides: Overrides = None,
) -> None:
    """Give a bundle on, with its signature: to the Hugging Face Hub, an OCI registry or an MLflow registry.

    Login and addresses are those of the clients: `hf auth login`, `docker login`, MLFLOW_TRACKING_URI. A repository of
    the hub that is not there is created, private. OCI needs `make install EXTRAS=oci`, MLflow EXTRAS=mlflow.
    """
    from flows.serving import signing
    from flows.serving.push import Target, files_of
    from flows.serving.push import push as send

    target, place, tree = Target.of(to), Path(bundle), load(config, overrides or ())
    store = tree.open_store()
    adapter = None if place.is_dir() else _adapter(store, bundle)
    folder = adapter["adapter"].local() if adapter else place
    if adapter:
        signing.require_signed(store, adapter, tree.promotion.serving.public_key)
    signature = signing.signature_of(folder, store, adapter)
    for name, size in files_of(folder, signature).items():
        console.print(f"{size:>14,}  {name}", highlight=False)
    said = f"would go to {target}" if dry_run else f"is {send(folder, target, signature)}"
    console.print(f"{adapter.about if adapter else folder} {said}", highlight=False, soft_wrap=True)


def served(
    update: Annotated[
        bool, typer.Option("--update", help="Have the servers answer with the champion first, as a promotion does.")
    ] = False,
    config: WhichStore = TINY,
    overrides: Overrides = None,
    json: Annotated[bool, typer.Option("--json", help="The same for machines.")] = False,
) -> None:
    """Compare the promotion log with what clients get and what each server of promotion.serving has loaded.

    Exits with 0 if all answer with the champion, else with 1.
    """
    from flows.serving import swap

    tree = load(config, overrides or ())
    store, serving = tree.open_store(), tree.promotion.serving
    if not serving.replicas:
        raise UserError("promotion.serving.replicas names no server", "set it, and serving.alias: deployments/gateway")
    if update:
        swap.swap(store, serving)
    found = swap.served(store, serving)
    if json:
        write_json(found.model_dump() | {"agrees": found.agrees})
    else:
        lines = {
            "champion by the log": found.champion or "none",
            f"asked for as {serving.model}": found.alias.adapter if found.alias else "none yet",
            **{each.url: each.error or ", ".join(each.adapters) for each in found.replicas},
        }
        for name, value in lines.items():
            console.print(f"{name:28} {value}", markup=False, highlight=False)
        console.print("[green]✓[/] all agree" if found.agrees else "[bold red]✗[/] they differ", highlight=False)
    raise typer.Exit(not found.agrees)
