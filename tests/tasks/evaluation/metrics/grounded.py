"""Questions, passages and answers that keep to them, to perturb; written for these tests."""

from typing import NamedTuple


class Grounded(NamedTuple):
    query: str
    passage: str
    answer: str


GROUNDED = [
    Grounded(
        "When did the Halden bridge open and what did it cost?",
        "The Halden bridge crosses the River Orm north of Vester. It was designed by Ingrid Solberg and "
        "opened to traffic on 14 May 1937, two years late. Building it cost 3,450,000 crowns, of which the "
        "city of Vester paid a third. A toll was taken until 1962. The bridge carries two lanes and a "
        "footway.",
        "The Halden bridge opened to traffic on 14 May 1937. It cost 3,450,000 crowns.",
    ),
    Grounded(
        "How often must the oil of the Kestrel compressor be changed?",
        "The Kestrel compressor is lubricated with mineral oil of grade VG 46. Change the oil after the first "
        "50 hours of operation and every 2,000 hours from then on. The sump holds 18 litres. Oil that has "
        "turned dark must be changed at once. Records are kept by the shift leader at Marlow.",
        "The oil of the Kestrel compressor must be changed after the first 50 hours of operation, and then "
        "every 2,000 hours.",
    ),
    Grounded(
        "Who founded the Lindqvist observatory?",
        "The observatory on Mount Ferrel was founded in 1891 by Karl Lindqvist, a merchant from Gothenburg "
        "who had taught himself astronomy. His daughter Elsa led it for thirty years. Its refractor, built by "
        "the firm of Repsold in Hamburg, was the largest in the country until 1924.",
        "Karl Lindqvist, a merchant from Gothenburg, founded the observatory on Mount Ferrel in 1891.",
    ),
    Grounded(
        "What causes the alarm E17 on the packing line?",
        "Alarm E17 appears when the photocell at the infeed of the packing line is blocked for more than 4 "
        "seconds. Wipe the lens with a dry cloth and press Reset. If the alarm returns within a minute, "
        "replace the photocell, part number PX-220. Alarm E18 points to the outfeed instead.",
        "Alarm E17 is caused by the photocell at the infeed being blocked for more than 4 seconds.",
    ),
    Grounded(
        "Where do the Tarn cranes spend the winter?",
        "The cranes breed in the marshes of the upper Tarn between April and August. In September they gather "
        "in flocks of up to 600 birds and fly south along the coast of Morvia. They spend the winter in the "
        "rice fields of Salento and return in March. Drainage has cost the population a quarter of its nests "
        "since 1980.",
        "The cranes spend the winter in the rice fields of Salento. They return in March.",
    ),
    Grounded(
        "What is the design pressure of vessel V-301?",
        "Vessel V-301 is a vertical drum of carbon steel with a design pressure of 16 bar and a design "
        "temperature of 220 degrees. It was hydrotested at 24 bar by Brandt and Sons. The relief valve on its "
        "top nozzle is set to 15 bar. Vessel V-302 beside it has a design pressure of 10 bar.",
        "Vessel V-301 has a design pressure of 16 bar.",
    ),
    Grounded(
        "Why was the Ashford mill closed?",
        "The mill at Ashford spun cotton for ninety years. Cheap imports from Bengal and a strike in 1926 "
        "drove it into debt, and the bank of Harrow closed it in November 1931. Its 340 workers moved to the "
        "dye works of Leyland. The building burned down in 1944.",
        "The mill was closed in November 1931 because cheap imports and a strike drove it into debt.",
    ),
    Grounded(
        "How is the Meridian filter cleaned?",
        "Close both valves before the Meridian filter is opened. Take out the cartridge and rinse it with "
        "warm water of at most 40 degrees; never use solvents. A cartridge can be cleaned 12 times before it "
        "must be replaced. Grease the ring with silicone from Dorn Chemicals and tighten the cover to 35 "
        "newton metres.",
        "Take out the cartridge and rinse it with warm water of at most 40 degrees, never with solvents. It "
        "can be cleaned 12 times.",
    ),
    Grounded(
        "What did the treaty of Norholm settle?",
        "The treaty of Norholm, signed on 2 March 1814, ended the war between Denland and the League. Denland "
        "gave up the island of Runo but kept its fishing rights there. The League paid 800,000 thalers for "
        "the burned ships. King Osric never accepted the loss of the island.",
        "The treaty of Norholm ended the war between Denland and the League. Denland gave up the island of "
        "Runo but kept its fishing rights.",
    ),
    Grounded(
        "How long does the battery of the Piper handset last?",
        "The Piper handset is charged in its cradle. A full charge takes 3 hours and lasts for 11 hours of "
        "talk or 170 hours on standby. The battery, type LB-5, is good for about 500 cycles. Below freezing "
        "its capacity falls by half. Spare batteries are sold by Norvik Radio.",
        "A full charge of the Piper handset lasts for 11 hours of talk or 170 hours on standby.",
    ),
    Grounded(
        "Which plants grow on the dunes of Skarrow?",
        "On the outer dunes of Skarrow only marram grass and sea rocket hold the sand. Behind them heather, "
        "crowberry and creeping willow form low thickets. The botanist Maud Ellery counted 214 species in "
        "1958, a third of which are rare on the mainland. Grazing has been forbidden since 1973.",
        "Marram grass and sea rocket grow on the outer dunes. Behind them there are heather, crowberry and "
        "creeping willow.",
    ),
    Grounded(
        "What must be done before the Orbis lift is put into service?",
        "Before the Orbis lift is put into service, an inspector must test the brake with 125 per cent of the "
        "rated load of 630 kg. The governor is checked at a speed of 1.4 metres per second. The report goes "
        "to the works council of Halle and is kept for 10 years. The next test is due after 24 months.",
        "An inspector must test the brake with 125 per cent of the rated load of 630 kg. The governor must be "
        "checked at a speed of 1.4 metres per second.",
    ),
]
