"""Naming the craft: the head beside others on the same pictures, with all labels, with few, and with none at all.

    PYTHONPATH=. python benchmarks/cluster_head.py RUN --data textiles/manifest.csv --seeds 3 --work cluster_head_work

Classes are the clusters with LEAST labelled pictures of the train split or more; smaller ones lose their labels. The
run's latents stay as they are, only heads are fitted. Nothing is chosen on test pictures.

* all labels: beside the head without the graph, with a shuffled graph (same degrees, random ends), logistic regression
  and nearest neighbours on the same latents and on colour histogram + LBP, and a classifier with the run's encoder,
  trained from random weights on the same squares of the same pictures (first seed only).
* few labels: FEW pictures of each label keep it, the same for all rows; the rest of the train split has none. Val keeps
  its labels, by which heads are calibrated; other rows are not.
* never shown: HELD of the classes at a time are left out of the fit, each class once. Their test pictures, and those of
  the others, are then named one of all the classes. "Class names alone" knows of each class how its names are spelled.
* across sources: heads fitted without the pictures of one source, nor what is nearly a copy of one of them, then asked
  all of its pictures. The encoder is not trained again (it saw them without labels), unlike in sources.py.
* no textiles: the share of the pictures in a folder that is called unlike anything seen.

The classifier, the names, the sources and what is no textile are of the first seed only. An interrupted command goes on
where it was when it is given the same --work again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import networkx as nx
import numpy as np
import sources
import study
import torch
import torch.nn.functional as F
from peers import _flipped_crop
from torch import Tensor, nn

import kg
import kg.graph
import kg.head
import kg.measure
from kg import fit as fitting
from kg.graph import TERM_EDGES, resolve
from kg.head import Head, Knowledge, embedded, knowledge
from kg.measure import HEAD, confusion_picture, logistic, measure, nearest
from saree_vae import baselines, checkpoint, data, regions, sheets
from saree_vae.checkpoint import Run
from saree_vae.data import DataSet, Item
from saree_vae.encoding import encode_items, shrunk, to_tensor
from saree_vae.errors import SareeError
from saree_vae.files import atomic_write
from saree_vae.latents import Latents
from saree_vae.vae import VAE

LEAST = 10  # labelled pictures of a class in the train split
FEW = 5
HELD = 5
CROPS = 4  # small regions of a picture, as in `fit-head`
PREFIX, SOURCES = "batik", 4
TWINS = 0.97  # cosine of embeddings: on textiles, those of two sources that are more alike are crops of one photograph
SWAPS = 20  # for each edge, of which some cannot be made
NGRAMS = (2, 4)  # letters of a name
NO_GRAPH, SHUFFLED, NAMES = "head without graph", "head with shuffled graph", "class names alone"
ENCODER = "classifier with the same encoder"
# Of the classifier: usual values, of which none was chosen by looking at test pictures.
EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 40, 64, 1e-3, 0.05


@dataclass(frozen=True)
class Bench:
    """What is measured: pictures whose latents could be made, by their number.

    Attributes:
        items, latents: N pictures, in one order.
        owner: (N,) the id of each one's class, or "".
        classes: C ids, sorted.
    """

    run: Run
    graph: nx.MultiDiGraph
    items: tuple[Item, ...]
    latents: Latents
    owner: np.ndarray
    classes: tuple[str, ...]
    work: Path

    def of(self, *splits: str) -> np.ndarray:
        """Numbers of the pictures of a class on these splits."""
        return np.array([i for i, item in enumerate(self.items) if item.split in splits and self.owner[i]], dtype=int)


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    dataset, graph, seeds = data.read_data(options.data), kg.load_graph(), range(options.seeds)
    bench = opened(checkpoint.load(options.run), dataset, graph, Path(options.work))
    everything = [kept(bench, f"all_{seed}", lambda seed=seed: with_all(bench, seed, options.epochs)) for seed in seeds]
    report = {
        "run": bench.run.fingerprint,
        "seeds": list(seeds),
        "epochs": options.epochs,
        "data": {"name": dataset.root.name, "digest": dataset.digest()},
        "classes": {name: int((bench.owner[bench.of("train")] == name).sum()) for name in bench.classes},
        "pictures": {split: len(bench.of(split)) for split in ("train", "val", "test")},
        "all": summary(everything),
        "few": summary([kept(bench, f"few_{seed}", lambda seed=seed: with_few(bench, seed)) for seed in seeds]),
        "never_shown": over_seeds(
            [kept(bench, f"never_shown_{seed}", lambda seed=seed: never_shown(bench, seed)) for seed in seeds]
        ),
        "sources": across_sources(bench, dataset),
        "answers": [task["answers"] for task in everything],
        "first": {name: everything[0][name] for name in ("rows", "by_cluster", "confusion")},
    }
    if options.labelled_run:
        report["labelled"] = labelled(options, dataset, graph, seeds)
    if options.others:
        report["others"] = others(bench, fitted(bench, 0), options.others)
    if options.picture:
        sheets.save(confusion_picture(report["first"]["confusion"]), options.picture)
    study.tell(report, markdown, options.json)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = study.parser(__doc__)
    parser.add_argument("run", help="a run that learned without labels")
    parser.add_argument("--labelled-run", help="a run that learned with labels, for the rows with all labels")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of the classifier with the same encoder")
    parser.add_argument("--others", help="folder of pictures that are no textiles")
    parser.add_argument("--picture", help="write the first seed's confusions here, as PNG")
    parser.add_argument("--work", default="cluster_head_work", help="folder of what was made, used again if there")
    return parser.parse_args(arguments)


def opened(run: Run, dataset: DataSet, graph: nx.MultiDiGraph, work: Path) -> Bench:
    """Encode the pictures, or take what was encoded before, and find out what their labels stand for."""
    latents = encoded(run, dataset.items, work / f"{run.fingerprint[:12]}_{dataset.digest()[:12]}.npz")
    by_key = {item.key: item for item in dataset.items}
    items = tuple(by_key[latents.keys[start]] for start in latents.starts)
    known = {label: meant(graph, label) for label in {item.cluster for item in items}}
    owner = np.array([known[item.cluster] for item in items], dtype=str)
    found = Counter(name for name, item in zip(owner.tolist(), items, strict=True) if name and item.split == "train")
    classes = tuple(sorted(name for name, count in found.items() if count >= LEAST))
    if len(classes) < 2:
        raise SareeError(f"{dataset.root}: {len(classes)} clusters with {LEAST} pictures in train; 2 are needed")
    return Bench(run, graph, items, latents, np.where(np.isin(owner, classes), owner, ""), classes, work)


def meant(graph: nx.MultiDiGraph, label: str | None) -> str:
    """The id of the cluster that a photo label stands for; "" for none."""
    try:
        return resolve(graph, label).removeprefix("cluster:") if label else ""
    except SareeError:
        return ""


def encoded(run: Run, items: Sequence[Item], file: Path) -> Latents:
    if file.exists():
        return Latents.load(file)
    latents, _ = encode_items(run, items, crops=CROPS, progress=_told)
    latents.save(file)
    return latents


def _told(done: int, total: int) -> None:
    if done % 500 == 0 or done == total:
        study.say(f"encoded {done} of {total}")


def fitted(
    bench: Bench,
    seed: int,
    *,
    hidden: np.ndarray | None = None,
    gone: np.ndarray | None = None,
    graph: nx.MultiDiGraph | None = None,
    **more: bool,
) -> Head:
    """A head on train, calibrated on val.

    Args:
        hidden: (N,) true where a label is hidden; gone: (N,) where the picture is left out.
        graph: another one than the bench's.
    """
    count = len(bench.items)
    hidden, gone = (np.zeros(count, dtype=bool) if x is None else x for x in (hidden, gone))
    controls = [_control(bench.graph, item.cluster) for item in bench.items]
    kept = {
        item.key: item.cluster if (name or control) and not hide else None
        for item, name, control, hide in zip(bench.items, bench.owner, controls, hidden, strict=True)
    }
    splits = {item.key: "test" if out else item.split for item, out in zip(bench.items, gone, strict=True)}
    graph = bench.graph if graph is None else graph
    model = bench.run.fingerprint
    study.say(f"fitting a head, seed {seed}")
    return fitting.fit(
        bench.latents, kept, splits, graph, model=model, crops=CROPS, seed=seed, tell=lambda _: None, **more
    )


def _control(graph: nx.MultiDiGraph, label: str | None) -> bool:
    return graph.nodes.get(f"label:{label}", {}).get("role") == "control"


def answers(head: Head, bench: Bench, pictures: np.ndarray) -> np.ndarray:
    """Probabilities (N, S) of some pictures."""
    return np.exp(head.log_probabilities(bench.latents.of(pictures)))


# --- all labels, few labels ---


def kept(bench: Bench, name: str, make: Callable[[], dict]) -> dict:
    """A part of the figures, made once for a run, its pictures and the code that fits and measures."""
    digest = hashlib.sha256("\n".join([*(item.key for item in bench.items), *bench.classes]).encode())
    for module in (kg.graph, fitting, kg.head, kg.measure):
        digest.update(Path(module.__file__).read_bytes())
    file = bench.work / f"{name}_{bench.run.fingerprint[:12]}_{digest.hexdigest()[:12]}.json"
    if not file.exists():
        found = make()
        with atomic_write(file) as temporary:
            temporary.write_text(json.dumps(found), encoding="utf-8")
    return json.loads(file.read_text(encoding="utf-8"))


def with_all(bench: Bench, seed: int, epochs: int) -> dict:
    """`measure` on the test split, beside what knows less or sees otherwise."""
    test = bench.of("test")
    beside = {
        NO_GRAPH: answers(fitted(bench, seed, by_graph=False), bench, test),
        SHUFFLED: answers(fitted(bench, seed, graph=shuffled(bench.graph, seed)), bench, test),
        **_by_histograms(bench, bench.of("train"), test, seed),
    }
    if seed == 0:  # it takes as long as all else of a seed
        beside[ENCODER] = _by_encoder(bench, seed, epochs)
    return measure(fitted(bench, seed), bench.latents.of(test), bench.owner[test], beside=beside, seed=seed)


def with_few(bench: Bench, seed: int) -> dict:
    """The same with FEW labelled pictures of each label."""
    test, shown = bench.of("test"), few(bench, seed)
    hidden = np.array([item.split == "train" for item in bench.items])
    hidden[shown] = False
    beside = {
        NO_GRAPH: answers(fitted(bench, seed, hidden=hidden, by_graph=False), bench, test),
        SHUFFLED: answers(fitted(bench, seed, hidden=hidden, graph=shuffled(bench.graph, seed)), bench, test),
        "head without unlabelled pictures": answers(fitted(bench, seed, hidden=hidden, unlabelled=False), bench, test),
        "head without graph and unlabelled pictures": answers(
            fitted(bench, seed, hidden=hidden, unlabelled=False, by_graph=False), bench, test
        ),
        **_by_histograms(bench, shown[bench.owner[shown] != ""], test, seed),
    }
    head = fitted(bench, seed, hidden=hidden)
    return measure(head, bench.latents.of(test), bench.owner[test], beside=beside, seed=seed)


def few(bench: Bench, seed: int) -> np.ndarray:
    """Numbers of FEW pictures of the train split for each class, and for each label that is no craft."""
    draw = np.random.default_rng(seed)
    groups: dict[str, list[int]] = {}
    for i in draw.permutation(len(bench.items)):
        item, name = bench.items[i], str(bench.owner[i])
        if item.split == "train" and (name or _control(bench.graph, item.cluster)):
            groups.setdefault(name or str(item.cluster), []).append(int(i))
    return np.array(sorted(i for group in groups.values() for i in group[:FEW]))


def _by_histograms(bench: Bench, train: np.ndarray, asked: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    rows, number = histograms(bench), {name: at for at, name in enumerate(bench.classes)}
    labels = np.array([number[name] for name in bench.owner[train]])
    study.say(f"colour histogram + LBP, {len(train)} labelled pictures")
    return {
        f"{name}, colour + LBP": made(rows[train], labels, len(number), seed=seed)(rows[asked])
        for name, made in (("logistic regression", logistic), ("nearest neighbours", nearest))
    }


def histograms(bench: Bench) -> np.ndarray:
    """Colour histogram and LBP of the whole pictures, (N, 1270)."""
    keys = hashlib.sha256("\n".join(item.key for item in bench.items).encode()).hexdigest()
    file, size = bench.work / f"colour_lbp_{keys[:12]}.npy", bench.run.config.model.image_size
    if file.exists():
        return np.load(file)
    study.say("colour histogram + LBP of all pictures")
    bad: list[data.Bad] = []
    parts = [
        baselines.both(shrunk(images, size))
        for _, images in data.batches(bench.items, bench.run.read_size, BATCH, bad=bad, strict=True)
    ]
    with atomic_write(file) as temporary, temporary.open("wb") as opened_file:
        np.save(opened_file, np.concatenate(parts))
    return np.load(file)


# --- a classifier with the same encoder ---


class Classifier(nn.Module):
    """The run's two encoders with fresh weights, and one linear layer on the latents' means: logits (B, C)."""

    def __init__(self, run: Run, classes: int):
        super().__init__()
        self.vae = VAE(run.config.model.model_copy(update={"pretrained": False}))
        self.linear = nn.Linear(self.vae.latent_dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.vae.encode(x).mu)


def _by_encoder(bench: Bench, seed: int, epochs: int) -> np.ndarray:
    """Probabilities of the test pictures, joined over the squares of a picture as the head joins them."""
    digest = hashlib.sha256("\n".join(item.key for item in bench.items).encode()).hexdigest()[:12]
    file = bench.work / f"classifier_{bench.run.fingerprint[:12]}_{digest}_{epochs}_{seed}.npy"
    if not file.exists():
        found = _log_probabilities(trained(bench, seed, epochs), bench)
        with atomic_write(file) as temporary, temporary.open("wb") as opened_file:
            np.save(opened_file, found)
    return np.load(file)


def trained(bench: Bench, seed: int, epochs: int) -> Classifier:
    """Cross-entropy on a square of each picture an epoch, cropped and flipped as for the run's own training.

    Logits are raised by the log of the classes' shares in training, as the head's are, so that classes count alike.
    """
    torch.manual_seed(seed)
    train, draw = bench.of("train"), np.random.default_rng(seed)
    net, size = Classifier(bench.run, len(bench.classes)).to(bench.run.device), bench.run.config.model.image_size
    target = torch.from_numpy(np.searchsorted(bench.classes, bench.owner[train])).to(bench.run.device)
    prior = torch.bincount(target, minlength=len(bench.classes)).div(len(target)).log()
    squares = _squares(bench, train)
    per_epoch = max(1, len(train) // BATCH)
    adam = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, epochs * per_epoch)
    for epoch in range(epochs):
        total = 0.0
        for rows in np.array_split(draw.permutation(len(train)), per_epoch):
            pictures = [squares[i][draw.integers(len(squares[i]))] for i in rows]
            crops = [_flipped_crop(p, size, seed, epoch, int(i)) for p, i in zip(pictures, rows, strict=True)]
            loss = F.cross_entropy(net(to_tensor(np.stack(crops), bench.run.device)) + prior, target[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
            schedule.step()
            total += loss.item() / per_epoch
        study.say(f"{ENCODER}, seed {seed}: epoch {epoch + 1}, loss {total:.3f}")
    return net.eval()


def _squares(bench: Bench, pictures: np.ndarray) -> list[np.ndarray]:
    """Of each picture the whole and its regions, (V, size, size, 3) uint8: what the latents were made from."""
    items, size = [bench.items[i] for i in pictures], bench.run.read_size
    read = data.read_ahead(items, lambda item: regions.read(item.path, size, CROPS).squares, strict=True)
    return [squares for _, squares in read]


@torch.inference_mode()
def _log_probabilities(net: Classifier, bench: Bench) -> np.ndarray:
    size, joined = bench.run.config.model.image_size, []
    for squares in _squares(bench, bench.of("test")):
        logits = net(to_tensor(np.ascontiguousarray(shrunk(squares, size)), bench.run.device))
        joined.append(logits.log_softmax(1).mean(0).softmax(0).cpu().numpy())
    return np.stack(joined)


# --- a graph that knows nothing, and names instead of a graph ---


def shuffled(graph: nx.MultiDiGraph, seed: int) -> nx.MultiDiGraph:
    """The same graph with random ends: what is known of clusters and labels is exchanged among them.

    Pairs of edges of one kind exchange their ends, with all the edges carry, unless a fact would then be there twice;
    so every subject keeps how many terms it has, and every term (or graded attribute) how many subjects.
    """
    other, draw = nx.MultiDiGraph(graph), np.random.default_rng(seed)
    for kind in (*TERM_EDGES, "has_attribute"):
        edges = [(a, b, dict(about)) for a, b, key, about in graph.edges(keys=True, data=True) if key == kind]
        other.remove_edges_from([(a, b, kind) for a, b, _ in edges])
        other.add_edges_from((a, b, kind, about) for a, b, about in _exchanged(edges, draw))
    return other


def _exchanged(edges: list[tuple[str, str, dict]], draw: np.random.Generator) -> list[tuple[str, str, dict]]:
    edges, there = list(edges), {(a, b) for a, b, _ in edges}
    for i, j in draw.integers(0, len(edges), (SWAPS * len(edges), 2)):
        (a, b, x), (c, d, y) = edges[i], edges[j]
        if b != d and ((a, d) in there or (c, b) in there):
            continue
        there -= {(a, b), (c, d)}
        there |= {(a, d), (c, b)}
        edges[i], edges[j] = (a, d, y), (c, b, x)
    return edges


def by_names(graph: nx.MultiDiGraph) -> Callable[[nx.MultiDiGraph, Sequence[str]], Knowledge]:
    """In place of `kg.head.knowledge`: classes are as like as the letters of their names, and nothing else is known."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    nodes = {
        name.removeprefix("cluster:"): about for name, about in graph.nodes(data=True) if about["kind"] == "cluster"
    }
    names = {name: " ".join((about["name"], *about.get("alt_names", ()))) for name, about in nodes.items()}
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=NGRAMS).fit(names.values())

    def known(other: nx.MultiDiGraph, ids: Sequence[str]) -> Knowledge:
        about = knowledge(other, ids)
        vectors = letters.transform([names[name] for name in ids]).toarray().astype(np.float32)
        columns = tuple(letters.get_feature_names_out())
        return replace(about, shows=np.zeros_like(about.shows), vectors=vectors, columns=columns)

    return known


# --- classes that no picture was shown of ---


def never_shown(bench: Bench, seed: int) -> dict[str, dict[str, float]]:
    """Figures by row; every class is held out once."""
    folds = np.random.default_rng(seed).permutation(len(bench.classes))
    folds = [[bench.classes[k] for k in folds[at : at + HELD]] for at in range(0, len(folds), HELD)]
    other, named = shuffled(bench.graph, seed), by_names(bench.graph)
    ways = {
        HEAD: (bench.graph, knowledge),
        SHUFFLED: (other, knowledge),
        NAMES: (bench.graph, named),
    }
    if seed:
        del ways[NAMES]  # once is enough
    rows = {}
    for name, (graph, known) in ways.items():
        asked = [_generalised(bench, seed, held, graph, known) for held in folds]
        rows[name] = _hits(np.concatenate(asked, axis=1), bench.classes)
        study.say(f"never shown, seed {seed}: {name}: {rows[name]}")
    return rows | {"chance": _chance(len(bench.classes))}


def _generalised(bench: Bench, seed: int, held: list[str], graph: nx.MultiDiGraph, known: Callable) -> np.ndarray:
    """(4, N) of the test pictures: class, whether it was held out, whether it was first, or among the first five."""
    with mock.patch.object(fitting, "knowledge", known):
        head = fitted(bench, seed, gone=np.isin(bench.owner, held), graph=graph)
    # Of all clusters in the graph, only the classes are candidates.
    head = replace(head, knowledge=known(graph, [*head.shown, *held]))
    test = bench.of("test")
    scores = head.log_probabilities(bench.latents.of(test), unseen=True)  # (N, C)
    best = np.array(head.knowledge.clusters)[np.argsort(-scores, axis=1, kind="stable")]
    right = best == bench.owner[test][:, None]
    number = np.searchsorted(bench.classes, bench.owner[test])
    return np.stack([number, np.isin(bench.owner[test], held), right[:, 0], right[:, :5].any(1)])


def _hits(asked: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """Means over pictures, then over classes, of `_generalised`."""
    number, out, first, five = asked[0].astype(int), asked[1] > 0, asked[2], asked[3]
    columns = {"hit@1": first[out], "hit@5": five[out], "seen": first[~out]}
    owners = {"hit@1": number[out], "hit@5": number[out], "seen": number[~out]}
    figures = {name: float(values.mean()) for name, values in columns.items()}
    by_class = {
        name: float(np.mean([values[owners[name] == k].mean() for k in np.unique(owners[name])]))
        for name, values in columns.items()
    }
    return (
        figures
        | {"harmonic": harmonic(figures["hit@1"], figures["seen"])}
        | {f"{name}, by class": value for name, value in by_class.items()}
        | {"harmonic, by class": harmonic(by_class["hit@1"], by_class["seen"])}
    )


def harmonic(a: float, b: float) -> float:
    return 2 * a * b / max(a + b, 1e-12)


def _chance(count: int) -> dict[str, float]:
    one, five = 1 / count, min(1.0, 5 / count)
    figures = {"hit@1": one, "hit@5": five, "seen": one, "harmonic": one}
    return figures | {f"{name}, by class": value for name, value in figures.items()}


# --- across sources, other latents, other pictures ---


def across_sources(bench: Bench, dataset: DataSet) -> list[dict]:
    """Figures of each of the largest sources, of one seed; none where there are no two sources of such classes."""
    try:
        names = sources.largest(dataset, PREFIX, SOURCES)
    except SareeError:
        return []
    found = {
        name: kept(bench, f"source_{at}", lambda name=name: _without(bench, name, 0)) for at, name in enumerate(names)
    }
    return [{"source": name} | summary([task]) for name, task in found.items() if "skipped" not in task]


def _without(bench: Bench, source: str, seed: int) -> dict:
    items = bench.items
    asked = np.array([i for i, item in enumerate(items) if item.source == source and bench.owner[i].startswith(PREFIX)])
    groups = {items[i].metadata.get("group", items[i].key) for i in asked}
    gone = np.array([item.source == source or item.metadata.get("group", item.key) in groups for item in items])
    embedding = embedded(bench.latents)
    gone |= (embedding @ embedding[asked].T).max(1) > TWINS
    head = fitted(bench, seed, gone=gone)
    beside = {NO_GRAPH: answers(fitted(bench, seed, gone=gone, by_graph=False), bench, asked)}
    return measure(head, bench.latents.of(asked), bench.owner[asked], beside=beside, seed=seed)


def labelled(options: argparse.Namespace, dataset: DataSet, graph: nx.MultiDiGraph, seeds: Sequence[int]) -> dict:
    """The rows with all labels on latents that were learned with labels."""
    bench = opened(checkpoint.load(options.labelled_run), dataset, graph, Path(options.work))
    test = bench.of("test")

    def task(seed: int) -> dict:
        beside = {NO_GRAPH: answers(fitted(bench, seed, by_graph=False), bench, test)}
        return measure(fitted(bench, seed), bench.latents.of(test), bench.owner[test], beside=beside, seed=seed)

    tasks = [kept(bench, f"labelled_{seed}", lambda seed=seed: task(seed)) for seed in seeds]
    return {"run": bench.run.fingerprint, "answers": tasks[0]["answers"]} | summary(tasks)


def others(bench: Bench, head: Head, folder: str) -> dict:
    """How often pictures that are no textiles are called unlike anything seen, and test pictures are."""
    dataset = data.read_data(folder)
    file = bench.work / f"{bench.run.fingerprint[:12]}_{dataset.digest()[:12]}.npz"
    strange = encoded(bench.run, dataset.items, file)
    test = _unlike(head, bench.latents.of(bench.of("test")))
    return {"pictures": len(strange.starts), "unlike": _unlike(head, strange), "test pictures unlike": test}


def _unlike(head: Head, latents: Latents) -> float:
    return float(((embedded(latents) @ head.pieces.T).max(1) < head.lonely).mean())


# --- figures over seeds, and for people ---


def summary(tasks: Sequence[dict]) -> dict:
    """Of what `measure` gave for each seed: mean, lowest and highest of each figure, by row and column."""
    values = [
        {row["name"]: {c: f["value"] for c, f in row["figures"].items()} for row in task["rows"]} for task in tasks
    ]
    return {"queries": tasks[0]["queries"], "left_out": tasks[0]["left_out"], "rows": over_seeds(values)}


def over_seeds(found: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, dict[str, float]]]:
    return {
        name: {column: _spread([one[name][column] for one in found if name in one]) for column in found[0][name]}
        for name in found[0]
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "low": float(min(values)), "high": float(max(values))}


def markdown(report: dict) -> str:
    """What the figures were made with, and the tables."""
    pictures, count = report["pictures"], len(report["seeds"])
    about = (
        f"{len(report['classes'])} classes; {pictures['train']:,} pictures of them in train, {pictures['val']:,} "
        f"in val, {pictures['test']:,} in test. Mean of {count} seeds, and in brackets the lowest and the highest; the "
        f"{ENCODER}: first seed only."
    )
    parts = [about, *_tables(report)]
    answered = study.table(["answered at risk 0.1, first seed", "share", "right"], _answer_rows(report["answers"][0]))
    parts.append(answered)
    if "others" in report:
        found = report["others"]
        parts.append(
            f"Called unlike anything seen: {found['unlike']:.3f} of {found['pictures']} pictures that are no "
            f"textiles, {found['test pictures unlike']:.3f} of the test pictures."
        )
    worst = [
        [row["name"], f"{row['n']}", f"{row['figures']['F1']['value']:.2f}", " ".join(map(str, row["taken_for"] or ()))]
        for row in report["first"]["by_cluster"]
    ]
    return "\n\n".join([*parts, study.table(["class, worst first", "n", "F1", "most often taken for"], worst)])


def _tables(report: dict) -> Iterator[str]:
    titles = {"all": "all labels", "labelled": "all labels, latents learned with labels", "few": f"{FEW} of each label"}
    for key, title in titles.items():
        if key in report:
            yield _table(title, report[key]["rows"])
    yield _table("never shown", report["never_shown"])
    for one in report["sources"]:
        yield _table(f"without {one['source']} ({one['queries']} pictures)", one["rows"])


def _table(title: str, rows: dict[str, dict]) -> str:
    columns = list(next(iter(rows.values())))
    return study.table([title, *columns], [[name, *(_cell(row[c]) for c in columns)] for name, row in rows.items()])


def _answer_rows(answers: dict) -> list[list[str]]:
    return [
        [one["level"], f"{one['share']['value']:.3f}", f"{one['right']['value']:.3f}" if one["right"] else "-"]
        for one in answers["levels"]
    ]


def _cell(spread: dict[str, float]) -> str:
    same = spread["low"] == spread["high"]
    return f"{spread['mean']:.3f}" + ("" if same else f" ({spread['low']:.3f}-{spread['high']:.3f})")


if __name__ == "__main__":
    study.run(main)
