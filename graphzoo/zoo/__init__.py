"""The zoo: one file per family of modules. What they offer stands in `graphzoo` itself."""
