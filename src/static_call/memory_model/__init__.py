"""Which executions of a small arm64 program the architecture allows, instruction fetch included.

It knows nothing of trampolines. The files, each after those that it imports:

- program.py: code, data and threads, and bounds on the work; events.py: memory events and paths
- values.py, effects.py, operands.py, semantics_arithmetic.py, semantics.py, explore.py: the paths
  of each thread by itself
- model.py: Arm's memory model as tables of rules; relations.py, shapes.py: these, evaluated
- executions.py: the executions that the model allows; cycles.py: why it forbids others
- telling.py, drawing.py: an execution in words, and drawn
- litmus_unmodelled.py: what herd7 takes that is refused here; litmus_types.py: types
- litmus_format.py, litmus_values.py, litmus_condition.py, litmus_reader.py, litmus.py,
  litmus_writer.py: litmus tests as data, read, run and written
- litmus_story.py, litmus_data.py: a test explained; its result as plain data
"""
