"""The family on photographs: what lower latents and codes give a picture, and what they cost search.

    PYTHONPATH=. python benchmarks/family.py --data textiles/manifest.csv --epochs 10 --work family_work

The same networks, views and epochs for all; each model differs by the settings that the table names. Pictures by PSNR,
SSIM and the detail they keep; bits per dimension by the ELBO; search by R@1 of views and mAP@R of
classes. An interrupted command goes on where it was when it is given the same --work again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import study

from saree_vae import data
from saree_vae.evaluate import evaluate

MODELS = {
    "plain": (),
    "ladder": ("model.levels=4",),
    "VQ-VAE": ("model.posterior=vq", "model.motif_dim=256"),
    "plain autoencoder": ("model.posterior=point",),
}
PICTURES = (  # the row of `likelihood` that is shown, and its heading
    ("PSNR of the reconstruction, dB", "PSNR, dB"),
    ("SSIM of the reconstruction", "SSIM"),
    ("detail kept (energy of the Laplacian)", "detail kept"),
    ("bits per dimension", "bits per dimension, by the ELBO"),
    ("rate, nats", "rate, nats"),
)
SEARCH = (  # task, part, our row, figure
    ("views", "phone_photo", "motif and colour", "R@1"),
    ("views", "recoloured", "motif", "R@1"),
    ("views", "shuffled", "colour", "R@1"),
    ("retrieval", "", "motif and colour", "R@1"),
    ("retrieval", "", "motif", "mAP@R"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = study.parser(__doc__, work="family_work")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=MODELS, help="train and measure these models only")
    options = parser.parse_args(arguments)
    dataset = data.read_data(options.data)
    rows = {name: one(name, options, dataset) for name in MODELS if not options.only or name in options.only}
    epochs = next(iter(rows.values()))["epochs"]
    study.tell({"epochs": epochs, "seed": options.seed, "rows": rows}, markdown, options.json)


def one(name: str, options, dataset: data.DataSet) -> dict:
    """Figures of one model on the test split."""
    run = study.trained(name, options, dataset, *MODELS[name], seed=options.seed)
    tasks = evaluate(run, dataset, ("likelihood", "views", "retrieval", "exchange"), seed=options.seed)["tasks"]
    return {
        "settings": list(MODELS[name]),
        "epochs": run.config.train.epochs,
        "parameters": sum(part.numel() for part in run.model.parameters()),
        "images per second": study.speed(run.path),
        "figures": dict(figures(tasks)),
    }


def figures(tasks: dict) -> Iterator[tuple[str, dict]]:
    """Each shown figure by its heading."""
    drawn = {row["name"]: row["figures"]["mean"] for row in tasks["likelihood"]["rows"] if "mean" in row["figures"]}
    for name, heading in PICTURES:
        if name in drawn:
            yield heading, drawn[name]
    for task, part, ours, figure in SEARCH:
        for row in tasks[task]["rows"]:
            if (row["part"], row["name"]) == (part, ours):
                yield f"{part.replace('_', ' ') or 'class'} by {ours}, {figure}", row["figures"][figure]
    if "rows" in tasks["exchange"]:
        yield "exchanged colours, to their donor", tasks["exchange"]["rows"][0]["figures"]["distance"]


def markdown(report: dict) -> str:
    """One row for each figure, one column for each model."""
    names = list(report["rows"])
    headings = dict.fromkeys(heading for row in report["rows"].values() for heading in row["figures"])
    lines = [["settings", *(", ".join(report["rows"][name]["settings"]) for name in names)]]
    for kind in ("parameters", "images per second"):
        lines.append([kind, *(f"{report['rows'][name][kind]:,.0f}" for name in names)])
    for heading in headings:
        found = (report["rows"][name]["figures"].get(heading) for name in names)
        lines.append([heading, *(study.cell(figure) if figure else "" for figure in found)])
    about = f"{report['epochs']} epochs, seed {report['seed']}; test split, mean and 95 % bootstrap interval."
    return f"{about}\n\n{study.table(['', *names], lines)}"


if __name__ == "__main__":
    study.run(main)
