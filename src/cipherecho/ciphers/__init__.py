"""From a name to a cipher that codes lines: the registry, specifications, options, chains."""
