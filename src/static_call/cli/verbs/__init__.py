"""A module for each verb of the command line, named for it.

Each has SUMMARY (what it does, in one line), DESCRIPTION and EXAMPLE for its help,
`arguments(parser)`, which adds its arguments to the parser, and `run(options)`, which runs it and
returns the exit status. Only the module of the verb that was asked for is imported, and it imports
slow modules where it uses them, so that start-up is quick.
"""
