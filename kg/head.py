"""The craft-cluster head: from a picture's latents to probabilities of clusters, by looks and by what the graph knows.

Two paths add up to the logit of a cluster. One goes from the latent straight to the clusters that pictures were shown
of, by a network and by what the labelled pieces that are like it claim. The other goes through the graph: the latent
tells what is to be seen (visible attributes, terms of the craft), and the graph tells which clusters have it.
Only the second needs no picture of a cluster, so it can name one never shown.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import networkx as nx
import numpy as np
import torch
import torch.nn.functional as F
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as deserialise
from safetensors.torch import save as serialise
from scipy.stats import beta
from torch import Tensor, nn

from saree_vae.errors import SareeError
from saree_vae.files import atomic_write
from saree_vae.latents import Latents, unit

from .graph import clusters, graph_hash, members
from .node_features import node_features
from .schema import GROUP_LEVELS

FORMAT = 3  # change the number with what is fitted or kept
HIDDEN = 512
DROPOUT = 0.5
SAMPLES = 8  # of z for each latent: half of them are the mirror images of the others
RISK = 0.1  # share of answers that may be wrong
CONFIDENCE = 0.9  # that the share of wrong answers is not above the risk
ROUNDING = 1e-6  # of probabilities: beside others a picture gets nearly, not quite, the same as alone
SHOWS = {"yes": 1.0, "sometimes": 0.0, "no": -1.0}
LEVELS = ("cluster", *GROUP_LEVELS)
KEPT = ("model", "motif_dim", "crops", "trust", "temperature", "offset", "novel", "lonely")
NEAREST = 5  # labelled pieces that a prediction names
BATCH = 2048  # latents at once
BREADTH = 0.3  # a piece speaks for its cluster by exp((cosine - 1) / BREADTH); chosen on val
COLOUR = 0.5  # weight of the colour half where pieces are compared: a craft comes in many colours


@dataclass(frozen=True)
class Knowledge:
    """What the graph says of K clusters, as arrays.

    Attributes:
        clusters: ids.
        attributes: nodes of A visible attributes.
        shows: (K, A) float32: 1 is seen on it, 0 sometimes, -1 never, NaN not known.
        columns, vectors: G nodes and their weights (K, G), `node_features`.
        groups: the group of each cluster, for every level.
        digest: `graph_hash` of the graph.
    """

    clusters: tuple[str, ...]
    attributes: tuple[str, ...]
    shows: np.ndarray
    columns: tuple[str, ...]
    vectors: np.ndarray
    groups: dict[str, tuple[str, ...]]
    digest: str

    @property
    def evidence(self) -> tuple[str, ...]:
        """Nodes that can be seen or speak for a cluster, each once, attributes first."""
        return tuple(dict.fromkeys((*self.attributes, *self.columns)))


def knowledge(graph: nx.MultiDiGraph, ids: Sequence[str]) -> Knowledge:
    """What the graph says of clusters, by id.

    What a label's own photographs show goes before what is known of the craft: it is photographs that are looked at.
    """
    found = node_features(graph, ids)
    attributes = sorted(node for node, data in graph.nodes(data=True) if data["kind"] == "attribute")
    shows = np.stack([shown(graph, f"cluster:{name}", attributes) for name in ids])
    groups = {level: tuple(_group(graph, f"cluster:{name}", level) for name in ids) for level in GROUP_LEVELS}
    return Knowledge(
        tuple(ids), tuple(attributes), shows, found.columns, found.matrix, groups, digest=graph_hash(graph)
    )


def shown(graph: nx.MultiDiGraph, node: str, attributes: Sequence[str]) -> np.ndarray:
    """Which attributes a cluster (or the photographs of a label) shows, (A,) float32, as in `Knowledge.shows`."""
    labels = sorted(a for a, _, kind in graph.in_edges(node, keys=True) if kind == "label_of")
    values = {
        attribute: SHOWS[data["value"]]
        for subject in (node, *labels)
        for _, attribute, kind, data in graph.out_edges(subject, keys=True, data=True)
        if kind == "has_attribute"
    }
    return np.array([values.get(attribute, np.nan) for attribute in attributes], dtype=np.float32)


def never_shown(graph: nx.MultiDiGraph, seen: Iterable[str]) -> list[str]:
    """Ids of clusters that are not among `seen`, nor a part of one of them, nor its umbrella."""
    nodes = {f"cluster:{name}" for name in seen}
    nodes |= {member for node in nodes for member in members(graph, node)}
    return [node.removeprefix("cluster:") for node in clusters(graph) if node not in nodes]


def _group(graph: nx.MultiDiGraph, node: str, level: str) -> str:
    found = [b for _, b, kind in graph.out_edges(node, keys=True) if kind == "member_of"]
    return next((graph.nodes[b]["name"] for b in found if graph.nodes[b]["kind"] == level), "")


class Seen(NamedTuple):
    """What the network sees in R latents: logits of clusters (R, S) and attributes (R, A), unit evidence (R, G)."""

    direct: Tensor
    attributes: Tensor
    evidence: Tensor


class Network(nn.Module):
    """From latents (R, D) to what is seen in them, and from that to logits of clusters."""

    def __init__(self, latent_dim: int, seen: int, attributes: int, columns: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(latent_dim))
        self.register_buffer("std", torch.ones(latent_dim))
        self.body = nn.Sequential(nn.Linear(latent_dim, HIDDEN), nn.GELU(), nn.Dropout(DROPOUT))
        self.direct = nn.Linear(HIDDEN, seen)
        self.attribute = nn.Linear(HIDDEN, attributes)
        self.evidence = nn.Linear(HIDDEN, columns)
        self.attribute_weight = nn.Parameter(torch.zeros(attributes))
        self.evidence_scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, z: Tensor) -> Seen:
        hidden = self.body((z - self.mean) / self.std)
        return Seen(self.direct(hidden), self.attribute(hidden), F.normalize(self.evidence(hidden), dim=-1))

    def by_graph(self, seen: Seen, shows: Tensor, vectors: Tensor, kept: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Logits (..., K) of clusters with these attributes (K, A) and evidence (K, G).

        Args:
            kept: 1 where an attribute (A,) and a column (G,) counts, 0 where it is taken for not seen at all.
        """
        strength, evidence = torch.tanh(seen.attributes / 2), seen.evidence  # -1 surely not, 1 surely
        if kept is not None:
            strength, evidence = strength * kept[0], evidence * kept[1]
        weighted = shows.nan_to_num() * F.softplus(self.attribute_weight)  # what is not known says nothing
        return strength @ weighted.T + self.evidence_scale.exp() * (evidence @ vectors.T)


@dataclass(frozen=True)
class Piece:
    """A labelled picture that a prediction was compared with; `likeness` is the cosine of embeddings, -1 to 1."""

    key: str
    cluster: str
    likeness: float


@dataclass(frozen=True)
class Prediction:
    """What a head says of one picture.

    Attributes:
        answer, level: a cluster's id, or the name of the narrowest group that can be told; None is "unsure".
        probability: of the answer; of the likeliest cluster when unsure.
        clusters: the likeliest and their probabilities, the likeliest first.
        groups: at each level the likeliest group and its probability.
        never_shown: where it is no answer by cluster, clusters that no picture was shown of, by the graph alone.
        unseen: whether such clusters competed for the answer.
        fit: how well the cluster that fits it best does, as `Head.fits`; about 0, none, to 1.
        novel: whether that is less than for nearly all pictures that were checked: no shown cluster is then named.
        unlike: whether it is less like any labelled piece than nearly all pictures that were checked.
        nearest: the labelled pieces that are most like it.
    """

    key: str
    answer: str | None
    level: str | None
    probability: float
    clusters: tuple[tuple[str, float], ...]
    groups: dict[str, tuple[str, float]]
    never_shown: tuple[tuple[str, float], ...]
    unseen: bool
    fit: float
    novel: bool
    unlike: bool
    nearest: tuple[Piece, ...]


@dataclass(frozen=True)
class Head:
    """A fitted head. The first S of its clusters were shown in pictures, the others are known from the graph only.

    Attributes:
        model: fingerprint of the run whose latents it was fitted on.
        motif_dim: latent dimensions of the motif half; crops: regions of a picture, as it was fitted.
        counts: (S,) pictures of each cluster that it was fitted on.
        trust: weight of `fits` in the logits; temperature: by which these are then divided.
        offset: what a cluster never shown gets instead of a direct logit.
        checked: (V, 2) probability of the likeliest cluster and whether it was right, on pictures of the val split.
        keys, owners, pieces: labelled pictures, their cluster as a number (P,) and their embedding (P, D).
        claims: (P, S) what each piece says of each cluster, `fit.claimed`.
        novel: a picture that no cluster fits better than this may be of one never shown; -inf with few checked ones.
        lonely: a picture whose nearest piece is less like it than this is unlike anything seen.
    """

    network: Network
    knowledge: Knowledge
    model: str
    motif_dim: int
    crops: int
    counts: tuple[int, ...]
    trust: float
    temperature: float
    offset: float
    checked: np.ndarray
    keys: tuple[str, ...]
    owners: np.ndarray
    pieces: np.ndarray
    claims: np.ndarray
    novel: float
    lonely: float

    @property
    def shown(self) -> tuple[str, ...]:
        return self.knowledge.clusters[: len(self.counts)]

    def require(self, fingerprint: str) -> None:
        """Raises SareeError unless latents of the model with this fingerprint are what the head was fitted on."""
        if fingerprint != self.model:
            raise SareeError(
                f"the head was fitted on latents of model {self.model[:8]}, but these come from {fingerprint[:8]}; "
                "fit it again with `saree-vae fit-head`"
            )

    def limit(self, risk: float = RISK) -> float:
        """From which probability on a cluster is named: `threshold`, or where that promises nothing, 1 - risk.

        Without any checked picture nothing is named.
        """
        if not len(self.checked):
            return float("inf")
        promised = threshold(*self.checked.T, risk)
        return promised if np.isfinite(promised) else 1 - risk

    def log_probabilities(
        self, latents: Latents, *, unseen: bool = False, without: Iterable[str] = (), flat: float = 1.0
    ) -> np.ndarray:
        """Calibrated log-probabilities, (N, S) for N pictures, or (N, K) with clusters that were never shown.

        Probabilities are averaged over z ~ N(mu, sigma): an uncertain latent gives a flatter answer. A picture's
        regions are then joined by the mean of their log-probabilities, and what labelled pieces claim is added
        (`fits`), except where clusters compete that have no piece.

        Args:
            without: nodes of evidence that are taken for not seen at all.
            flat: factor on sigma.

        Raises:
            SareeError: latents of another width or not finite.
        """
        if latents.mu.shape[1] != len(self.network.mean) or latents.motif_dim != self.motif_dim:
            raise SareeError(
                f"the head takes latents of {len(self.network.mean)} dimensions, {self.motif_dim} of them motif; got "
                f"{latents.mu.shape[1]} and {latents.motif_dim}"
            )
        require_finite(latents)
        count = len(self.knowledge.clusters) if unseen else len(self.counts)
        rows = np.concatenate(
            [
                self._rows(latents.mu[at : at + BATCH], flat * latents.sigma[at : at + BATCH], count, set(without))
                for at in range(0, max(len(latents), 1), BATCH)
            ]
        )  # (R, K)
        sizes = np.diff(np.r_[latents.starts, len(rows)])
        joined = np.add.reduceat(rows, latents.starts, axis=0) / sizes[:, None]  # (N, K)
        if self.trust and not unseen:
            joined = joined + self.trust * self.fits(embedded(latents))
        return torch.log_softmax(torch.from_numpy(joined) / self.temperature, 1).numpy()

    @torch.inference_mode()
    def _rows(self, mu: np.ndarray, sigma: np.ndarray, count: int, without: set[str]) -> np.ndarray:
        z = torch.from_numpy(mu)[:, None] + torch.from_numpy(sigma)[:, None] * _noise(mu.shape[1])  # (R, SAMPLES, D)
        seen = self.network(z)
        shows, vectors = (torch.from_numpy(x[:count]) for x in (self.knowledge.shows, self.knowledge.vectors))
        kept = tuple(
            torch.tensor([node not in without for node in nodes], dtype=torch.float32)
            for nodes in (self.knowledge.attributes, self.knowledge.columns)
        )
        direct = F.pad(seen.direct, (0, count - len(self.counts)), value=self.offset)
        logits = direct + self.network.by_graph(seen, shows, vectors, kept)
        return (logits.log_softmax(-1).logsumexp(1) - np.log(SAMPLES)).double().numpy()

    def fits(self, embedding: np.ndarray) -> np.ndarray:
        """How well each shown cluster fits pictures, (N, S), by the labelled pieces that are like them: about 0 to 1.

        Near 0 for all clusters where no piece is like the picture, and low where such pieces are of many clusters.

        Args:
            embedding: (N, D) as `embedded`.
        """
        parts = [embedding[at : at + BATCH] for at in range(0, max(len(embedding), 1), BATCH)]
        exact = np.float64  # claims are large and opposed where pieces are much alike
        return np.concatenate([speaking(part.astype(exact), self.pieces) @ self.claims for part in parts])

    @torch.inference_mode()
    def attributes_seen(self, latents: Latents) -> np.ndarray:
        """How surely each visible attribute is seen, (N, A) in 0..1: the mean over a picture's regions."""
        strength = self.network(torch.from_numpy(latents.mu)).attributes.sigmoid().numpy()
        sizes = np.diff(np.r_[latents.starts, len(strength)])
        return np.add.reduceat(strength, latents.starts, axis=0) / sizes[:, None]

    def predict(self, latents: Latents, *, risk: float = RISK, unseen: bool = False) -> list[Prediction]:
        """Name the cluster of each picture, or the narrowest group that can be told, or say "unsure".

        Args:
            latents: one or more rows for each picture, as `saree-vae encode` gives them.
            risk: the share of answers that may be wrong. Clusters are named from `limit` on; where that is not reached,
                a group whose probability is 1 - risk or more. Without any checked picture nothing is.
            unseen: let clusters that were never shown compete; what was shown is then recognised less often.
        """
        if not len(latents):
            return []
        group = 1 - risk if len(self.checked) else float("inf")
        limits = dict.fromkeys(GROUP_LEVELS, group) | {"cluster": self.limit(risk)}
        all_of, some_of = (np.exp(self.log_probabilities(latents, unseen=u)) for u in (True, False))
        embedding = embedded(latents)
        likeness, fit = embedding @ self.pieces.T, self.fits(embedding).max(1)  # (N, P), (N,)
        keys = [latents.keys[start] for start in latents.starts]
        return [
            self._told(key, p if unseen else q, p, like, float(best), limits)
            for key, p, q, like, best in zip(keys, all_of, some_of, likeness, fit, strict=True)
        ]

    def _told(
        self, key: str, p: np.ndarray, everything: np.ndarray, like: np.ndarray, fit: float, limits: dict
    ) -> Prediction:
        ids, best = self.knowledge.clusters, np.argsort(-p, kind="stable")
        groups = {level: likeliest(p, self.knowledge.groups[level][: len(p)]) for level in GROUP_LEVELS}
        told = {"cluster": (ids[best[0]], float(p[best[0]]))} | groups
        near = np.argsort(-like, kind="stable")[:NEAREST]
        novel, unlike = fit < self.novel, bool(like[near[0]] < self.lonely)
        if novel and best[0] < len(self.counts):
            limits = limits | {"cluster": float("inf")}
        sure = (level for level, (name, q) in told.items() if name and q >= limits[level] - ROUNDING)
        level = None if unlike else next(sure, None)
        new = len(self.counts) + np.argsort(-everything[len(self.counts) :], kind="stable")[:3]
        return Prediction(
            key=key,
            answer=told[level][0] if level else None,
            level=level,
            probability=told[level or "cluster"][1],
            clusters=tuple((ids[k], float(p[k])) for k in best[:5]),
            groups=groups,
            never_shown=() if level == "cluster" else tuple((ids[k], float(everything[k])) for k in new),
            unseen=len(p) > len(self.counts),
            fit=fit,
            novel=novel,
            unlike=unlike,
            nearest=tuple(Piece(self.keys[i], ids[self.owners[i]], float(like[i])) for i in near),
        )

    def save(self, folder: str | Path) -> None:
        """Write `head.safetensors` (weights, arrays) and `head.yaml` (what it is), each atomically."""
        arrays = {
            "shows": self.knowledge.shows,
            "vectors": self.knowledge.vectors,
            "owners": self.owners,
            "pieces": self.pieces,
            "claims": self.claims,
            "checked": self.checked,
        }
        tensors = {f"network.{name}": value.contiguous() for name, value in self.network.state_dict().items()}
        tensors |= {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}
        names = {"keys": self.keys, "columns": self.knowledge.columns, "attributes": self.knowledge.attributes}
        content = serialise(tensors, {name: json.dumps(value) for name, value in names.items()})
        about = {
            "format": FORMAT,
            "model": self.model,
            "graph": self.knowledge.digest,
            "arrays": hashlib.sha256(content).hexdigest(),
            "motif_dim": self.motif_dim,
            "crops": self.crops,
            "trust": self.trust,
            "temperature": self.temperature,
            "offset": self.offset,
            "novel": self.novel,
            "lonely": self.lonely,
            "clusters": dict(zip(self.shown, self.counts, strict=True)),
            "never_shown": list(self.knowledge.clusters[len(self.counts) :]),
            "groups": {level: list(groups) for level, groups in self.knowledge.groups.items()},
        }
        with atomic_write(Path(folder) / "head.safetensors") as temporary:
            temporary.write_bytes(content)
        with atomic_write(Path(folder) / "head.yaml") as temporary:
            temporary.write_text(yaml.safe_dump(about, sort_keys=False, allow_unicode=True), encoding="utf-8")

    @staticmethod
    def load(folder: str | Path) -> Head:
        """Read what `save` wrote.

        Raises:
            SareeError: not a head, one of another version, or damaged.
        """
        folder = Path(folder)
        if not (folder / "head.yaml").is_file():
            raise SareeError(f"{folder}: not a head: expected head.yaml, as `saree-vae fit-head` writes it")
        try:
            about = yaml.safe_load((folder / "head.yaml").read_text(encoding="utf-8"))
            if about["format"] != FORMAT:
                raise SareeError(f"{folder}: a head of format {about['format']}, expected {FORMAT}; fit it again")
            content = (folder / "head.safetensors").read_bytes()
            if hashlib.sha256(content).hexdigest() != about["arrays"]:
                raise ValueError("head.safetensors is not the one that was written with head.yaml")
            with safe_open(folder / "head.safetensors", "pt") as file:
                names = {name: tuple(json.loads(value)) for name, value in file.metadata().items()}
            return _rebuilt(about, names, deserialise(content))
        except _DAMAGE as error:
            raise SareeError(f"{folder}: a damaged head ({' '.join(str(error).split())}); fit it again") from None


_DAMAGE = (OSError, SafetensorError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError, RuntimeError)


def _rebuilt(about: dict, names: dict[str, tuple[str, ...]], tensors: dict[str, Tensor]) -> Head:
    known = Knowledge(
        clusters=(*about["clusters"], *about["never_shown"]),
        attributes=names["attributes"],
        shows=tensors["shows"].numpy(),
        columns=names["columns"],
        vectors=tensors["vectors"].numpy(),
        groups={level: tuple(groups) for level, groups in about["groups"].items()},
        digest=about["graph"],
    )
    width = len(tensors["network.mean"])
    network = Network(width, len(about["clusters"]), len(known.attributes), len(known.columns)).eval()
    network.load_state_dict({name[8:]: value for name, value in tensors.items() if name.startswith("network.")})
    return Head(
        network=network,
        knowledge=known,
        counts=tuple(about["clusters"].values()),
        checked=tensors["checked"].numpy(),
        keys=names["keys"],
        owners=tensors["owners"].numpy(),
        pieces=tensors["pieces"].numpy(),
        claims=tensors["claims"].numpy(),
        **{name: about[name] for name in KEPT},
    )


def require_finite(latents: Latents) -> None:
    """Raises SareeError, with the first picture that has one, if a latent is no finite number."""
    finite = np.isfinite(latents.mu).all(1) & np.isfinite(latents.sigma).all(1)
    if not finite.all():
        raise SareeError(f"{latents.keys[int(finite.argmin())]}: latents must be finite numbers")


def embedded(latents: Latents) -> np.ndarray:
    """One unit vector for each picture, (N, D): its rows averaged, each half of length 1 before, colour weighing less.

    Cosines of these say which pieces are alike.
    """
    rows = np.concatenate([unit(latents.motif), COLOUR * unit(latents.colour)], axis=1)
    return unit(np.add.reduceat(rows, latents.starts, axis=0)) if len(rows) else rows


def speaking(embedding: np.ndarray, pieces: np.ndarray) -> np.ndarray:
    """How loud each piece is heard at each picture, (N, P) in 0..1."""
    return np.exp((embedding @ pieces.T - 1) / BREADTH)


def likeliest(p: np.ndarray, groups: Sequence[str]) -> tuple[str, float]:
    """The likeliest group of clusters and its probability; the first in order of name where two are alike."""
    names, number = np.unique(np.array(groups, dtype=str), return_inverse=True)
    sums = np.bincount(number, weights=p, minlength=len(names))
    return str(names[sums.argmax()]), float(sums.max())


def threshold(confidence: np.ndarray, right: np.ndarray, risk: float) -> float:
    """The lowest probability from which on answers are given, so that at most a share `risk` of them is wrong.

    On checked answers, the upper Clopper-Pearson bound of the share of wrong ones has to stay under the risk, with
    CONFIDENCE shared out over as many thresholds as a binary search would look at (SGR, Geifman & El-Yaniv 2017,
    arXiv:1705.08500). It holds for pictures like the checked ones.

    Args:
        confidence: (V,) probabilities of the likeliest; right: (V,) 1 where it was right.

    Returns:
        A probability, or infinity where nothing can be promised.
    """
    order = np.argsort(-confidence, kind="stable")
    sure, wrong = confidence[order], np.cumsum(1 - right[order])
    answered = np.arange(1, len(order) + 1)
    doubt = (1 - CONFIDENCE) / max(1.0, np.ceil(np.log2(max(len(order), 1))))
    bound = np.where(wrong < answered, beta.ppf(1 - doubt, wrong + 1, np.maximum(answered - wrong, 1e-9)), 1.0)
    last = np.r_[sure[1:] < sure[:-1], True][: len(order)]  # all pictures of one probability, or none of them
    kept = np.flatnonzero((bound <= risk) & last)
    return float(sure[kept[-1]]) if len(kept) else float("inf")


def _noise(width: int) -> Tensor:
    """The same for every latent and call, (SAMPLES, D)."""
    half = torch.randn(SAMPLES // 2, width, generator=torch.Generator().manual_seed(0))
    return torch.cat([half, -half])
