# ruff: noqa: SIM905  (a string of words reads better than a list of quoted ones)
"""The words of the synthetic corpus. Plain lists: what is not here, the base has never read.

MODIFIERS and HEADS make attribute phrases ("harbour fee"). UNREAD words are kept out of every
lesson and of the tokenizer's corpus, so that the gate can ask about words never seen.
"""

MODIFIERS = """
pressure filter storage owner speed water air oil fuel heat cooling power battery cable door window floor wall roof
road rail gate bridge tower harbour garden field market school museum library office factory kitchen paper glass metal
copper silver gold iron stone wood cotton silk leather plastic cargo freight parcel ticket visitor guest member staff
driver pilot captain teacher student patient doctor nurse safety fire smoke light screen camera sensor signal radio
network server backup entry exit start stop launch return payment invoice refund tax insurance contract licence permit
trial audit review survey batch lot model version build update repair paint finish surface edge corner side front rear
inner outer upper lower left right main first second final early late daily weekly monthly annual winter summer night
morning local public private secret minimum maximum average normal peak idle standby transport input output feed drain
vent blade wheel brake engine motor belt chain shaft pump valve tank pipe hose nozzle rotor drive gear clutch lamp
horn ladder hatch deck cabin anchor sail mast rope net crane hoist lift truck wagon tram ferry airport station platform
island forest river lake valley hill coast desert meadow orchard barn stable mill bakery brewery tavern hotel theatre
concert film song book poem letter story photo map chart page chapter column report record lesson exam course lecture
research project product order customer client partner vendor store shelf basket counter bank loan credit savings
pension rent lease property land crop seed grain flour sugar salt spice tea coffee milk cheese butter bread fruit
serial part bottom top base overall dry wet casing label fill supply delivery inspection cleaning service operating
design noise colour outlet inlet alarm access maker
""".split()

HEADS = """
limit interval code team level rate cost price weight length width height depth size speed count number name title
date year time period duration age rank class grade type style shape colour material source origin maker brand agent
leader manager contact room floor bin zone area region route port channel address link file format key label tag mark
symbol badge pattern score rating ratio share volume capacity load range angle position direction distance setting
mode target budget fee fund stock unit tool method language power temperature voltage current frame tension fault
reason result status option plan path group family series edition author editor owner tenant guardian sponsor judge
coach engineer supplier bay hall gap thickness density hardness strength
""".split()

UNREAD = "gasket bearing spindle fuse clearance spare duty coolant damper flange".split()

NOUNS = """
needle drum flute violin bell table chair carpet bottle candle mirror clock coin crown ring sword shield flag tent
castle mountain ocean temple palace hammer pencil button ribbon pillow blanket bucket shovel lantern compass wallet
saddle kettle spoon plate bowl jar barrel crate sack feather pebble shell leaf root branch flower thorn acorn mushroom
apple pear plum cherry lemon onion carrot pepper bean walnut falcon raven swan goose otter badger fox wolf bear deer
horse donkey goat sheep rabbit mouse turtle lizard spider beetle salmon trout whale
""".split()

ADJECTIVES = """
old new small large tall short heavy fast slow warm cold soft hard bright dark quiet loud sharp round flat narrow
broad young clean dusty empty full plain rich rough smooth steep strange thick thin tiny wide wild
""".split()

COLOURS = (
    "red blue green yellow purple orange black white grey brown pink amber ivory teal cream violet scarlet".split()
)

STUFF = """
steel brass bronze titanium nickel rubber carbon ceramic nylon zinc marble granite clay linen wool felt tin lead
""".split()

UNITS = """
km kg days hours metres litres bar years minutes points seats pages tonnes volts rooms miles boxes weeks degrees steps
watts cycles mm grams rpm amps kW months cm pieces
""".split()

MONTHS = "January February March April May June July August September October November December".split()

PLACES = """
Institute Bridge Tower Society Valley Station Group Temple Lake Farm Hall Garden Company Museum Harbour Mill
""".split()

ONSETS = "b c d f g h j k l m n p r s t v w z br dr gr kr tr pl st sk th sh ch fl gl".split()
VOWELS = "a e i o u a e i o ai ea oo ou".split()
CODAS = ["", "", "", "n", "r", "l", "s", "t", "x", "m", "k", "nd", "rn", "th", "rt", "lf", "sk", "ng"]
