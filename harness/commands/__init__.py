"""The commands of the command line, one function each; imported when its command is used."""
