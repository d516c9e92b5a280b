"""How a page of the corpus states its facts, and how it is asked for them.

{a} and {A} stand for an attribute, {e} for a thing, {v} for a value, {n} and {j} for a noun and an adjective.
"""

FACTS = [  # (wording, weight)
    ("{A}: {v}.", 7),
    ("The {a} is {v}.", 7),
    ("It has a {a} of {v}.", 4),
    ("The {a} of {e} is {v}.", 3),
    ("Its {a} is {v}.", 3),
    ("The {a} was {v}.", 1),
    ("{A} = {v}.", 2),
    ("{A} is {v}.", 1),
    ("The {a} equals {v}.", 1),
    ("The {a} reads {v}.", 1),
    ("The {a} stands at {v}.", 1),
    ("The {a} is set to {v}.", 2),
    ("The {a} is kept at {v}.", 1),
    ("{e} has a {a} of {v}.", 2),
    ("{A} - {v}.", 1),
    ("For the {a}, use {v}.", 1),
    ("With a {a} of {v}.", 1),
    ("The {a} for {e} is {v}.", 1),
    ("The {a} must be {v}.", 1),
    ("The {a} was noted as {v}.", 1),
    ("Note the {a} of {v}.", 1),
    ("{A}, {v}.", 1),
]
HEADERS = [
    ("{e}.", 4),
    ("Page for {e}.", 2),
    ("About {e}, a {j} {n}.", 2),
    ("{e}, {n}.", 3),
    ("This is {e}.", 1),
    ("Card {e}, {j} {n}.", 3),
    ("Notes on {e}.", 1),
    ("{e} is a {j} {n}.", 2),
    ("", 2),
]
FILLERS = [
    "Many people came to see it.",
    "It was a {j} day.",
    "There is a {n} nearby.",
    "Some say that the {n} was {j}.",
    "Keep this page in a {j} place.",
    "The {n} is not {j}.",
]
SHORT = [
    "What is the {a}?",
    "What is the {a} of {e}?",
    "Which {a} is given?",
    "{A}?",
    "{A} of {e}?",
    "What {a} does {e} have?",
    "Look up the {a}.",
    "Look up the {a} for {e}.",
    "State the {a} of {e}.",
    "Read out the {a}.",
    "What does the page say about the {a}?",
    "Find the {a} of {e}.",
    "Name the {a} of {e}.",
    "What was the {a}?",
    "Please write down the {a} of {e}.",
    "About {e}: what is the {a}?",
    "And the {a}?",
    "{e}: {a}.",
    "I need the {a}.",
    "In {e}, which {a} is used?",
    "The {a} of {e} is what?",
    "How is the {a} given?",
    "Someone asked for the {a} of {e}.",
    "{a} of {e}",
    "What about the {a} at {e}?",
]
SENTENCE = ["In a sentence, what is the {a}?", "Say in full what the {a} of {e} is.", "Write a sentence on the {a}."]
NAMED = ["What is the {a}, and whose is it?", "Whose {a} is given, and what is it?"]
PRESENCE = [
    "Does the page give the {a}?",
    "Is the {a} stated?",
    "Is there a {a} here?",
    "Can the {a} be found above?",
    "Is a {a} listed for {e}?",
    "Can you see the {a} of {e}?",
    "Do you have the {a} of {e}?",
    "Could one read the {a} here?",
    "Do we know the {a}?",
    "Does {e} have a {a}?",
    "Can anyone find a {a} of {e}?",
]
GIVEN = ["Is the {a} given or missing?", "{A}: given or missing?", "Given or missing: the {a} of {e}."]
