"""Where an artifact comes from: everything that it was made from, up to the files of the user's."""

from dataclasses import dataclass, field
from typing import Any

from tasks.engine.storage.artifact import SHORT, Artifact

START = "start"  # the input of a training that goes on from another's adapter
Inputs = dict[str, str]  # the input's name → the node that it is


@dataclass(frozen=True)
class Node:
    """An artifact, or a source. `gone`: its record is not in the store any more, so what is behind it is unknown."""

    name: str  # train/3f2a9c01b7e4d582, or plant.jsonl
    label: str = ""  # of a source empty
    made_at: str = ""
    adopted: dict[str, str] | None = None
    gone: bool = False
    inputs: Inputs = field(default_factory=dict)

    def edges(self) -> list[tuple[str, str]]:
        """(input names, source): several inputs of one artifact are one edge."""
        by_source: dict[str, list[str]] = {}
        for how, source in self.inputs.items():
            by_source.setdefault(source, []).append(how)
        return [(", ".join(names), source) for source, names in by_source.items()]


@dataclass(frozen=True)
class Lineage:
    """Nodes by name, the artifact that was asked for first; every node but it is an input of another."""

    root: str
    nodes: dict[str, Node]

    @property
    def chain(self) -> list[str]:
        """The trainings of which each went on from the adapter of the one before, the first one first; or none."""
        chain = [name for name, node in self.nodes.items() if START in node.inputs][:1]
        while chain and (before := self.nodes[chain[0]].inputs.get(START)):
            chain.insert(0, before)
        return chain

    def plain(self) -> dict[str, Any]:
        """As JSON: the nodes, and an edge from each input to what was made of it."""
        nodes = [
            {"name": n.name, "label": n.label, "made_at": n.made_at, "adopted": n.adopted, "gone": n.gone}
            for n in self.nodes.values()
        ]
        edges = [{"from": source, "to": n.name, "as": how} for n in self.nodes.values() for how, source in n.edges()]
        return {"artifact": self.root, "nodes": nodes, "edges": edges, "chain": self.chain}

    def mermaid(self) -> str:
        """A flow chart, sources on the left; for Prefect's pages, GitHub and other Markdown."""
        names = {name: f"n{number}" for number, name in enumerate(self.nodes)}
        lines = ["flowchart LR"]
        for node in self.nodes.values():
            step, _, key = node.name.partition("/")
            shape = f'["{node.label or step}<br/>{key}"]' if node.label or node.gone else f'[("{node.name}")]'
            lines.append(f"  {names[node.name]}{shape}")
        for node in self.nodes.values():
            lines += [f"  {names[source]} -->|{how}| {names[node.name]}" for how, source in node.edges()]
        return "\n".join(lines)


def lineage(artifact: Artifact) -> Lineage:
    """Follow an artifact's record to its inputs, and theirs."""
    nodes: dict[str, Node] = {}
    todo = [artifact]
    root = _name(artifact.step, artifact.key)
    while todo:
        each = todo.pop(0)
        name = _name(each.step, each.key)
        if name in nodes:
            continue
        record = each.record
        inputs: Inputs = {}
        nodes[name] = Node(name, record["label"], record["made_at"], record.get("adopted"), inputs=inputs)
        for given, origin in record.get("inputs", {}).items():
            if origin is None:
                continue
            if origin["key"] is None:
                source = record["made_from"][given]
                nodes.setdefault(source, Node(source))
            else:
                source = _name(origin["step"], origin["key"])
                found = each.store.open(origin["step"], origin["key"])
                if found and found.has_record:
                    todo.append(found)
                else:
                    nodes.setdefault(source, Node(source, gone=True))
            inputs[given] = source
    return Lineage(root, nodes)


def _name(step: str, key: str) -> str:
    return f"{step}/{key[:SHORT]}"
