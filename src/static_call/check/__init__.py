"""Which executions of a small arm64 program the architecture allows, instruction fetch included.

program.py        runs each thread by itself: its possible sequences of memory events
model.py          Arm's memory model, as tables of rules
executions.py     the executions that the model allows, and why not the others
litmus.py         litmus files: reading and running
litmus_writer.py  and writing
"""
