"""The command line: main, the arguments and output that verbs share, and a module for each verb."""
