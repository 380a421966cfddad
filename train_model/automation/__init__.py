"""Executes, publishes and benchmarks the notebooks, and writes the documents' figures."""
