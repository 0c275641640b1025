#!/usr/bin/env python3
# make_sample.py
#     Makes the sample recalls of the demo and the tests: recalls.jsonl in the
#     shape of the V2 dataset, recalls_v1.jsonl in that of the older V1.
#
# It must not copy a real record: brands, products, shops, numbers and texts are
# invented, GTINs begin with 2 (kept by GS1 for shops' own use) and links lead
# to example.org.  What is real are the shapes, and the traps in the values that
# the two datasets are known for.
#
# usage: make_sample.py          writes both files beside itself, always the same

import datetime
import json
import os
import random

V2_RECALLS = 300
V1_RECALLS = 60                 # the first fiches of V2 in their older shape
RAPEX_EVERY = 9
LINK = "https://example.org/rappel/"
NBSP, NARROW = "\u00a0", "\u202f"

JOURS = ("lundi mardi mercredi jeudi vendredi samedi dimanche").split()
MOIS = ("janvier février mars avril mai juin juillet août septembre octobre"
        " novembre décembre").split()

# category, sub-category, products, packaging, kind of risk
RAYONS = (
    ("Alimentation", "Lait et produits laitiers",
     ("Tomme de brebis au lait cru", "Crème brûlée à la vanille",
      "Fromage frais ail & fines herbes", "Yaourt à l’ancienne aux cerises"),
     ("Pièce de 250 g", "Lot de 4 pots", "Barquette sous film"), "listeria"),
    ("Alimentation", "Viandes",
     ("Bœuf haché pur bœuf 15 % MG", "Rillettes d'oie", "Jambon sec tranché",
      "Cœurs de canard persillés"),
     ("Barquette de 350 g", "Sous vide", "À la coupe"), "salmonelle"),
    ("Alimentation", "Céréales et produits de boulangerie",
     ("Pain d’épices au miel", "Biscuits fourrés figue – abricot",
      "Muesli croustillant noisettes", "Crêpes dentelle"),
     ("Sachet de 500 g", "Étui carton", "Boîte métal 200 g"), "corps"),
    ("Alimentation", "Fruits et légumes",
     ("Épinards en branches surgelés", "Pousses de soja", "Purée de châtaigne",
      "Abricots secs dénoyautés"),
     ("Sachet 1 kg", "Conserve 400 g", "Vrac"), "pesticide"),
    ("Alimentation", "Produits de la pêche et d'aquaculture",
     ("Truite fumée tranchée main", "Rillettes de maquereau",
      "Moules de bouchot cuites"),
     ("Plaque de 4 tranches", "Verrine 90 g", "Barquette 700 g"), "listeria"),
    ("Bébés-Enfants (hors alimentaire)", "Jouets",
     ("Ourson à bascule « Câlinou »", "Hochet grelot en bois",
      "Pâte à modeler parfumée", "Toupie lumineuse"),
     ("Boîte carton", "Blister", None), "jouet"),
    ("Hygiène-Beauté", "Cosmétiques",
     ("Crème de nuit à l'eau de bleuet", "Savon au lait d’ânesse",
      "Huile de massage relaxante"),
     ("Tube 50 ml", "Flacon pompe 200 ml", None), "chimique"),
    ("Maison-Habitat", "Appareils électriques, Outils",
     ("Bouilloire inox 1,7 L", "Guirlande solaire 10 m",
      "Perceuse sans fil 18 V", "Multiprise 5 prises"),
     ("Boîte carton", None, "Vendu à l'unité"), "electrique"),
    ("Vêtements, Mode, EPI", "Bijouterie",
     ("Bracelet « Étoile du Nord »", "Boucles d'oreilles émaillées"),
     (None, "Pochette tissu"), "nickel"),
    ("Sports-loisirs", "Matériel de camping",
     ("Réchaud à gaz pliant", "Tente 3 places Ventoux",
      "Lampe frontale 300 lm"),
     ("Housse", "Boîte carton", None), "electrique"),
)

RISQUES = {
    "listeria": (
        "Présence de Listeria monocytogenes",
        ("Listeria monocytogenes (agent responsable de la listériose)",),
        "En cas de fièvre ou de maux de tête après avoir mangé l’un de ces"
        " « produits », il est conseillé d'appeler un médecin et de lui"
        " montrer cette fiche. Nourrissons, femmes enceintes et personnes"
        " âgées – plus fragiles – feront preuve d'une attention accrue : les"
        " premiers signes viennent parfois au bout de huit semaines."),
    "salmonelle": (
        "Suspicion de présence de salmonelles (analyse n° 3 sur 5 positive)",
        ("Salmonella spp (agent responsable de la salmonellose)",
         "Autres micro-organismes"),
        "En cas de troubles digestifs dans les 6 à 72 h, consulter un médecin"
        " en signalant cette consommation."),
    "corps": (
        "Présence possible de fragments de verre ≥ 2 mm",
        ("Inertes (verre, métal, plastique, papier, textile…)",), None),
    "pesticide": (
        "Teneur en oxyde d’éthylène > 0,1 mg/kg",
        ("Dépassement des limites autorisées de pesticides",
         "Autres contaminants chimiques"), None),
    "jouet": (
        "Petites pièces détachables : l’œil de l'ourson cède sous 50 N",
        ("Asphyxie/Étouffement", "Blessures"), None),
    "chimique": (
        "Conservateur interdit (méthylisothiazolinone) non déclaré",
        ("Risque allergique", "Irritation cutanée"), None),
    "electrique": (
        "Défaut d'isolation : échauffement jusqu'à 140 °C",
        ("Choc électrique", "Incendie", "Brûlures"), None),
    "nickel": (
        "Relargage de nickel supérieur au seuil (0,5 µg/cm²/semaine)",
        ("Risque allergique",), None),
}

MARQUES = ("Ferme des Trois Alouettes", "MAISON VERDELINE", "Brindille & Cie",
           "L'Atelier de Jeannette", "Kéravel", "Cap Ondine", "Bio d’Aubrelle",
           "Tradi-Nord", "ÉPI DORÉ", "Lutin Malin", "Voltéo", "Cœur de Garrigue",
           "Sans marque", "Pré-Vallon", "GRAND'MÈRE ODILE", "Œuvre d'Ouest")
MAGASINS = ("Supermarchés Oriane", "Halles du Pays Bleu", "Au Bon Panier",
            "MARCHÉ VERT", "Brico-Loire", "Grands Magasins Lemercœur",
            "Coop’Alpes", "vente en ligne sur example.org")
CONDUITES = ("Ne plus consommer", "Ne plus utiliser le produit",
             "Rapporter le produit au point de vente", "Détruire le produit",
             "Contacter le service consommateur",
             "Prendre contact avec le distributeur")
ZONES = (("France entière",), ("Régions: Bretagne", "Pays de la Loire"),
         ("Départements: REUNION (974)",), ("Régions: Auvergne-Rhône-Alpes",),
         ("Départements: FINISTERE (29)", "MORBIHAN (56)",
          "COTES-D'ARMOR (22)"), ("Autre territoire", "Corse"))
MODALITES = (("Remboursement",), ("Remboursement", "Echange"), ("Echange",),
             ("Autre (voir informations complémentaires)",), ())
CONSERVATION = ("Produit à conserver au réfrigérateur",
                "Produit à conserver à température ambiante",
                "Produit à conserver au congélateur")
DLC = ("Date limite de consommation", "Date de durabilité minimale")

LONG = ("Les clients qui détiennent encore ce produit peuvent se présenter à"
        " l’accueil du magasin, munis ou non du ticket de caisse. Le montant"
        " de 12,90 € leur sera remboursé dans un délai de 15 jours ; aucune"
        " autre indemnité n'est prévue. ")

# What texts have been seen to hold, beside plain French.
ODDITIES = (
    "Prix : 4,50" + NBSP + "€ l’unité",
    "Service ouvert de 9" + NARROW + "h à 18" + NARROW + "h (appel non surtaxé)",
    "Réf. « A\\B\"C » / modèle n° 7",
    "e\u0301tiquette bleue",                    # an accent of its own
    "sans\u200bespace, cou\u00adpure",          # of no width; a soft hyphen
    "tabulation\tici",
    "⚠ danger 🔥 – à lire",
    "ﬁltre ½ litre, m², 20 µg, ≤ 5 %",
    "naïve Ÿ Ǆ ß Łódź Ελλάδα",
    "lot | sous-lot",                           # a bar that separates nothing
    "  des espaces   autour  ",
    "#N/A",
)


class Chance:
    """Choices that are the same on every run and version of Python."""

    def __init__(self, seed):
        self.random = random.Random(seed).random

    def below(self, n):
        return int(self.random() * n)

    def of(self, items):
        return items[self.below(len(items))]

    def some(self, items, most):
        count = 1 + self.below(most)
        start = self.below(len(items))
        return tuple(items[(start + i) % len(items)] for i in range(count))

    def one_in(self, n):
        return self.below(n) == 0

    def hexa(self, n):
        return "".join("0123456789abcdef"[self.below(16)] for _ in range(n))


def gtin(chance, length, valid=True):
    """A number of that many digits with the right GS1 check digit, or not."""
    body = "2" + "".join(str(chance.below(10)) for _ in range(length - 2))
    weighted = sum(int(digit) * (3 if at % 2 == 0 else 1)
                   for at, digit in enumerate(reversed(body)))
    check = -weighted % 10
    return body + str(check if valid else (check + 1 + chance.below(9)) % 10)


def guid(chance):
    return "-".join(chance.hexa(n) for n in (8, 4, 4, 4, 12))


def publication(number):
    """When the fiche of that number was published; every fifth one with the
    four before it, in one second."""
    group = number - number % 5 if number % 25 < 5 else number
    start = datetime.datetime(2024, 1, 2, 8, 2, 0)
    return start + datetime.timedelta(minutes=4391 * group,
                                      seconds=group * 37 % 60)


def identification(chance, day):
    """What identifies a product: groups of GTIN, lot, kind, from, to."""
    if chance.one_in(8):
        return None
    return products(chance, day, 1 + chance.below(3))


def products(chance, day, count):
    groups = []
    for _ in range(count):
        length = chance.of((13, 13, 13, 13, 8, 12, 14))
        number = gtin(chance, length, not chance.one_in(6))
        if chance.one_in(5):
            number = ""
        lot = chance.of(("", f"L{chance.below(90000) + 10000}",
                         f"26LF{chance.below(100):02}Z09",
                         f"{chance.below(10 ** 6):06}", "tous les lots"))
        end = (day + datetime.timedelta(days=20 + chance.below(300))).date()
        dates = chance.of((("", "", ""), (chance.of(DLC), str(end), ""),
                           (chance.of(DLC), str(day.date()), str(end))))
        if number + lot + dates[0]:
            groups.append((number, lot, *dates))
    return groups or None


def fiche(chance, number, day):
    """A recall, before it takes the shape of a dataset."""
    category, sub, names, packs, risk = chance.of(RAYONS)
    motif, risks, advice = RISQUES[risk]
    product = chance.of(names)
    food = category == "Alimentation"
    begin = (day - datetime.timedelta(days=10 + chance.below(400))).date()
    end = (day - datetime.timedelta(days=chance.below(9))).date()
    if number == 23:
        end = end.replace(year=2323)            # a slip of the pen, kept
    extra = None
    if chance.one_in(3):
        extra = chance.of(ODDITIES)
    if number % 67 == 13:
        extra = "\n".join([LONG * 9, "Bien à vous,", LONG * 9])    # about 6 kB
    known = 1000 + number * 7 + chance.below(5)
    return {
        "number": number, "day": day, "id": known,
        "reference": f"{day:%Y-%m}-{number + 1:04}",
        "version": chance.of((1,) * 12 + (2, 2, 3, 4)),
        "nature": chance.of(("Volontaire (sans arrêté préfectoral)",) * 4
                            + ("Imposé par arrêté préfectoral",)),
        "category": category, "sub": sub, "brand": chance.of(MARQUES),
        "model": product + chance.of(("", "", f" réf. {known}", "\nTous formats")),
        "identification": identification(chance, day),
        "pack": chance.of(packs),
        "begin": begin if not chance.one_in(7) else None,
        "end": end if not chance.one_in(9) else None,
        "storage": chance.of(CONSERVATION) if food else None,
        "mark": f"FR {chance.below(95):02}.{chance.below(900) + 100}.001 CE"
                if food and chance.one_in(2) else None,
        "info": extra,
        "zone": chance.of(ZONES),
        "shops": chance.of((", ", "\n", " | ")).join(chance.some(MAGASINS, 3)),
        "motif": motif, "risks": risks[:1 + chance.below(len(risks))],
        "advice": advice,
        "detail": chance.of((None, None, "Ne concerne pas les autres lots",
                             "Seuil dépassé de 3 à 5 fois\nAnalyse du fabricant")),
        "conduct": chance.some(CONDUITES, 4),
        "phone": chance.of(("0800 000 000", "08" + NBSP + "00 00 00 00", None,
                            "0123456789 (prix d’un appel local)")),
        "terms": chance.of(MODALITES),
        "closing": (day + datetime.timedelta(days=60 + chance.below(90))).date()
                   if not chance.one_in(4) else None,
        "public": chance.of((None, None, chance.of(ODDITIES), "")),
        "images": tuple(f"{LINK}image/{chance.hexa(12)}.jpg"
                        for _ in range(chance.below(4))),
        "products": f"{LINK}document/{known}/ListeDesProduits"
                    if chance.one_in(3) else None,
        "sellers": f"{LINK}document/{known}/ListeDesDistributeurs"
                   if chance.one_in(5) else None,
        "poster": f"{LINK}affichettePDF/{known}/Interne",
        "page": f"{LINK}fiche/{known}/Interne",
        "guid": guid(chance),
        "title": product if not chance.one_in(20) else None,
    }


def rapex(chance, number, day):
    """A recall that came from the European system: mostly nulls, entered
    later than the day that it bears."""
    base = fiche(chance, number, day)
    day = base["day"] - datetime.timedelta(days=3 + chance.below(25))
    day = day.replace(hour=0, minute=0, second=0)
    kind = chance.of(("SR", "A12", "A11", "INFO"))
    for name in ("nature", "pack", "begin", "end", "storage", "mark", "shops",
                 "advice", "detail", "phone", "closing", "public", "products",
                 "sellers"):
        base[name] = None
    for name in ("zone", "conduct", "terms"):
        base[name] = ()
    base.update(
        day=day, version=0, reference=f"{kind}/{number:05}/{day:%y}",
        identification=chance.of((None, [("", "Tous les exemplaires vendus",
                                          "", "", "")], base["identification"])),
        info="e99*2099/12*0001*01, e99*2099/12*0001*03",
        images=base["images"][:1], guid=chance.hexa(40),
        poster=f"{LINK}affichettePDF/{base['id']}/Rapex",
        page=f"{LINK}fiche/{base['id']}/Rapex")
    return base


def make(chance, number, day):
    maker = rapex if number % RAPEX_EVERY == 4 else fiche
    return maker(chance, number, day)


# ---- the shape of V2 ----

def lower(text):
    """V2 is lower case, a line break is the sign of a currency."""
    return None if text is None else text.lower().replace("\n", "¤")


def bars(items):
    return "|".join(item.lower() for item in items) or None


def v2_identification(groups, number):
    """One string, or that string cut at its dollars, the empty parts lost."""
    if groups is None:
        return None
    text = "|".join("$".join(group) for group in groups).lower()
    if number % 5 == 2:
        return text
    return [part for part in text.split("$") if part]


def v2(base):
    stamp = base["day"].isoformat() + "+00:00"
    return {
        "date_publication": stamp,
        "numero_fiche": lower(base["reference"]),
        "numero_version": base["version"],
        "nature_juridique_rappel": lower(base["nature"]),
        "categorie_produit": lower(base["category"]),
        "sous_categorie_produit": lower(base["sub"]),
        "marque_produit": lower(base["brand"]),
        "modeles_ou_references": lower(base["model"]),
        "identification_produits": v2_identification(base["identification"],
                                                     base["number"]),
        "conditionnements": lower(base["pack"]),
        "date_debut_commercialisation": base["begin"] and str(base["begin"]),
        "date_date_fin_commercialisation": base["end"] and str(base["end"]),
        "temperature_conservation": lower(base["storage"]),
        "marque_salubrite": lower(base["mark"]),
        "informations_complementaires": lower(base["info"]),
        "zone_geographique_de_vente": bars(base["zone"]),
        "distributeurs": lower(base["shops"]),
        "motif_rappel": lower(base["motif"]),
        "risques_encourus": bars(base["risks"]),
        "preconisations_sanitaires": lower(base["advice"]),
        "description_complementaire_risque": lower(base["detail"]),
        "conduites_a_tenir_par_le_consommateur": bars(base["conduct"]),
        "numero_contact": lower(base["phone"]),
        "modalites_de_compensation": bars(base["terms"]),
        "date_de_fin_de_la_procedure_de_rappel":
            base["closing"] and str(base["closing"]),
        "informations_complementaires_publiques": lower(base["public"]),
        "liens_vers_les_images": bars(base["images"]),
        "lien_vers_la_liste_des_produits": lower(base["products"]),
        "lien_vers_la_liste_des_distributeurs": lower(base["sellers"]),
        "lien_vers_affichette_pdf": lower(base["poster"]),
        "lien_vers_la_fiche_rappel": lower(base["page"]),
        "rappel_guid": base["guid"],
        "libelle": lower(base["title"]),
        "id": base["id"],
    }


# ---- the shape of V1 ----

def french(day):
    return None if day is None else (
        f"{JOURS[day.weekday()]} {day.day} {MOIS[day.month - 1]} {day.year}")


def period(begin, end):
    if begin and end:
        return f"Du {begin:%d/%m/%Y} au {end:%d/%m/%Y}"
    if begin:
        return f"Depuis le {begin:%d/%m/%Y}"
    return f"Jusqu'au {end:%d/%m/%Y}" if end else None


def spaced(items):
    return " ".join(items) or None


def v1_text(text, number):
    """Line breaks of V1: CRLF, at times a CR alone."""
    if text is None:
        return None
    return text.replace("\n", "\r" if number % 7 == 3 else "\r\n")


def v1_identification(groups):
    if groups is None:
        return None
    return " ".join(part for group in groups for part in group if part)


def v1(base):
    number = base["number"]
    day = base["day"]
    stamp = str(day.date())
    if number % 3 == 1:
        stamp += "T00:00:00+00:00"
    elif number % 3 == 2:
        stamp = day.isoformat() + "+00:00"
    record = {
        "reference_fiche": base["reference"],
        "ndeg_de_version": base["version"],
        "nature_juridique_du_rappel": base["nature"],
        "categorie_de_produit": base["category"],
        "sous_categorie_de_produit": base["sub"],
        "nom_de_la_marque_du_produit": base["brand"].upper(),
        "noms_des_modeles_ou_references": v1_text(base["model"], number),
        "identification_des_produits":
            v1_identification(base["identification"]),
        "conditionnements": base["pack"],
        "date_debut_fin_de_commercialisation":
            period(base["begin"], base["end"]),
        "temperature_de_conservation": base["storage"],
        "marque_de_salubrite": base["mark"],
        "informations_complementaires": v1_text(base["info"], number),
        "zone_geographique_de_vente": spaced(base["zone"]),
        "distributeurs": v1_text(base["shops"], number),
        "motif_du_rappel": base["motif"],
        "risques_encourus_par_le_consommateur": spaced(base["risks"]),
        "preconisations_sanitaires": base["advice"],
        "description_complementaire_du_risque":
            v1_text(base["detail"], number),
        "conduites_a_tenir_par_le_consommateur": spaced(base["conduct"]),
        "numero_de_contact": base["phone"],
        "modalites_de_compensation": spaced(base["terms"]),
        "date_de_fin_de_la_procedure_de_rappel": french(base["closing"]),
        "informations_complementaires_publiques": base["public"],
        "liens_vers_les_images": spaced(base["images"]),
        "lien_vers_la_liste_des_produits": base["products"],
        "lien_vers_la_liste_des_distributeurs": base["sellers"],
        "lien_vers_affichette_pdf": base["poster"],
        "lien_vers_la_fiche_rappel": base["page"],
        "rappelguid": base["guid"] if base["version"] == 0
                      else base["guid"].upper(),
        "date_de_publication": stamp,
    }
    if number >= V1_RECALLS - 20:               # two columns came late
        record["libelle"] = base["title"]
        record["id"] = base["id"]
    return record


def write(name, records):
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def main():
    chance = Chance(20240102)
    fiches = [make(chance, number, publication(number))
              for number in range(V2_RECALLS)]
    write("recalls.jsonl", [v2(base) for base in fiches])
    # V1 held a few RAPEX fiches twice: same day and version, another guid.
    older = [v1(base) for base in fiches[:V1_RECALLS]]
    twice = [base for base in fiches[:V1_RECALLS] if base["version"] == 0][:2]
    for base in twice:
        older.append(v1({**base, "guid": chance.hexa(40),
                         "motif": base["motif"] + " (2e notification)"}))
    write("recalls_v1.jsonl", older)


if __name__ == "__main__":
    main()
