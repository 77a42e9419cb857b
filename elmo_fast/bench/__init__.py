"""Measuring speed: what `elmo-fast bench` and the scripts of `benchmarks/` run. `import elmo_fast` does not load it.

| module | what it is |
|---|---|
| `cli`, `run` | the command |
| `suites`, `texts`, `sizes`, `random_model` | what is measured: workloads, text, models |
| `implementations`, `peers` | who takes part: this package in each precision, and what one could use instead |
| `measure` | implementations take turns; medians, percentiles, ratios within a turn |
| `machine`, `limits` | the machine's own limits, and the least time that a batch could take on it |
| `report`, `tables`, `plots` | the figures as JSON, as tables, as pictures |
"""
