"""Which properties a design has, proved on its machine code.

The files, each after those that it imports:

- changes.py, questions.py: what can be asked
- layout.py, updater.py, scene.py, build.py: a question's program, and words for what happens in it
- checker.py: asks the model, and remembers
- cmodx.py, landing.py, atomic.py, remedies.py, properties.py: the properties, a row for each
- verdicts.py, report.py: the answers, and their tables
- story.py, export.py: why; and the questions as litmus files
"""
