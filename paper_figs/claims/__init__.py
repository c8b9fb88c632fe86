"""The README's tables, made from records: the claims with what was published and measured, and the benchmark.

A file here for each experiment: its `CLAIMS`, shown as soon as their record is in `records/`.
`python -m paper_figs.claims` writes the tables between their marks in README.md; a test holds that they stand there.
"""
