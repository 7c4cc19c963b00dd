"""The knowledge graph of textiles: its facts and the head that reads them are not part of this release yet."""
