"""Phase Boot: a machine that boots what it can prove, and nothing else."""
