"""Tables of the README, made from records: claims with published and measured numbers, and benchmarks.

There is a file for each experiment with its `CLAIMS`, which are shown once their record is in `records/`.
`python -m paper_figs.claims` writes the tables between their markers in README.md; a test checks that they are current.
"""
