"""Random litmus tests in which code is rewritten, often with what it is already.

One or two threads store to a word that another one executes, perhaps twice, with or without what
orders the stores before its fetches. Arm's present text (known issue D25021) has to say which of
these stores modify the word.
"""

from __future__ import annotations

from random import Random

from litmus_tests import Case, case

ON_THE_LIST = ("NOP", "B .+8")
OTHERS = ("MOV W9,#1", "MOV W9,#2")
CLEAN = "DC CVAU,X1; DSB ISH; IC IVAU,X1; DSB ISH"
BETWEEN = ("", "", "DMB ISH", "DMB ISHST", CLEAN)
BEFORE_A_FETCH = ("", "LDR W5,[X3]", "LDR W5,[X3]; CBNZ W5,L; L: ISB", "ISB")


def test(random: Random, name: str) -> Case:
    """A test. Its verdicts are not known: they are empty."""
    held = random.choice((ON_THE_LIST, OTHERS, OTHERS, ON_THE_LIST + OTHERS))
    init = ["1:X1=P1:slot", "1:X3=y", "1:X9=0"]
    writers = []
    alone = random.random() < 0.7
    for thread in (0,) if alone else (0, 2):
        init += [f"{thread}:X1=P1:slot", f"{thread}:X3=y", f"{thread}:X7=1"]
        steps = []
        for number in range(random.choice((1, 2, 2, 3)) if alone else 1):
            register = 10 + number
            init.append(f'{thread}:X{register}=instr:"{random.choice(held)}"')
            steps += [f"STR W{register},[X1]", random.choice(BETWEEN)]
        if random.random() < 0.5:
            steps.append("STR W7,[X3]")
        writers.append("; ".join(filter(None, steps)))
    fetches = [random.choice(BEFORE_A_FETCH), f"slot: {random.choice(held)}", "MOV W8,#1"]
    if fetches[1].endswith("+8"):
        fetches[1] = "slot: B end"
        fetches.append("end: NOP")
    code = "; ".join(filter(None, fetches))
    condition = "1:X9=1 /\\ 1:X8=0"
    return case(name, "", "; ".join(init) + ";", condition, writers[0], code, *writers[1:])
