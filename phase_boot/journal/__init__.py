"""The journal: event records, the writer, the schema of lines, and the replay of a run."""
