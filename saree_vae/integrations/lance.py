"""A run as an embedding function of LanceDB: tables that embed pictures as they come, and are searched by pictures.

    embed = SareeEmbedding.create(run="runs/a")

    class Piece(LanceModel):
        photo: str = embed.SourceField()
        vector: Vector(embed.ndims()) = embed.VectorField()

    table = lancedb.connect("shop").create_table("pieces", schema=Piece)
    table.add([{"photo": "a.jpg"}, {"photo": "b.jpg"}])
    table.search("phone.jpg").distance_type("dot").to_list()    # _distance is 1 less what `search` scores

A table remembers run and weights. Whoever opens it imports this module first, so that LanceDB knows "saree-vae".
"""

from __future__ import annotations

import numpy as np
from lancedb.embeddings import EmbeddingFunction, register

from ..encoding import vectors
from ..latents import WEIGHTS
from . import loaded


@register("saree-vae")
class SareeEmbedding(EmbeddingFunction):
    """Vectors of pictures, as `encoding.vectors` gives them, from files or their bytes.

    Fields:
        run: a run's folder, or "loom".
        motif, colour, crops: as for `encoding.vectors`.
        device: "auto", "cpu", "cuda".
    """

    max_retries: int = 0  # of LanceDB; a file that cannot be read now cannot be in ten minutes either
    run: str = "loom"
    motif: float = WEIGHTS["motif"]
    colour: float = WEIGHTS["colour"]
    crops: int = 0
    device: str = "auto"

    def ndims(self) -> int:
        return loaded(self.run, self.device).model.latent_dim

    def compute_source_embeddings(self, images: object, *args: object, **options: object) -> list[np.ndarray]:
        """A vector (D,) for each picture of a column of files or bytes; SareeError where one cannot be read."""
        pictures = self.sanitize_input(images)
        pictures = [pictures] if isinstance(pictures, bytes) else list(pictures)
        run = loaded(self.run, self.device)
        return [*vectors(run, pictures, motif=self.motif, colour=self.colour, crops=self.crops)]

    def compute_query_embeddings(self, query: object, *args: object, **options: object) -> list[np.ndarray]:
        """The vector of one picture."""
        return self.compute_source_embeddings([query])
