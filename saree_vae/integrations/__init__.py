"""Runs as other libraries would have them: scikit-learn, LanceDB. Each file imports its library alone."""
