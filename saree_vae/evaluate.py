"""Measuring a run: every figure with its interval, the number of pictures behind it, and the baselines beside it.

    results = evaluate(checkpoint.load(run), read_data(folder), ("all",))
    print(model_card.markdown(results))

Results are plain dicts, ready for JSON. Each task is {"about", "queries", "rows", "notes"} (and "gallery", where there
is one), or {"skipped": why}. A row is {"part", "name", "ours", "figures"}; a figure is {"value", "low", "high", "n"}, a
95 % bootstrap interval (None where fewer than ten values, or none, were there), and "best" where higher is better.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, cached_property, lru_cache, partial

import numpy as np
import torch

from . import baselines, config, data, likelihood, metrics, regions, retouch, verification, views
from .checkpoint import Run
from .data import DataSet, Item
from .encoding import encode, encode_items, redraw, shrunk, to_tensor
from .errors import SareeError
from .images import read_image, thumbnail
from .kin import kinship
from .latents import WEIGHTS, Latents, match, unit, weighted

TASKS = ("retrieval", "views", "items", "exchange", "leakage", "likelihood")
LONG = ("augment",)  # of `more`: only where named, not among all
KS = (1, 5, 10)
OURS = ("motif and colour", "motif", "colour")
PCA = "PCA of pixels"  # which, unlike the other baselines, must see the training pictures first
VIEW_KEEPS = {"phone_photo": "motif and colour", "recoloured": "motif", "shuffled": "colour"}
PAIRS = 500  # pairs of pictures whose colours are exchanged
PCA_PICTURES = 20_000  # 32 x 32 pictures that PCA learns from, at most: 60 MB
SAMPLES = 50  # draws of z a picture in the importance-weighted bound
BITS, MIXTURE = "bits per dimension", "mixture of normals on PCA"
GAIN, ANNEALING = "gain of that bound over the ELBO, nats", "gain of annealed importance sampling over that bound, nats"
BOUNDED = 64 * 3 * 128 * 128  # pixel values of the pictures it is taken of, at most: a minute of one CPU core
MIXTURE_VALUES = 2000 * 3 * 128 * 128  # pixel values that a mixture learns from, at most: 400 MB, half a minute
SMALL = 3 * 32 * 32  # pixel values up to which a fully connected model is checked by annealing, half a minute
ANNEALED_PICTURES, ANNEALED = 32, {"chains": 8, "steps": 200}  # on MNIST within half a nat of a bound of 5,000 draws
SLOWLY = 1000  # pictures that ask for their class by kin or regions, and views by regions, at most: minutes each
SSIM_SIDE = 11  # pixels of the window of SSIM: smaller pictures have none
FEW = 10  # fewer values than this get no interval: a bootstrap of five equal ones would claim certainty
BATCH = 64
NEVER = -4.0  # below all scores: what must not be found
REGIONS, VERIFIED = "by regions", "by regions, verified"
ABOUT_BOTH = f"By motif and colour: colour counts {WEIGHTS['colour']:g} of motif, as a search has it by itself."
ABOUT_REGIONS = (
    f"By regions, as in a catalogue of `index --regions`: up to {regions.CROPS} small squares of the cloth and "
    f"{regions.LARGE} large ones beside the whole picture. Each one that asks counts with the most like one of the "
    "other picture, the two whole pictures by themselves a quarter."
)
ABOUT_VERIFIED = (
    f"Verified, as `search` does: of the {verification.FIRST} best by regions those come first that show the very same "
    "design, edge on edge, and by both halves in the same hues; by colour those that have the very same colours, shade "
    "by shade."
)
NO_SECOND_PHOTOGRAPH = (
    "No test picture shares its item_id with another picture, so there is no second photograph to find."
)

Progress = Callable[[str, int, int], None]  # what is being done, how many are done, of how many
Describe = Callable[[np.ndarray], np.ndarray]  # pictures (N, S, S, 3) uint8 -> unit rows (N, D) float32


def evaluate(
    run: Run,
    dataset: DataSet,
    tasks: Sequence[str] = TASKS,
    *,
    seed: int = 0,
    samples: int = SAMPLES,
    progress: Progress | None = None,
    device: str | torch.device | None = None,
    beside: Mapping[str, Describe] | None = None,
    more: Mapping[str, Callable[[DataSet], dict]] | None = None,
) -> dict:
    """Measure a run on the test split of a data set.

    Args:
        run: as `checkpoint.load` gives it.
        dataset: as `data.read_data` gives it.
        tasks: some of TASKS and of `more`, or "all", which is all but LONG.
        seed: of the views, the pairs, the sampled latents and the bootstrap.
        samples: draws of z a picture for the importance-weighted bound of the task likelihood.
        progress: called with (what, done, total).
        device: where to compute; where the model already is, if None.
        beside: other embeddings to measure on the same pictures, by name, beside the baselines.
        more: other tasks, by name; each is given the data set with its test split as it is measured here.

    Returns:
        {"run", "data", "seed", "tasks": {name: task}}, JSON-ready.

    Raises:
        SareeError: an unknown task.
    """
    known = (*TASKS, *(more or {}))
    unknown = [task for task in tasks if task not in (*known, "all")]
    if unknown:
        raise SareeError(f"'{unknown[0]}' is not a task; known: {', '.join(known)}, all")
    if device is not None:
        run.model.to(device)
    variants = sum(item.made_from is not None for item in dataset.items)
    dataset = _without_variants(dataset)
    dataset, seen = _without_seen(run, dataset)
    bench = _Bench(run, dataset, seed, progress or (lambda what, done, total: None), beside or {}, samples)
    own = (_retrieval, _views, _items, _exchange, _leakage, _likelihood)
    measure = dict(zip(TASKS, own, strict=True))
    measure |= {name: lambda bench, task=task: task(bench.dataset) for name, task in (more or {}).items()}
    chosen = [task for task in known if task in tasks or ("all" in tasks and task not in LONG)]
    measured = {task: _no_test(dataset) or measure[task](bench) for task in chosen}
    return {
        "run": {
            "name": run.path.resolve().name,
            "fingerprint": run.fingerprint,
            "config": run.config.model_dump(),
            "config_digest": hashlib.sha256(config.save_text(run.config).encode()).hexdigest(),
        },
        "data": {
            "name": dataset.root.name,
            "digest": dataset.digest(),
            "pictures": dict(Counter(item.split for item in dataset.items)),
            "unreadable": bench.unreadable,
            "seen": seen,
            "variants": variants,
        },
        "seed": seed,
        "tasks": measured,
    }


# --- the tasks ---


def _retrieval(bench: _Bench) -> dict:
    items, rows = bench.everything
    asking = [i for i, item in enumerate(items) if item.split == "test"]
    stored = [i for i, item in enumerate(items) if item.split != "test"]
    labels = [items[i].cluster for i in asking], [items[i].cluster for i in stored]
    found = {name: metrics.retrieval(e[asking], labels[0], e[stored], labels[1], ks=KS) for name, e in rows.items()}
    ours = found[OURS[0]]
    if not ours.kept.any():
        return {
            "skipped": "No test picture has a cluster that a train or val picture has too: there is no class to find."
        }
    kept = [asking[i] for i in np.flatnonzero(ours.kept)]
    embedding = rows[OURS[0]]
    first, score = metrics.nearest(embedding[kept], embedding[stored])
    hits = [items[stored[i]] for i in first]
    asked = [items[i] for i in kept]
    table = [_row("", name, _recalls(f, bench.seed)) for name, f in found.items()]
    some = np.random.default_rng(bench.seed).permutation(kept)[:SLOWLY]
    ways = ((REGIONS, bench.by_regions), (VERIFIED, bench.by_verified_regions), ("by kin", bench.by_kin))
    for how, ask in ways:
        queries = some if ask == bench.by_kin else np.sort(some)
        clusters = [items[i].cluster for i in queries]
        for name, scores in ask(queries, stored).items():
            figures = _recalls(metrics.retrieval_by_scores(scores, clusters, labels[1], ks=KS), bench.seed)
            table.append(_row("", f"{name}, {how}", figures, ours=name != "LBP"))
    return {
        "about": "Each test picture looks for pictures of its own cluster among train and val.",
        "queries": len(kept),
        "left_out": ours.left_out,
        "gallery": len(stored),
        "rows": _best_marked(table),
        "notes": [
            f"{ours.left_out} test pictures have no cluster, or one that the gallery lacks; they do not ask.",
            ABOUT_BOTH,
            ABOUT_REGIONS,
            ABOUT_VERIFIED,
            f"By kin: as `search --kin`, at most {SLOWLY:,} queries. By regions, too: each picture is the mean of its "
            "regions.",
        ],
        "by_cluster": _by([item.cluster for item in asked], ours, asked, hits, bench.seed),
        "by_source": _by([item.source or "unknown" for item in asked], ours, asked, hits, bench.seed),
        "failures": _failures(asked, hits, score),
    }


def _views(bench: _Bench) -> dict:
    items, stored = bench.everything
    asked, large = bench.large_tests
    place = {item.key: i for i, item in enumerate(items)}
    targets = np.array([place[item.key] for item in asked])
    pieces = [item.item_id or ("alone", item.key) for item in items]
    wanted, several = [pieces[target] for target in targets], len(set(pieces)) < len(pieces)
    some = np.sort(np.random.default_rng(bench.seed).permutation(len(asked))[:SLOWLY])
    table = []
    for view in views.NAMES:
        queries: dict[str, list[np.ndarray]] = {name: [] for name in stored}
        for start in range(0, len(large), BATCH):
            part = range(start, min(start + BATCH, len(large)))
            made = [views.evaluation_view(view, large[i], bench.size, index=i, seed=bench.seed) for i in part]
            for name, rows in bench.describe(np.stack(made)).items():
                queries[name].append(rows)
            bench.progress(f"finding {view.replace('_', ' ')} views", part.stop, len(large))
        for name, parts in queries.items():
            rows = np.concatenate(parts)
            recall = metrics.find(rows, stored[name], targets, ks=KS)
            of_piece = metrics.retrieval(rows, wanted, stored[name], pieces, ks=(1,)) if several else None
            table.append(_row(view, name, _own(recall, of_piece, bench.seed)) | {"meant": VIEW_KEEPS[view] == name})
        latents, pictures = bench.regions_of_views(view, some)
        found = by_regions(latents, bench.regions)
        scores = {f"{name}, {REGIONS}": part for name, part in found.items()}
        meant = VIEW_KEEPS[view]
        if meant in found:
            scores[f"{meant}, {VERIFIED}"] = bench.verified(meant, found[meant], bench.likeness(meant, pictures))
        for name, part in scores.items():
            recall = metrics.retrieval_by_scores(part, targets[some], range(len(items)), ks=KS).recall
            own = [wanted[i] for i in some]
            of_piece = metrics.retrieval_by_scores(part, own, pieces, ks=(1,)) if several else None
            table.append(_row(view, name, _own(recall, of_piece, bench.seed), ours=True) | {"meant": False})
    return {
        "about": "Each test picture is changed and must find itself among all clean pictures; the latents that a view "
        "should keep are marked as meant.",
        "queries": len(targets),
        "gallery": len(items),
        "rows": _best_marked(table),
        "notes": [
            "A picture whose duplicate is in the gallery can be beaten by it; ties count against us. Piece R@1 takes "
            "any photograph of the same item_id for right.",
            ABOUT_BOTH,
            f"{ABOUT_REGIONS} At most {SLOWLY:,} pictures.",
            ABOUT_VERIFIED,
        ],
    }


def _items(bench: _Bench) -> dict:
    names = [item.item_id for item in bench.dataset.items]
    shared = {name for name, count in Counter(names).items() if name is not None and count > 1}
    if not any(item.item_id in shared for item in bench.dataset.of("test")):
        return {"skipped": NO_SECOND_PHOTOGRAPH}
    items, rows = bench.everything
    names = [item.item_id for item in items]
    asking = [i for i, item in enumerate(items) if item.split == "test"]
    groups = {"all": asking} | {
        prefix: [i for i in asking if _prefix(names[i]) == prefix]
        for prefix in sorted({_prefix(names[i]) for i in asking} - {""})
    }
    if len(groups) <= 2:
        groups = {"all": asking}
    table = []
    for group, queries in groups.items():
        for name, embedding in rows.items():
            found = metrics.same_item(embedding, names, queries=queries, ks=KS)
            if found.kept.any():
                table.append(_row(group, name, _recalls(found, bench.seed)))
        if not table:
            continue
        for how, ask in ((REGIONS, bench.by_regions), (VERIFIED, bench.by_verified_regions)):
            for name, scores in ask(queries, range(len(items))).items():
                found = metrics.same_item_by_scores(scores, names, queries, ks=KS)
                if found.kept.any():
                    table.append(_row(group, f"{name}, {how}", _recalls(found, bench.seed), ours=True))
    if not table:
        return {"skipped": NO_SECOND_PHOTOGRAPH}
    return {
        "about": "Each test picture looks for another photograph of the same item among all other pictures.",
        "queries": table[0]["figures"]["R@1"]["n"],
        "gallery": len(items) - 1,
        "rows": _best_marked(table),
        "notes": [ABOUT_BOTH, ABOUT_REGIONS, ABOUT_VERIFIED],
    }


def _exchange(bench: _Bench) -> dict:
    _, images = bench.tests
    if not bench.run.config.model.colour_dim:
        return {"skipped": "The model has no colour half (model.colour_dim is 0) that could be exchanged."}
    if len(images) < 2:
        return {"skipped": "Exchanging colours needs two test pictures."}
    order = np.random.default_rng(bench.seed).permutation(len(images))
    motif_of, colour_of = order[:PAIRS], np.roll(order, -1)[:PAIRS]  # a cycle: nobody is paired with itself
    own, donors = images[motif_of], images[colour_of]
    chroma = metrics.mean_chroma(images)
    apart = np.linalg.norm(chroma[motif_of] - chroma[colour_of], axis=1)
    if apart.mean() < 1e-3:
        return {"skipped": "The test pictures all have the same mean colour, so an exchange would not show."}
    exchanged, plain = redraw(bench.run, own, colour_of=donors), redraw(bench.run, own)
    kept = np.stack([retouch.recoloured(*three) for three in zip(own, plain, exchanged, strict=True)])
    palettes = [retouch.palette_change(one, donor) for one, donor in zip(own, donors, strict=True)]
    painted = np.stack([retouch.repainted(one, change) for one, change in zip(own, palettes, strict=True)])
    to_donor = "to the picture that gave the colour"
    looked_at = {
        f"exchanged, {to_donor}": (exchanged, colour_of),
        "exchanged, to the picture that gave the motif": (exchanged, motif_of),
        "not exchanged, to the picture itself (as good as it gets)": (plain, motif_of),
        f"exchanged, every thread kept, {to_donor}": (kept, colour_of),
        f"the other's palette laid on the photograph, without a model, {to_donor}": (painted, colour_of),
        f"the photograph itself, {to_donor}": (own, colour_of),
    }
    rows = []
    for name, (pictures, other) in looked_at.items():
        gap = np.linalg.norm(metrics.mean_chroma(pictures) - chroma[other], axis=1)
        figures = {"distance": _figure(gap, over=apart, seed=bench.seed)}
        figures["class of the motif"] = bench.class_found(motif_of, pictures)
        rows.append(_row("", name, figures, ours=pictures is not painted))
    return {
        "about": "One test picture is decoded with the colour half of another. Distances between "
        f"mean chroma (Lab a, b), divided by the distance between the two pictures ({apart.mean():.1f} on average).",
        "queries": len(motif_of),
        "rows": rows,
        "notes": [
            "0 would be the colour of that picture exactly; 1 is as far as the two pictures lie apart. Class of the "
            "motif: how often the picture, encoded again, finds by motif the cluster of the motif's own picture. With "
            "every thread kept, the photograph's colours change as those of its drawing do (`retouch.recoloured`)."
        ],
    }


def _leakage(bench: _Bench) -> dict:
    items, rows = bench.everything
    asking = np.array([i for i, item in enumerate(items) if item.split == "test"])
    if len(asking) < FEW or len(items) - len(asking) < FEW:
        return {"skipped": f"Predicting colours needs {FEW} pictures to ask and {FEW} to ask among."}
    table = []
    for name in (*(name for name in OURS if name in rows), "colour histogram", "LBP"):
        value = metrics.predicted(rows[name], bench.palettes, asking)
        table.append(_row("", name, {"R2": {"value": value, "low": None, "high": None, "n": len(asking)}}))
    return {
        "about": "The mean Lab colour of each test picture, predicted as that of its ten nearest among train and val.",
        "queries": len(asking),
        "gallery": len(items) - len(asking),
        "rows": table,
        "notes": [
            "1 is exact and 0 knows nothing: the motif half should know little, the colour half much. That the colour "
            "half should know little of the class shows in its row of `retrieval`."
        ],
    }


def _likelihood(bench: _Bench) -> dict:
    _, images = bench.tests
    model, noise = bench.run.config.model, torch.Generator(bench.run.device).manual_seed(bench.seed)
    found = likelihood.measured(bench.run.model, bench.observed("likelihood"), noise)
    rows = _bounds(bench, found.elbo.value.numpy(), noise) if _has_bound(model) else {}
    rows["distortion, nats"] = -found.elbo.recon.numpy()
    if found.elbo.kl:
        rows["rate, nats"] = found.elbo.rate.numpy()
    rows |= {f"KL of {name}, nats": kl.sum(1).numpy() for name, kl in found.elbo.kl.items()}
    rows |= _shared(found) | _redrawing(bench)
    table = [_row("", name, {"mean": _figure(value, seed=bench.seed)}, ours=True) for name, value in rows.items()]
    for name, count in _used(found, model).items():
        figure = {"value": float(count), "low": None, "high": None, "n": len(images), "count": isinstance(count, int)}
        table.append(_row("", name, {"mean": figure}, ours=True))
    beside = _mixture_bits(bench) if BITS in rows and not model.binary else None
    if beside is not None:
        table.append(_row("", f"{BITS}, {MIXTURE}", {"mean": _figure(beside, seed=bench.seed)}))
    return {
        "about": f"How probable test pictures of {bench.values:,} pixel values are, by one draw of z each unless more "
        "are named, and how well they are redrawn from the means of z.",
        "queries": len(images),
        "rows": table,
        "notes": [" ".join(likelihood.verdict(found, model)), *_remarks(bench, rows, beside is not None)],
    }


def _bounds(bench: _Bench, elbo: np.ndarray, noise: torch.Generator) -> dict[str, np.ndarray]:
    """Bounds on log p(x) in nats and in bits per dimension, by the names of their rows."""
    cfg, model, draws = bench.run.config.model, bench.run.model, f"importance-weighted bound of {bench.samples} draws"
    rows, gains = {"ELBO": elbo}, {}
    if cfg.posterior != "vq":  # of whose z there is only one to draw
        every = math.ceil(len(elbo) * bench.values / BOUNDED)
        x = torch.stack([*itertools.islice((one for x in bench.observed("likelihood") for one in x), 0, None, every)])
        bound = bench.in_parts(x, "weighing draws", lambda part: likelihood.bound(model, part, bench.samples, noise))
        # Pictures differ by far more than their gains, so means of some are not compared with means of all.
        gains[GAIN] = gain = bound - elbo[::every]
        rows[draws] = bound if every == 1 else elbo + gain.mean()
    if cfg.encoder == "mlp" and bench.values <= SMALL and likelihood.can_anneal(cfg):
        few = slice(None, None, math.ceil(len(x) / ANNEALED_PICTURES))
        sure = bench.in_parts(
            x[few], "annealing", lambda part: likelihood.annealed(model, part, **ANNEALED, generator=noise)
        )
        gains[ANNEALING] = sure - bound[few]
    nats = {f"{name}, nats": values for name, values in rows.items()} | gains
    if cfg.likelihood == "bernoulli" and not cfg.binary:
        return nats  # it is no density of a grey value
    # A density over [0, 1] that is taken as constant within each of 256 levels; or the probability of a level itself.
    whole = 0 if cfg.binary or cfg.likelihood == "discretised_logistic" else 8
    names = {"ELBO": BITS, draws: f"{BITS}, {draws}"}
    return nats | {names[name]: whole - values / bench.values / np.log(2) for name, values in rows.items()}


def _redrawing(bench: _Bench) -> dict[str, np.ndarray]:
    """How near reconstructions come to their pictures, by the names of their rows, (n,) each."""
    from skimage.metrics import structural_similarity

    psnr, ssim, detail = [], [], []
    wang = {"data_range": 1.0, "channel_axis": 2, "gaussian_weights": True, "use_sample_covariance": False}
    for x in bench.observed("reconstructing"):
        with torch.inference_mode():
            drawn = bench.run.model.reconstruct(x)
        pairs = [part.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).float().cpu().numpy() for part in (x, drawn)]
        psnr.append(metrics.psnr(*pairs))
        detail.append(metrics.detail_kept(*pairs))
        if bench.size >= SSIM_SIDE:
            ssim.append([structural_similarity(one, other, **wang) for one, other in zip(*pairs, strict=True)])
    kept = np.concatenate(detail)
    rows = {"PSNR of the reconstruction, dB": np.concatenate(psnr)}
    rows |= {"SSIM of the reconstruction": np.concatenate(ssim)} if ssim else {}
    return rows | {"detail kept (energy of the Laplacian)": kept[np.isfinite(kept)]}


def _shared(found: likelihood.Measured) -> dict[str, np.ndarray]:
    """What z tells of its picture, by the names of rows, (N,) each; nothing where that has no formula."""
    if not found.information:
        return {}
    alone = len(found.mu) == 1
    told = {name: part.numpy() for name, part in found.information.items() if not (alone and name in found.mu)}
    rows = {f"mutual information of picture and {name}, nats": part for name, part in told.items()}
    return rows | {"KL(q(z) || p(z)) of all pictures' z, nats": found.left.numpy()}


def _used(found: likelihood.Measured, model: config.Model) -> dict[str, float]:
    """How much of each half is in use, by the names of rows: whole numbers of dimensions, or a perplexity."""
    rows: dict[str, float] = {}
    for name, mu in found.mu.items():
        kl, size = found.elbo.kl.get(name), mu.shape[1]
        if model.posterior == "vq" and name == "motif":
            rows[f"perplexity of codes, of {size}"] = likelihood.perplexity(mu)
            continue
        if kl is not None and kl.shape[1] == size:
            rows[f"active units of {name}, of {size}"] = int(likelihood.active_units(kl).sum())
        rows[f"{name} units whose mean varies, of {size}"] = int(likelihood.moving_units(mu).sum())
    return rows


def _mixture_bits(bench: _Bench) -> np.ndarray | None:
    """Bits per dimension of test pictures under `baselines.mixture`, (N,); None with too few pictures to learn from."""
    train = bench.dataset.of("train")
    chosen = np.random.default_rng(bench.seed).permutation(len(train))[: MIXTURE_VALUES // bench.values]
    known = data.load([train[i] for i in chosen], bench.run.read_size).images
    if len(known) < baselines.MIXTURE_FEWEST:
        return None
    grey = bench.run.config.model.channels == 1
    known, asked = (
        images.mean(3, keepdims=True).round().astype(np.uint8) if grey else images
        for images in (shrunk(known, bench.size), bench.tests[1])
    )
    nats = baselines.mixture(known).log_prob(asked)
    bench.progress("fitting a mixture", 1, 1)
    return 8 - nats / bench.values / np.log(2)


def _has_bound(model: config.Model) -> bool:
    """Whether recon less rate bounds log p(x): not where a part of z is a point, which has no density."""
    return model.posterior != "point" and not (model.posterior == "vq" and model.colour_dim)


def _remarks(bench: _Bench, rows: dict[str, np.ndarray], mixture: bool) -> Iterator[str]:
    """What a reader must know of the rows of `_likelihood`."""
    model, images = bench.run.config.model, bench.tests[1]
    count = len(images)
    if not _has_bound(model):
        yield (
            "Part of z is a point, which has no density and whose rate counts as nothing: so there is no bound on the "
            "likelihood and there are no bits, only distortion and reconstruction."
        )
    if model.posterior == "vq":
        yield "The rate is what codes cost that are all alike to the prior: log K nats a cell."
    for name, gain in rows.items():
        if name.startswith("gain") and len(gain) < count:
            yield f"The {name}, is that of {len(gain)} of {count} test pictures, evenly chosen."
    if len(rows.get(GAIN, images)) < count:
        yield "The bound is the ELBO of all of them and this mean gain."
    if ANNEALING in rows:
        yield (
            "Annealed importance sampling asks nothing of the encoder (Wu et al. 2017, arXiv:1611.04273). It bounds "
            "log p(x) from below, too: what it gains is what the other bound falls short by, at least."
        )
    if "mutual information of picture and z, nats" in rows:
        yield (
            f"Mutual information takes these {count} pictures for all there are: it is at most log {count} = "
            f"{np.log(count):.2f} nats. With KL(q(z) || p(z)) it makes up the rate of the halves."
        )
    yield (
        f"A unit is active where its KL is above {likelihood.ACTIVE} nat on average, and its mean varies where the "
        f"variance over pictures is above {likelihood.VARIES} (Burda et al. 2016)."
    )
    if BITS in rows and model.binary:
        yield "Nats and bits are of pictures of zeros and ones, drawn once from the grey values."
    elif BITS in rows and model.likelihood != "discretised_logistic":
        yield (
            "Bits per dimension take the density over [0, 1] as constant within each of 256 levels: for discrete "
            "pixels an estimate, not a bound."
        )
    if mixture:
        yield f"The {MIXTURE} is fitted to training pictures; with noise within each level its bits are a bound."


# --- what the tasks share ---


class _Bench:
    """Pictures and embeddings that several tasks need, read and computed once, when first asked for."""

    def __init__(
        self,
        run: Run,
        dataset: DataSet,
        seed: int,
        progress: Progress,
        beside: Mapping[str, Describe],
        samples: int = SAMPLES,
    ):
        self.run, self.dataset, self.seed, self.progress, self.beside = run, dataset, seed, progress, beside
        self.samples = samples
        self.size = run.config.model.image_size
        self.values = self.size**2 * run.config.model.channels  # of a picture, as the likelihood sees it
        self._bad: dict[str, str] = {bad.key: bad.reason for bad in dataset.bad}
        self._pca: Describe | None = None

    @property
    def unreadable(self) -> list[dict[str, str]]:
        return [{"key": key, "reason": reason} for key, reason in sorted(self._bad.items())]

    @cached_property
    def tests(self) -> tuple[tuple[Item, ...], np.ndarray]:
        """The test pictures that can be read, as the model sees them, (T, S, S, 3)."""
        items, images = self.large_tests
        return items, shrunk(images, self.size)

    @cached_property
    def large_tests(self) -> tuple[tuple[Item, ...], np.ndarray]:
        """The same, a quarter larger: views crop them."""
        return self._load(self.run.read_size)

    @cached_property
    def everything(self) -> tuple[list[Item], dict[str, np.ndarray]]:
        """All pictures that can be read, and for each embedding their rows (N, D). Pictures are not kept."""
        items: list[Item] = []
        parts: dict[str, list[np.ndarray]] = {}
        palettes = []
        small = []  # for PCA, which can describe nothing before it has seen the training pictures
        for batch, images in self._clean_batches():
            items += batch
            for name, rows in self.describe(images).items():
                parts.setdefault(name, []).append(rows)
            palettes.append(metrics.mean_lab(images))
            small.append(np.stack([baselines.shrink(image, baselines.PCA_SIDE) for image in images]))
            self.progress("describing pictures", len(items), len(self.dataset.items))
        rows = {name: np.concatenate(part) for name, part in parts.items()}
        self.palettes = np.concatenate(palettes)  # mean Lab colours, (N, 3)
        small = np.concatenate(small)
        train = [i for i, item in enumerate(items) if item.split == "train"]
        if len(train) > 1:
            train = np.random.default_rng(self.seed).permutation(train)[:PCA_PICTURES]
            self._pca = baselines.pca(small[train])
            rows[PCA] = self._pca(small)
        return items, rows

    @cached_property
    def regions(self) -> Latents:
        """Latents of all regions of `everything`, in its order."""
        items, _ = self.everything
        progress = partial(self.progress, "encoding regions")
        return encode_items(self.run, items, crops=regions.CROPS, progress=progress)[0]

    def regions_of_views(self, view: str, chosen: Sequence[int]) -> tuple[Latents, list[np.ndarray]]:
        """Latents of all regions of one view of each of these test pictures, read twice as large, and the views."""
        items, size = [self.tests[0][i] for i in chosen], 2 * self.run.read_size
        keys: list[str] = []
        parts: list[Latents] = []
        pictures: list[np.ndarray] = []
        numbers = iter(chosen)
        for part, images in data.batches(items, size, BATCH, bad=[], strict=True):
            made = [
                views.evaluation_view(view, image, 2 * self.size, index=int(next(numbers)), seed=self.seed)
                for image in images
            ]
            squares = [regions.cut(one, regions.find(one), self.run.read_size) for one in made]
            keys += [item.key for item, own in zip(part, squares, strict=True) for _ in own]
            parts.append(encode(self.run, np.concatenate(squares)))
            pictures += map(verification.small, made)
            self.progress(f"finding {view.replace('_', ' ')} views by regions", len(set(keys)), len(items))
        mu, sigma = (np.concatenate([getattr(one, name) for one in parts]) for name in ("mu", "sigma"))
        return Latents(tuple(keys), mu, sigma, self.run.config.model.motif_dim), pictures

    def by_regions(self, asking: Sequence[int], stored: Sequence[int]) -> dict[str, np.ndarray]:
        """Scores of stored pictures to those that ask, (Q, N), by their regions."""
        return by_regions(self.regions.of(asking), self.regions.of(stored))

    def by_verified_regions(self, asking: Sequence[int], stored: Sequence[int]) -> dict[str, np.ndarray]:
        """The same, verified; a picture never finds itself."""
        own = np.array(asking)[:, None] == np.array(stored)[None]
        scores = {name: np.where(own, NEVER, part) for name, part in self.by_regions(asking, stored).items()}
        verified = {}
        for name, part in scores.items():
            same = self._likenesses[name == OURS[2]]
            verified[name] = self.verified(name, part, lambda q, n, same=same: same(asking[q], stored[n]))
        return verified

    def verified(self, name: str, scores: np.ndarray, same: Callable[[int, int], verification.Same]) -> np.ndarray:
        """Scores (Q, N) by one of OURS, ordered as a catalogue orders hits: by same(q, n) of the first of each."""

        def told(query: int) -> np.ndarray:
            row = scores[query].copy()
            first = np.argsort(-row, kind="stable")[: verification.FIRST]
            for place in first[row[first] > NEVER]:
                row[place] = verification.verified(row[place], same(query, place), coloured=name != OURS[1])
            return row

        rows = []
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for row in pool.map(told, range(len(scores))):
                rows.append(row)
                self.progress("verifying", len(rows), len(scores))
        return np.stack(rows)

    def likeness(self, name: str, pictures: Sequence[np.ndarray]) -> Callable[[int, int], verification.Same]:
        """By which hits of one of OURS are verified: of one of these pictures and one of `everything`, by numbers."""
        look, compare = verification.ways(name != OURS[2])
        asked = [look(picture) for picture in pictures]
        return lambda query, place: compare(asked[query], self.look(look, place))

    @cached_property
    def look(self) -> Callable[[Callable, int], tuple]:
        """Of a picture of `everything`, as a catalogue keeps it: from its thumbnail."""
        items, _ = self.everything

        @lru_cache(maxsize=10_000)  # designs and colours of 5,000 pictures, 1.3 GB and less than as much again
        def of(look: Callable, place: int) -> tuple:
            picture = read_image(items[place].path, min_side=2 * self.run.read_size)
            return look(read_image(thumbnail(picture)))

        return of

    @cached_property
    def _likenesses(self) -> list[Callable[[int, int], verification.Same]]:
        """Of two pictures of `everything`, the first as a query is read: by their designs, and by their colours."""
        items, _ = self.everything

        def by(motif: bool) -> Callable[[int, int], verification.Same]:
            look, compare = verification.ways(motif)

            @lru_cache(maxsize=1000)
            def asking(place: int) -> tuple:
                return look(read_image(items[place].path, min_side=verification.SIDE))

            @cache  # two numbers and what they have in common: the same pairs are asked for by several tasks
            def same(query: int, place: int) -> verification.Same:
                return compare(asking(query), self.look(look, place))

            return same

        return [by(True), by(False)]

    def by_kin(self, asking: Sequence[int], stored: Sequence[int]) -> dict[str, np.ndarray]:
        """Kinship of stored pictures to those that ask, (Q, N), by whole pictures, by regions and by LBP."""
        _, rows = self.everything
        half = self.run.config.model.motif_dim
        wholes = np.concatenate([rows["motif"], rows.get("colour", rows["motif"][:, :0])], 1)
        ours = {OURS[0]: wholes, f"{OURS[0]}, {REGIONS}": self.regions.means()}
        embeddings = {name: weighted(part, half, **WEIGHTS) for name, part in ours.items()} | {"LBP": rows["LBP"]}
        found = {}
        for name, embedding in embeddings.items():
            scores = []
            for query in asking:
                scores.append(kinship(embedding[query], embedding[stored]))
                self.progress(f"finding kin by {name}", len(scores), len(asking))
            found[name] = np.stack(scores)
        return found

    def class_found(self, asking: np.ndarray, images: np.ndarray) -> dict:
        """How often drawn pictures find by motif the cluster of the test pictures `asking`; among train and val."""
        items, rows = self.everything
        stored = [i for i, item in enumerate(items) if item.split != "test"]
        labels = [self.tests[0][i].cluster for i in asking]
        drawn = unit(encode(self.run, images).motif)
        found = metrics.retrieval(drawn, labels, rows["motif"][stored], [items[i].cluster for i in stored], ks=(1,))
        return _figure(found.recall[1], seed=self.seed)

    def describe(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Unit rows of pictures (N, S, S, 3) by every embedding: ours and the baselines."""
        latents = encode(self.run, images)
        embedding, half = latents.embedding(), latents.motif_dim
        colour, texture = baselines.colour_histogram(images), baselines.lbp(images)
        rows = {
            **_by_half(embedding, half),
            "colour histogram": colour,
            "LBP": texture,
            "colour histogram and LBP": baselines.join(colour, texture),
        }
        rows |= {name: describe(images) for name, describe in self.beside.items()}
        return rows if self._pca is None else rows | {PCA: self._pca(images)}

    def observed(self, what: str) -> Iterator[torch.Tensor]:
        """The test pictures as the likelihood sees them, (B, C, S, S) each; the same at every call."""
        _, images = self.tests
        noise = torch.Generator(self.run.device).manual_seed(self.seed)
        for start in range(0, len(images), BATCH):
            part = images[start : start + BATCH]
            x = to_tensor(part, self.run.device, self.run.config.model.channels)
            yield self.run.model.observed(x, noise)
            self.progress(what, start + len(part), len(images))

    def in_parts(self, x: torch.Tensor, what: str, measure: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
        """measure(part) -> (B,) of all parts of x (N, ...), (N,)."""
        found: list[np.ndarray] = []
        for part in x.split(16):
            found.append(measure(part).cpu().numpy())
            self.progress(what, sum(map(len, found)), len(x))
        return np.concatenate(found)

    def _clean_batches(self) -> Iterator[tuple[Sequence[Item], np.ndarray]]:
        items, images = self.tests
        for start in range(0, len(items), BATCH):
            yield items[start : start + BATCH], images[start : start + BATCH]
        bad: list[data.Bad] = []
        for batch, images in data.batches(self.dataset.of("train", "val"), self.run.read_size, BATCH, bad=bad):
            yield batch, shrunk(images, self.size)
        self._bad |= {one.key: one.reason for one in bad}

    def _load(self, size: int) -> tuple[tuple[Item, ...], np.ndarray]:
        pictures = data.load(self.dataset.of("test"), size)
        self._bad |= {one.key: one.reason for one in pictures.bad}
        if not len(pictures.items):
            raise SareeError(f"{self.dataset.root}: none of the test pictures can be read")
        return pictures.items, pictures.images


def by_regions(asking: Latents, stored: Latents) -> dict[str, np.ndarray]:
    """Scores of pictures by their regions against those of stored ones, (Q, N), by OURS, as a catalogue gives them."""
    rows, parts = (_by_half(latents.embedding(), latents.motif_dim) for latents in (stored, asking))
    each = np.split(np.arange(len(asking)), asking.starts[1:])
    return {
        name: np.stack([match(parts[name][own] @ rows[name].T, stored.starts, wholes=[0]) for own in each])
        for name in rows
    }


def _by_half(embedding: np.ndarray, half: int) -> dict[str, np.ndarray]:
    """Unit rows of both halves and of each, (N, D), by the names of OURS; no "colour" where there is no such half."""
    motif, colour = embedding[:, :half], embedding[:, half:]
    if not colour.shape[1]:
        return {OURS[0]: motif, OURS[1]: motif}
    return dict(zip(OURS, (weighted(embedding, half, **WEIGHTS), motif, colour), strict=True))


def _figure(values: np.ndarray, *, over: np.ndarray | None = None, seed: int) -> dict:
    """The mean of values (n,), or mean(values) / mean(over), with its interval if there are enough of them."""
    if not len(values):
        return {"value": None, "low": None, "high": None, "n": 0}
    nothing = (float("nan"), float("nan"))
    low, high = metrics.bootstrap_interval(values, over=over, seed=seed) if len(values) >= FEW else nothing
    value = np.mean(values) / (1.0 if over is None else np.mean(over))
    ends = {"value": value, "low": low, "high": high}
    # JSON has no infinity (the PSNR of a perfect copy).
    return {name: float(end) if np.isfinite(end) else None for name, end in ends.items()} | {"n": len(values)}


def _recalls(found: metrics.Retrieval, seed: int) -> dict[str, dict]:
    figures = {f"R@{k}": _figure(recall, seed=seed) for k, recall in found.recall.items()}
    return figures | {"mAP@R": _figure(found.map_at_r, seed=seed)}


def _own(recall: Mapping[int, np.ndarray], of_piece: metrics.Retrieval | None, seed: int) -> dict[str, dict]:
    """How often views find their own picture, and where pieces have several photographs, any of the piece."""
    figures = {f"R@{k}": _figure(values, seed=seed) for k, values in recall.items()}
    return figures if of_piece is None else figures | {"piece R@1": _figure(of_piece.recall[1], seed=seed)}


def _row(part: str, name: str, figures: dict[str, dict], *, ours: bool | None = None) -> dict:
    return {"part": part, "name": name, "ours": name in OURS if ours is None else ours, "figures": figures}


def _by(groups: list[str], found: metrics.Retrieval, asked: list[Item], hits: list[Item], seed: int) -> list[dict]:
    """Figures of each group of queries, worst first, with the cluster it is most often taken for."""
    table = []
    for group in sorted(set(groups)):
        rows = [i for i, other in enumerate(groups) if other == group]
        wrong = Counter(hits[i].cluster or "no cluster" for i in rows if hits[i].cluster != asked[i].cluster)
        figures = {
            "R@1": _figure(found.recall[1][rows], seed=seed),
            "mAP@R": _figure(found.map_at_r[rows], seed=seed),
        }
        table.append({"name": group, "figures": figures, "taken_for": wrong.most_common(1)[0] if wrong else None})
    return sorted(table, key=lambda row: (row["figures"]["R@1"]["value"], row["figures"]["mAP@R"]["value"]))


def _failures(asked: list[Item], hits: list[Item], score: np.ndarray, count: int = 12) -> list[dict]:
    """The wrong first hits that the model was surest of."""
    wrong = [i for i in np.argsort(-score, kind="stable") if hits[i].cluster != asked[i].cluster][:count]
    return [
        {
            "query": asked[i].key,
            "cluster": asked[i].cluster,
            "hit": hits[i].key,
            "hit_cluster": hits[i].cluster,
            "score": float(score[i]),
        }
        for i in wrong
    ]


def _best_marked(table: list[dict]) -> list[dict]:
    """The same rows, with "best" set on the highest figure of each part and column."""
    highest: dict[tuple[str, str], float] = {}
    for row in table:
        for column, figure in row["figures"].items():
            key = (row["part"], column)
            highest[key] = max(highest.get(key, 0.0), figure["value"])
    for row in table:
        for column, figure in row["figures"].items():
            figure["best"] = figure["value"] == highest[row["part"], column] > 0
    return table


def _prefix(item_id: str | None) -> str:
    """ "shop" of "shop:1234"; nothing where there is no colon."""
    return item_id.partition(":")[0] if item_id and ":" in item_id else ""


def _without_seen(run: Run, dataset: DataSet) -> tuple[DataSet, int]:
    """The data set with test pictures that the run trained on counted as training pictures, and how many they are.

    A seeded split depends on what lies in the folder: pictures added later can move others across.
    """
    moved = [
        replace(item, split="train") if item.split == "test" and run.trained_on(item) else item
        for item in dataset.items
    ]
    count = sum(new is not old for new, old in zip(moved, dataset.items, strict=True))
    return replace(dataset, items=tuple(moved)), count


def _without_variants(dataset: DataSet) -> DataSet:
    """Nothing is measured on variants, and nothing may be found among them."""
    return replace(dataset, items=tuple(item for item in dataset.items if not item.made_from))


def _no_test(dataset: DataSet) -> dict | None:
    return None if dataset.of("test") else {"skipped": "The data set has no test pictures."}
