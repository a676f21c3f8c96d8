"""The composition roots: each chooses its adapters and starts a program of Phase Boot."""
