"""Systems of other papers on this package's frame; docs/families.md has a section on each."""
