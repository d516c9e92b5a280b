"""Where an artifact comes from: what it was made from, and why, each back to the files of the user's."""

from pydantic import BaseModel, computed_field

from tasks.engine.record import Adoption, Reason
from tasks.engine.storage.artifact import SHORT, Artifact

START = "start"  # the input of a training that goes on from another's adapter


class Node(BaseModel, frozen=True):
    """An artifact, or a source of the user's, which has no label.

    `in_store` is False if its record is gone, so that what is behind it is not known.
    """

    name: str  # train/3f2a9c01b7e4d582, or plant.jsonl
    label: str = ""
    made_at: str = ""
    adopted: Adoption | None = None
    in_store: bool = True


class Edge(BaseModel, frozen=True):
    """`source` is the `inputs` of `target`; several inputs from one artifact are one edge."""

    source: str
    target: str
    inputs: tuple[str, ...]


class Lineage(BaseModel, frozen=True):
    """`reground lineage --json`: the artifact, its ancestors by name, and an edge from each to what was made of it."""

    artifact: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def chain(self) -> tuple[str, ...]:
        """The trainings of which each went on from the adapter of the one before, the first one first; or none."""
        before = {each.target: each.source for each in self.edges if START in each.inputs}
        chain = [each.name for each in self.nodes if each.name in before][:1]
        while chain and chain[0] in before:
            chain.insert(0, before[chain[0]])
        return tuple(chain)

    def into(self, target: str) -> list[Edge]:
        """The edges into a node, in the order of its inputs."""
        return [each for each in self.edges if each.target == target]


class Cause(BaseModel, frozen=True):
    """`reground why --json`: an artifact, why it was made, and the same of those inputs that were a reason."""

    artifact: str  # train/3f2a9c01b7e4d582
    label: str
    made_at: str
    made_by: str
    seconds: float
    why: Reason
    before: str | None  # the artifact that it is compared with
    adopted: Adoption | None
    inputs: dict[str, "Cause"]


def lineage(artifact: Artifact) -> Lineage:
    """Follow an artifact's record to its inputs, and theirs."""
    nodes: dict[str, Node] = {}
    edges: list[Edge] = []
    todo = [artifact]
    while todo:
        each = todo.pop(0)
        name, record = _name(each.step, each.key), each.record
        if name in nodes:
            continue
        nodes[name] = Node(name=name, label=record.label, made_at=record.made_at, adopted=record.adopted)
        inputs: dict[str, list[str]] = {}
        for given, origin in record.inputs.items():
            if origin is None:
                continue
            source = origin.about
            if origin.step and origin.key:
                source = _name(origin.step, origin.key)
                if (found := each.store.open(origin.step, origin.key)) and found.has_record:
                    todo.append(found)
                else:
                    nodes.setdefault(source, Node(name=source, in_store=False))
            else:
                nodes.setdefault(source, Node(name=source))
            inputs.setdefault(source, []).append(given)
        edges += (Edge(source=source, target=name, inputs=tuple(names)) for source, names in inputs.items())
    return Lineage(artifact=_name(artifact.step, artifact.key), nodes=tuple(nodes.values()), edges=tuple(edges))


def why(artifact: Artifact) -> Cause:
    """Read it from the records; it ends at an input whose artifact is gone from the store."""
    record = artifact.record
    inputs: dict[str, Cause] = {}
    for name in dict.fromkeys(each.name for each in record.why.changes if each.kind == "input"):
        if (found := artifact.input_artifact(name)) and found.has_record:
            inputs[name] = why(found)
    return Cause(
        artifact=_name(artifact.step, artifact.key),
        label=record.label,
        made_at=record.made_at,
        made_by=record.made_by.get("user", ""),
        seconds=record.seconds,
        why=record.why,
        before=_name(artifact.step, record.before) if record.before else None,
        adopted=record.adopted,
        inputs=inputs,
    )


def _name(step: str, key: str) -> str:
    return f"{step}/{key[:SHORT]}"
