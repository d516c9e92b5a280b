"""Answers as models give them, two or three sentences each, over some 200 words of passages; as many as asked."""

import random
from collections.abc import Iterator
from typing import NamedTuple

from tests.tasks.evaluation.metrics.grounded import GROUNDED
from tests.tasks.text.wordings import REFUSALS

PASSAGES = 4  # some 200 words
PERMUTATIONS = 997  # of the digits; prime, so that they do not fall into step with the answers

# One for each of GROUNDED, in its order, in words of their own; every third states something that is not there.
SAID = [
    "The Halden bridge was opened to traffic on 14 May 1937, which was two years later than planned. Its "
    "construction "
    "cost 3,450,000 crowns, and the city of Vester paid for a third of that.",
    "According to the passage, the oil has to be changed after the first 50 operating hours and from then on every "
    "2,000 "
    "hours. If the oil has turned dark, it should be changed at once.",
    "The observatory was founded by Karl Lindqvist, a merchant from Gothenburg who was self-taught in astronomy. It "
    "was "
    "later extended with the help of the University of Uppsala in 1931, and remains open to visitors.",
    "Alarm E17 means that the photocell at the infeed of the packing line has been blocked for more than 4 seconds. "
    "To "
    "solve it, wipe the lens with a dry cloth and press Reset. Replace the photocell if the alarm comes back within "
    "a minute.",
    "The cranes of the Tarn spend their winters in the rice fields of Salento. They fly there along the coast of "
    "Morvia in "
    "September, in flocks of up to 600 birds, and come back in March.",
    "The design pressure of vessel V-301 is 16 bar at a design temperature of 220 degrees. It was tested by TÜV "
    "Nord in "
    "Hamburg with 32 bar before it was delivered.",
    "The mill was closed by the bank of Harrow in November 1931, after cheap imports from Bengal and a strike had "
    "driven "
    "it into debt. The 340 people who worked there went to the dye works of Leyland.",
    "Both valves must be closed before you open the Meridian filter. Then take out the cartridge, rinse it with "
    "warm water "
    "of no more than 40 degrees, and do not use any solvents. It can be cleaned up to 12 times.",
    "The treaty of Norholm ended the war between Denland and the League. It was signed in Copenhagen by Queen "
    "Margrethe "
    "and gave Denland control of all 14 harbours along the northern coast.",
    "On a full charge, which takes 3 hours, the battery lasts for 11 hours of talk or 170 hours on standby. Its "
    "capacity "
    "falls by half below freezing, though, and it is good for about 500 cycles.",
    "Marram grass and sea rocket are the only plants on the outer dunes. Behind these there are low thickets of "
    "heather, "
    "crowberry and creeping willow, and in all 214 species were counted in 1958.",
    "Before the lift may be used, an inspector has to test its brake with 150 per cent of the rated load and to "
    "check the "
    "governor. The report is sent to the Ministry of Labour and has to be kept for 30 years.",
]


class Asked(NamedTuple):
    query: str
    context: tuple[str, ...]
    reference: str
    answer: str


def asked(count: int) -> Iterator[Asked]:
    """Rows numbered from 0, the same every time; digits are permuted, so that no two of a kind are alike.

    One answer in eight is a refusal, one in 24 answers after it.
    """
    draw = random.Random(0)
    permutations = [str.maketrans("0123456789", "".join(draw.sample("0123456789", 10))) for _ in range(PERMUTATIONS)]
    for number in range(count):
        at, permutation = number % len(GROUNDED), permutations[number % PERMUTATIONS]
        given, said = GROUNDED[at], SAID[at]
        others = draw.sample([each.passage for each in GROUNDED if each is not given], PASSAGES - 1)
        if number % 8 == 5:
            refusal = REFUSALS[number // 8 % len(REFUSALS)]
            said = f"{refusal} However, {said}" if number % 24 == 5 else refusal
        context = (*others[:2], given.passage, *others[2:])
        yield Asked(
            given.query.translate(permutation),
            tuple(passage.translate(permutation) for passage in context),
            given.answer.translate(permutation),
            said.translate(permutation),
        )
