"""A module for each verb of the command line, named for it.

Each has SUMMARY (what it does, in a line), `arguments(parser)`, which adds what it takes to its
parser, and `run(options)`, which does it and returns the exit status. Only the module of the verb
that was asked for is imported, and it imports heavy things where it uses them: start-up is quick.
"""
