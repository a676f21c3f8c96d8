"""Content addressing: pure codecs of digests, CIDs, DAG nodes, CAR files and chunk lists."""
