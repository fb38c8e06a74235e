"""What is spoken in `biasing.py`: call-centre sentences, each with a term that is rare or made up.

`TUNING` was used to choose the form of the prompt, `REPORT` was not. They share no term, and are
spoken by other voices.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Source = Literal["vocabulary", "message", "note", "caption"]


class Case(NamedTuple):
    """`spoken` holds `term`; `context` is the name of a vocabulary, the text of a message or note,
    or what was said before."""

    source: Source
    term: str
    spoken: str
    context: str


VOCABULARIES = {
    "bank": (
        "Corvantis, Halden Trust, Pellucid card, FX-20, Moorgate saver, Arden Flexi, Quillon,"
        " Tessaly, BR-115, Vantora, Sterling Oak, Ombrelle, Draycott, Finchley bond"
    ),
    "guests": (
        "Abernathy, Kowalczyk, Oyelaran, Delacroix, Thorvald, Szymanski, Bhattacharya, Villanueva,"
        " Eriksen, Mbeki, Castellanos, Haverford, Yamaguchi, Quintero"
    ),
    "telephony": (
        "Zephyrine, QX-47, Fibrolink, Kestrel Nine, Novaband, Halcyon Plus, Orbiston, PR-310,"
        " Lumetra, Wexcom, Trillium, Sorrento Hub, Dexalis, MV-88, Castarol, Bramwell"
    ),
    "customers": (
        "Okonkwo, Wojciechowski, Siobhan Gallagher, Aurelie Fontaine, Mehrotra, Ekaterina Volkova,"
        " Desrosiers, Papadopoulos, Xiomara Delgado, Zielinski, Adeyemi, Lindqvist, Rasmussen"
    ),
    "pharmacy": (
        "Tresulvant, Clarivane, Meridox, Ombrexa, Zolfenta, Prestivil, Adravance, Quenlora,"
        " Bastirol, Fenoxamil, Lurasept, Velmarin, Corticane, Nebrosol, Dalvanex"
    ),
}
TUNING_VOCABULARIES = ("bank", "guests")

# fmt: off
TUNING = (
    Case("vocabulary", "Corvantis", "I opened a Corvantis account in the spring.", "bank"),
    Case("vocabulary", "Halden Trust", "The letter came from Halden Trust last week.", "bank"),
    Case("vocabulary", "FX-20", "Why was I charged for the FX-20 plan twice?", "bank"),
    Case("vocabulary", "Quillon", "My Quillon statement has the wrong address on it.", "bank"),
    Case("vocabulary", "Tessaly", "I would like to close the Tessaly fund today.", "bank"),
    Case("vocabulary", "Vantora", "Is the Vantora loan still available to students?", "bank"),
    Case("vocabulary", "BR-115", "You told me to fill in form BR-115 first.", "bank"),
    Case("vocabulary", "Ombrelle", "The Ombrelle cover ran out before the storm.", "bank"),
    Case("vocabulary", "Kowalczyk", "The booking is for Mister Kowalczyk and his wife.", "guests"),
    Case("vocabulary", "Oyelaran", "Could you put me through to Mrs Oyelaran please?", "guests"),
    Case("vocabulary", "Thorvald", "I spoke to Thorvald at the front desk.", "guests"),
    Case("vocabulary", "Szymanski", "My name is Szymanski, and I am in room twelve.", "guests"),
    Case("vocabulary", "Villanueva", "Doctor Villanueva left her keys here.", "guests"),
    Case("vocabulary", "Mbeki", "Please send the invoice to Mbeki by Friday.", "guests"),
    Case("message", "Rostelka", "It is the Rostelka that does not start any more.",
         "Hello, I bought a washing machine, model Rostelka, in May."),
    Case("message", "Galdorf", "They delivered it to Galdorf instead of my home.",
         "My address is 14 Mill Lane, Galdorf."),
    Case("message", "TK-900", "The TK-900 shows an error when I turn it on.",
         "here is a photo of the TK-900 display"),
    Case("note", "Ibrahimovna", "I already told Miss Ibrahimovna about the refund.",
         "Case was handled by Ibrahimovna on Tuesday. Customer waits for a refund."),
    Case("note", "Solvane", "Nobody said that the Solvane filter costs extra.",
         "Customer has the Solvane filter; warranty ends in June."),
    Case("note", "Pereslavl", "The parcel from Pereslavl has not arrived.",
         "Sent from Pereslavl on 3 May, not tracked."),
    Case("caption", "Brightmoor", "Then Brightmoor said that it was not their fault.",
         "I am calling about my contract with Brightmoor, the electricity people."),
    Case("caption", "Nakamura", "Nakamura promised to call me back on Monday.",
         "Last week I talked to a manager called Nakamura at your office."),
    Case("caption", "Velocita", "The Velocita makes a strange noise on the stairs.",
         "I have a question about my vacuum cleaner, it is the Velocita."),
    Case("caption", "Hendricks", "So is Hendricks coming today or tomorrow?",
         "The technician, Mister Hendricks, did not come yesterday."),
    Case("caption", "Marisol", "Marisol has the same problem with hers.",
         "My sister Marisol and I both bought the blue one."),
    Case("caption", "Kettering", "I can pick it up in Kettering if that helps.",
         "The shop is closed, so they sent it to your branch in Kettering."),
)

REPORT = (
    Case("vocabulary", "Zephyrine", "The Zephyrine stopped working after the update.", "telephony"),
    Case("vocabulary", "QX-47", "I have the QX-47 at home and it keeps restarting.", "telephony"),
    Case("vocabulary", "Fibrolink", "When will Fibrolink be ready in our street?", "telephony"),
    Case("vocabulary", "Novaband", "My daughter is on the Novaband tariff.", "telephony"),
    Case("vocabulary", "Orbiston", "They told me the Orbiston box was free.", "telephony"),
    Case("vocabulary", "PR-310", "The lights on the PR-310 are all red.", "telephony"),
    Case("vocabulary", "Lumetra", "I want to cancel Lumetra before the end of the month.",
         "telephony"),
    Case("vocabulary", "Dexalis", "Does the Dexalis work with an old phone?", "telephony"),
    Case("vocabulary", "Okonkwo", "This is Mister Okonkwo, I called you this morning.",
         "customers"),
    Case("vocabulary", "Wojciechowski", "The contract is in the name of Wojciechowski.",
         "customers"),
    Case("vocabulary", "Mehrotra", "Please ask Mehrotra to call me back.", "customers"),
    Case("vocabulary", "Desrosiers", "It was ordered by Mrs Desrosiers in August.", "customers"),
    Case("vocabulary", "Xiomara Delgado", "I am Xiomara Delgado and I have lost my card.",
         "customers"),
    Case("vocabulary", "Zielinski", "Did Zielinski sign the form already?", "customers"),
    Case("vocabulary", "Lindqvist", "My landlord Lindqvist has the other key.", "customers"),
    Case("vocabulary", "Tresulvant", "Can I take Tresulvant together with coffee?", "pharmacy"),
    Case("vocabulary", "Clarivane", "The doctor gave me Clarivane for my back.", "pharmacy"),
    Case("vocabulary", "Zolfenta", "I ran out of Zolfenta two days ago.", "pharmacy"),
    Case("vocabulary", "Prestivil", "Is there a cheaper one than Prestivil?", "pharmacy"),
    Case("vocabulary", "Quenlora", "The Quenlora cream made it worse.", "pharmacy"),
    Case("message", "Brennivar", "The Brennivar started leaking on Sunday night.",
         "Is the Brennivar heater still under warranty?"),
    Case("message", "Lostwithiel", "We moved to Lostwithiel at the end of March.",
         "New address: 3 Quay Street, Lostwithiel."),
    Case("message", "HV-660", "The HV-660 was never delivered to my house.",
         "my order is the HV-660 in black"),
    Case("message", "Ottoline", "Ottoline will be at home to open the door.",
         "Please talk to my mother, Ottoline, she is at home all day."),
    Case("message", "Cardovan", "I paid for the Cardovan with my credit card.",
         "Payment for the Cardovan chair, order of Monday"),
    Case("message", "Emberlyn", "The Emberlyn does not fit in our kitchen.",
         "We bought the Emberlyn oven. It is too wide!"),
    Case("note", "Haraldsson", "I was promised a discount by Haraldsson.",
         "Spoke to Haraldsson before. Offered ten percent."),
    Case("note", "Tavistock", "The engineer went to Tavistock by mistake.",
         "Visit was booked for the Tavistock branch."),
    Case("note", "Aquarell", "The pump in the Aquarell has broken again.",
         "Second repair of an Aquarell dishwasher this year."),
    Case("note", "Montefiore", "Mister Montefiore never got the letter.",
         "Customer acts for his father, Mr Montefiore."),
    Case("note", "SL-505", "I cannot find the filter for the SL-505 anywhere.",
         "Device: SL-505, bought in 2023, no receipt."),
    Case("note", "Durrington", "There is no signal at all in Durrington.",
         "Outage in the Durrington area since noon."),
    Case("caption", "Fairweather", "Fairweather never told me about the fee.",
         "I have been a customer of Fairweather Insurance for ten years."),
    Case("caption", "Castellano", "Is Castellano still working there?",
         "In April I spoke with a man called Castellano in sales."),
    Case("caption", "Pemberton", "I would rather drive to Pemberton myself.",
         "The nearest shop is the one in Pemberton, near the station."),
    Case("caption", "Aurora", "The Aurora gets very hot after an hour.",
         "It is about the new lamp that I bought, the Aurora."),
    Case("caption", "Rosalind", "Rosalind wants her money back as well.",
         "My neighbour Rosalind bought one on the same day."),
    Case("caption", "Silverline", "So I have to pay Silverline until December?",
         "I signed the Silverline contract two years ago."),
    Case("caption", "Wetherby", "Can Wetherby come before nine o'clock?",
         "Your technician is called Wetherby, I think."),
    Case("caption", "Monterey", "How do I return the Monterey?",
         "I ordered a garden table, the Monterey, and it is scratched."),
    Case("caption", "Ashworth", "The branch in Ashworth was closed too.",
         "I went to your branch in Ashworth this morning."),
    Case("caption", "Calloway", "Calloway said that it would only take a day.",
         "My account manager is Mister Calloway."),
    Case("caption", "Valentina", "Could you send it to Valentina instead?",
         "The parcel was meant for my wife, Valentina."),
    Case("caption", "Bellamy", "We bought the Bellamy because it is quiet.",
         "Our fridge is a Bellamy, about three years old."),
)
# fmt: on
