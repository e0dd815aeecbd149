"""The cases, in the order in which they are measured; each module has `measure(bench)` and says in its docstring
what it compares."""
