"""Tables of README.md and docs/, made from records: claims with published and measured numbers, and benchmarks.

There is a file for each experiment with its `CLAIMS`, which are shown once their record is in `records/`.
`python -m paper_figs.claims` writes all claims into docs/results.md, the benchmarks into docs/benchmarks.md, and the
few that `headlines.py` names into README.md, each between its markers; a test checks that they are current.
"""
