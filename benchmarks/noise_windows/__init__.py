"""Windows that hold no particle, picked with a template: the sets, what programs make of them, the table."""
