"""A small grammar of everyday Māori: numbers, days, times, places, possessions and phrases.

Only patterns of the first textbook pages, each kept where we are sure of it: `e` before the counts two to nine
but not before ten to nineteen, `toko-` for people, `a` before a name as subject, a- and o-possession only for
nouns whose class is settled (*tāku kurī*, *tōku whare*). There are no pepeha: to name a mountain and a river is
to say who one is, and not ours to draw by lot. No speaker of Māori has checked these sentences.
"""

import random
import re

# A symbol's alternatives stand between bars and are drawn alike; {name} stands for one drawing from `name`.
_RULES = {
    # -- numbers
    "digit": "kore | tahi | rua | toru | whā | rima | ono | whitu | waru | iwa",
    "one_to_nine": "tahi | rua | toru | whā | rima | ono | whitu | waru | iwa",
    "two_to_nine": "rua | toru | whā | rima | ono | whitu | waru | iwa",
    "number": "{one_to_nine} | tekau | tekau mā {one_to_nine} | {two_to_nine} tekau"
    " | {two_to_nine} tekau mā {one_to_nine} | kotahi rau {two_to_nine} tekau mā {one_to_nine}",
    "count": "e {two_to_nine} | e {two_to_nine} | tekau | tekau mā {one_to_nine} | e {two_to_nine} tekau"
    " | e {two_to_nine} tekau mā {one_to_nine} | kotahi rau | e {two_to_nine} rau",
    "age": "e {two_to_nine} | tekau mā {one_to_nine} | e {two_to_nine} tekau mā {one_to_nine}",
    "year": "kotahi mano iwa rau {two_to_nine} tekau mā {one_to_nine} | rua mano tekau mā {one_to_nine}",
    # -- time
    "hour": "{one_to_nine} | tekau | tekau mā tahi | tekau mā rua",
    "clock": "te {hour} karaka | te {hour} karaka | te hāwhe pāhi i te {hour} | te koata pāhi i te {hour}"
    " | te koata ki te {hour} | te tekau meneti pāhi i te {hour} | te rima meneti ki te {hour}",
    "day": "Rāhina | Rātū | Rāapa | Rāpare | Rāmere | Rāhoroi | Rātapu",
    "day_of_month": "{one_to_nine} | tekau | tekau mā {one_to_nine} | rua tekau | rua tekau mā {one_to_nine}"
    " | toru tekau | toru tekau mā tahi",
    "month": "Hānuere | Pēpuere | Māehe | Āperira | Mei | Hune | Hūrae | Ākuhata | Hepetema | Oketopa | Noema"
    " | Tīhema",
    "date": "{day_of_month} o {month}",
    "past": "inanahi | inapō | i te {day} | i tērā wiki",
    "future": "āpōpō | ā te {day} | ā tērā wiki",
    "event": "hui | kura | kēmu | karakia | kanikani",
    # -- people
    "girl": "Mere | Hana | Aroha | Moana | Kiri | Ani",
    "boy": "Hēmi | Pita | Rāwiri | Hōne | Wiremu | Tama",
    "name": "{girl} | {boy}",
    "hearer": "e Mere | e Hana | e Pita | e Tama | Aroha | Moana | Rāwiri | Wiremu | e hoa | e kui | e koro",
    "person": "kaiako | kuia | koroua | tamaiti | wahine | tangata | tākuta | manuhiri",
    "people": "tamariki | wāhine | tāngata | kaiako | ākonga | manuhiri",
    "worker": "kaiako | ākonga | tākuta | nēhi | kaimahi | pirihimana",
    "he": "ahau | ia | a {name} | tōku hoa",
    "who": "ahau | ia | māua | mātou | rāua | rātou | a {name} | a {name} | te {person} | ngā {people}"
    " | tōku whaea | tōku matua | tōku hoa",
    "you": "koe | kōrua | koutou",
    "to_whom": "au | koe | ia | {name} | rātou | mātou",
    "state": "pai | ngenge | hiakai | hiainu | hari | pōuri | māuiui | makariri | riri | koa | mataku",
    # -- places
    "place": "kura | toa | marae | tāone | moana | ngahere | awa | pāmu | hōhipera | whare karakia | whare pukapuka",
    "town": "Rotorua | Tauranga | Ōtautahi | Ahuriri | Kirikiriroa | Whakatāne | Ōtepoti | Tāmaki",
    "to": "te {place} | te {place} | {town}",
    "thing_place": "runga {the_thing} i te {top} | raro {the_thing} i te {top} | roto {the_thing} i te {inside}",
    "top": "tēpu | moenga | tūru",
    "inside": "pēke | kāpata | pouaka | motokā",
    # -- things
    "animal": "kurī | ngeru | hōiho | manu | kau | hipi | poaka",
    "thing": "pukapuka | pene | pōtae | koti | pēke | kapu | naihi | reta | āporo",
    "the_thing": "te {thing} | ngā {thing}",
    "object": "{thing} | whare | waka | tēpu | tūru",
    "noun": "{object} | {animal}",
    "quality": "nui | iti | pai | ātaahua",
    "colour": "whero | kākāriki | kōwhai | pango | kikorangi",
    "this": "tēnei | tēnā | tērā",
    "a_owned": "{a_owner} {a_noun}",
    "a_owner": "tāku | tāu | tāna | tā {name}",
    "a_noun": "pukapuka | pene | kurī | ngeru",
    "o_owned": "{o_owner} {o_noun}",
    "o_owner": "tōku | tōu | tōna | tō {name}",
    "o_noun": "whare | waka | motokā | pōtae | koti | tūru | moenga | hoa",
    "owned": "{a_owned} | {o_owned}",
    "food": "āporo | parāoa | ika | kūmara | hēki | panana",
    "drink": "wai | tī | kawhe | miraka",
    "now": "kei te | i | kua",
    "errand": "haere ki {to} | hoki ki te kāinga | inu {drink} | kai {food} | pānui pukapuka"
    " | ako i te reo Māori | kaukau i te moana | tākaro i waho | waiata | moe",
    # -- sentences
    "sentence": "{counting} | {telling} | {dating} | {dating} | {going} | {going} | {going} | {feeling}"
    " | {finding} | {naming} | {owning} | {doing} | {doing} | {doing} | {wanting} | {weather} | {asking}"
    " | {greeting}",
    "counting": "{number}, {number}, {number}."
    " | ko {digit}, {digit}, {digit}, {digit}, {digit} taku nama waea. | {count} ngā {noun}."
    " | e hia ngā {noun}? | kotahi te {noun}. | {count} āku {a_noun}."
    " | {count} ngā {thing} kei runga i te {top}. | toko{two_to_nine} ngā {people}."
    " | toko{two_to_nine} āku tamariki. | {count} tāra te utu o te {noun}. | e hia te utu o te {noun}?"
    " | {age} ōku tau. | {age} ngā tau o {name}. | pānuitia te whārangi {number}."
    " | kei te rūma {number} te hui.",
    "telling": "kua {hour} karaka ināianei. | ka tīmata te {event} i {clock}. | ka mutu te {event} i {clock}."
    " | ka oho {who} i {clock} i te ata. | ka moe {who} i {clock} i te pō. | i tae mai {who} i {clock}."
    " | ka hoki {who} ki te kāinga i {clock}. | he aha te wā?",
    "dating": "ko te {day} tēnei rā. | ko te {day} āpōpō. | ko te {date} tēnei rā."
    " | i whānau {he} i te {date}. | i whānau {he} i te tau {year}. | ka tīmata te {event} ā te {date}."
    " | ka haere {who} ki {to} ā te {date}. | i hoki mai {who} i {town} i te {date}.",
    "going": "kei te haere {who} ki {to}. | i haere {who} ki {to} {past}. | ka haere {who} ki {to} {future}."
    " | kua haere {who} ki {to}. | kāore {who} i te haere ki {to}. | kāore {who} i haere ki {to} {past}."
    " | kei te haere {you} ki {to}? | me haere tātou ki {to} {future}. | ka hoki mai {who} i {town} {future}."
    " | kei te noho {who} ki {town}. | nō {town} {he}.",
    "feeling": "kei te {state} {who}. | kei te {state} {you}? | kei te tino {state} {who}."
    " | kāore {who} i te {state}. | i {state} {who} {past}. | kei te pēhea {you}? | kei te pēhea te {person}?",
    "finding": "kei hea {the_thing}? | kei hea {owned}? | kei hea a {name}? | kei {thing_place}."
    " | kei {thing_place}. | kei te {place} {who}. | i te {place} {who} {past}.",
    "naming": "he {noun} {this}. | he {noun} {quality} {this}. | he {quality} te {noun}."
    " | he {object} {colour} {this}. | he {colour} te {object}. | he {worker} {he}. | ko {name} tōku ingoa."
    " | ko {name} te ingoa o te {person}. | ko {girl} te whaea o {boy}. | ko {boy} te matua o {girl}."
    " | he aha {this}? | ko wai tō ingoa?",
    "owning": "ko {owned} {this}. | he {quality} {owned}. | kei a {name} te {thing}.",
    "doing": "{now} kai {who} i te {food}. | {now} inu {who} i te {drink}. | {now} pānui {who} i te pukapuka."
    " | {now} tunu {who} i te {food}. | {now} tuhi {who} i te reta. | {now} horoi {who} i ngā rīhi."
    " | i kite {who} i te {animal} {past}. | i kite {who} i a {name} {past}."
    " | kei te titiro {who} ki te {animal}. | kei te whakarongo {who} ki te waiata."
    " | i hoko {who} i te {food} i te toa {past}. | e mahi ana {who} i te {place}."
    " | e kaukau ana {who} i te awa. | e tākaro ana {who} i waho. | e waiata ana {who}."
    " | kei te ako {who} i te reo Māori.",
    "wanting": "kei te hiahia {who} ki te {errand}. | kei te pīrangi {who} ki te {errand}."
    " | kei te hiahia {you} ki te {errand}? | he pai ki a {to_whom} te {food}."
    " | he pai ki a {to_whom} te {drink}.",
    "weather": "kei te ua i {town}. | i ua i {town} {past}. | ka ua i {town} {future}."
    " | kei te whiti te rā i {town}. | kei te pupuhi te hau i {town}. | he rā makariri tēnei."
    " | he rā mahana tēnei.",
    "asking": "homai te {thing}. | homai koa te {thing}, {hearer}. | tīkina te {thing}, {hearer}."
    " | katia te kūaha, {hearer}. | huakina te matapihi, {hearer}. | kainga te {food}! | inumia te {drink}!"
    " | haere mai ki te {place}, {hearer}! | e noho, {hearer}. | whakarongo mai, {hearer}!",
    "greeting": "kia ora, {hearer}. | tēnā koe, {hearer}. | mōrena, {hearer}! | haere rā, {hearer}."
    " | pō mārie, {hearer}. | ka kite anō, {hearer}. | ka kite anō au i a koe {future}."
    " | nau mai, haere mai, {hearer}!",
}
GRAMMAR = {symbol: [text.strip() for text in rule.split("|")] for symbol, rule in _RULES.items()}


def draw_sentence(rng: random.Random, symbol: str = "sentence") -> str:
    """Return one drawing of `symbol`; a whole sentence begins with a capital letter and ends with its stop."""
    text = re.sub(r"\{(\w+)\}", lambda slot: draw_sentence(rng, slot[1]), rng.choice(GRAMMAR[symbol]))
    return text[0].upper() + text[1:] if symbol == "sentence" else text


def draw_sentences(count: int, rng: random.Random) -> list[str]:
    """Return `count` sentences that differ from one another in more than case and punctuation."""
    sentences: dict[str, str] = {}
    while len(sentences) < count:
        sentence = draw_sentence(rng)
        sentences.setdefault(words_only(sentence), sentence)
    return list(sentences.values())


def words_only(sentence: str) -> str:
    """Return the words in lower case without punctuation: two sentences are the same where this is."""
    return " ".join(re.findall(r"\w+", sentence.lower()))
