"""The nodes of the graph; each may run again after a kill and repeats nothing that was saved."""
