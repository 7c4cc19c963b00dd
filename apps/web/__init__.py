"""The front end: pages that show what the functions of `saree_vae` and `kg` find; no logic of their own."""
