/*-------------------------------------------------------------------------
 *
 * recall_fields.c
 *	  The fields of a recall: their names in V1 and V2, and finding and
 *	  reading them in a record.
 *
 * The names were taken from real records of the datasets "rappelconso0" (V1)
 * and "rappelconso-v2-gtin-espaces" (V2).  A value must not be interpreted
 * here, except whether it is a text.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "transform/recall_fields.h"

/* The name of each field in V1 and V2; NULL if there is no such field. */
static const struct
{
	const char *name[2];
	bool		is_list;		/* "|" separates items */
}	fields[RC_RECALL_NFIELDS] = {
	[RC_F_PUBLICATION] = {{"date_de_publication", "date_publication"}},
	[RC_F_REFERENCE] = {{"reference_fiche", "numero_fiche"}},
	[RC_F_NUMERO_VERSION] = {{"ndeg_de_version", "numero_version"}},
	[RC_F_NATURE] = {{"nature_juridique_du_rappel",
	"nature_juridique_rappel"}},
	[RC_F_CATEGORIE] = {{"categorie_de_produit", "categorie_produit"}},
	[RC_F_SOUS_CATEGORIE] = {{"sous_categorie_de_produit",
	"sous_categorie_produit"}},
	[RC_F_MARQUE] = {{"nom_de_la_marque_du_produit", "marque_produit"}},
	[RC_F_MODELES] = {{"noms_des_modeles_ou_references",
	"modeles_ou_references"}},
	[RC_F_IDENTIFICATION] = {{"identification_des_produits",
	"identification_produits"}},
	[RC_F_CONDITIONNEMENTS] = {{"conditionnements", "conditionnements"}},
	[RC_F_PERIODE] = {{"date_debut_fin_de_commercialisation", NULL}},
	[RC_F_DEBUT] = {{NULL, "date_debut_commercialisation"}},
	[RC_F_FIN] = {{NULL, "date_date_fin_commercialisation"}},
	[RC_F_TEMPERATURE] = {{"temperature_de_conservation",
	"temperature_conservation"}},
	[RC_F_SALUBRITE] = {{"marque_de_salubrite", "marque_salubrite"}},
	[RC_F_INFORMATIONS] = {{"informations_complementaires",
	"informations_complementaires"}},
	[RC_F_ZONE] = {{"zone_geographique_de_vente",
	"zone_geographique_de_vente"}, true},
	[RC_F_DISTRIBUTEURS] = {{"distributeurs", "distributeurs"}},
	[RC_F_MOTIF] = {{"motif_du_rappel", "motif_rappel"}},
	[RC_F_RISQUES] = {{"risques_encourus_par_le_consommateur",
	"risques_encourus"}, true},
	[RC_F_PRECONISATIONS] = {{"preconisations_sanitaires",
	"preconisations_sanitaires"}},
	[RC_F_DESCRIPTION_RISQUE] = {{"description_complementaire_du_risque",
	"description_complementaire_risque"}},
	[RC_F_CONDUITES] = {{"conduites_a_tenir_par_le_consommateur",
	"conduites_a_tenir_par_le_consommateur"}, true},
	[RC_F_CONTACT] = {{"numero_de_contact", "numero_contact"}},
	[RC_F_MODALITES] = {{"modalites_de_compensation",
	"modalites_de_compensation"}, true},
	[RC_F_FIN_PROCEDURE] = {{"date_de_fin_de_la_procedure_de_rappel",
	"date_de_fin_de_la_procedure_de_rappel"}},
	[RC_F_INFORMATIONS_PUBLIQUES] = {{"informations_complementaires_publiques",
	"informations_complementaires_publiques"}},
	[RC_F_IMAGES] = {{"liens_vers_les_images", "liens_vers_les_images"}, true},
	[RC_F_LISTE_PRODUITS] = {{"lien_vers_la_liste_des_produits",
	"lien_vers_la_liste_des_produits"}},
	[RC_F_LISTE_DISTRIBUTEURS] = {{"lien_vers_la_liste_des_distributeurs",
	"lien_vers_la_liste_des_distributeurs"}},
	[RC_F_AFFICHETTE] = {{"lien_vers_affichette_pdf",
	"lien_vers_affichette_pdf"}},
	[RC_F_FICHE] = {{"lien_vers_la_fiche_rappel",
	"lien_vers_la_fiche_rappel"}},
	[RC_F_GUID] = {{"rappelguid", "rappel_guid"}},
	[RC_F_LIBELLE] = {{"libelle", "libelle"}},
	[RC_F_ID] = {{"id", "id"}},
};

static bool append_elements(const RcRecall *recall, RcRecallField field,
							StringInfo str, char separator, bool fold,
							bool *some);

/*
 * Distinguish V1 and V2 by the name of the reference.
 *
 * Sets *error (palloc'd) if the record has neither.
 */
RcRecallShape
rc_recall_shape(const RcJsonMembers *members, const char **error)
{
	const char *v1 = fields[RC_F_REFERENCE].name[RC_RECALL_V1];
	const char *v2 = fields[RC_F_REFERENCE].name[RC_RECALL_V2];

	if (rc_json_member(members, v2) != NULL)
		return RC_RECALL_V2;
	if (rc_json_member(members, v1) == NULL)
		*error = psprintf(gettext_noop("record has neither a field \"%s\" nor a field \"%s\""),
						  v2, v1);
	return RC_RECALL_V1;
}

/*
 * The name of a field in V1 or V2; NULL if there is no such field.
 */
const char *
rc_recall_field_name(RcRecallField field, RcRecallShape shape)
{
	return fields[field].name[shape];
}

/*
 * Find the fields of RcRecallField among the members of the line.
 *
 * The last of several with one name counts, as for jsonb.  Records have their
 * fields in nearly the order of RcRecallField, so each search starts behind
 * the field found last.
 */
void
rc_recall_collect(RcRecall *recall, const RcJsonMembers *members)
{
	int			next = 0;

	for (int i = 0; i < members->n; i++)
	{
		for (int k = 0; k < RC_RECALL_NFIELDS; k++)
		{
			int			field = (next + k) % RC_RECALL_NFIELDS;
			const char *name = fields[field].name[recall->shape];

			if (name == NULL ||
				!rc_json_is_named(&members->member[i], name, strlen(name)))
				continue;
			recall->field[field] = &members->member[i];
			next = field + 1;
			break;
		}
	}
}

/*
 * Convert the identification to text, for its own column and for gtin.  Sets
 * has_identification to false if it is not a text.  A V1 text keeps its
 * marks; the elements of an array are joined by one space.
 */
void
rc_recall_read_identification(RcRecall *recall)
{
	bool		array = rc_recall_begins(recall, RC_F_IDENTIFICATION, '[');
	StringInfo	out = &recall->work->identification;
	const char *str;
	size_t		len;
	bool		some;

	resetStringInfo(out);
	recall->has_identification = true;
	if (array)
		recall->has_identification =
			append_elements(recall, RC_F_IDENTIFICATION, out, ' ', false, &some);
	else
	{
		RcRecallHas has = rc_recall_text(recall, RC_F_IDENTIFICATION, &str, &len);

		if (has == RC_HAS_TEXT)
			rc_recall_lines(out, str, len, false, false);
		recall->has_identification = has != RC_HAS_OTHER;
	}
	if (recall->shape == RC_RECALL_V2 || array)
		rc_recall_identification(out);
}

/*
 * Append the elements of an array, with line breaks as LF, and the separator
 * between them.  Null and empty ones are skipped; *some is set to whether
 * there are others.  Returns false if one is not a text.
 */
static bool
append_elements(const RcRecall *recall, RcRecallField field, StringInfo out,
				char separator, bool fold, bool *some)
{
	RcJsonMembers *elements = &recall->work->elements;
	const RcJsonMember *array = recall->field[field];

	*some = false;
	(void) rc_json_scan(array->value, array->value_len, elements);
	for (int i = 0; i < elements->n; i++)
	{
		const RcJsonMember *element = &elements->member[i];
		const char *str;
		size_t		len;

		if (!rc_json_text(element, &recall->work->plain, &str, &len))
		{
			if (element->value[0] != 'n')
				return false;
			continue;
		}
		if (len == 0)
			continue;
		if (*some)
			appendStringInfoChar(out, separator);
		rc_recall_lines(out, str, len, fields[field].is_list, fold);
		*some = true;
	}
	return true;
}

/*
 * Append the text of a field, with line breaks as LF and, with "fold", in
 * ASCII; nothing if it is absent, null or empty, which *some says.
 *
 * A field that is a list is one text with "|" between the items.  The
 * identification has been changed to an array at the API one day, and any
 * other field might be, too: the elements of an array are appended one per
 * line, as the items of a list.  Returns false if the field is an object, or
 * an array that contains anything but texts.
 */
bool
rc_recall_append_text(const RcRecall *recall, RcRecallField field,
					  StringInfo out, bool fold, bool *some)
{
	const char *str;
	size_t		len;
	RcRecallHas has;

	if (rc_recall_begins(recall, field, '['))
		return append_elements(recall, field, out, '\n', fold, some);
	has = rc_recall_text(recall, field, &str, &len);
	*some = has == RC_HAS_TEXT;
	if (*some)
		rc_recall_lines(out, str, len, fields[field].is_list, fold);
	return has != RC_HAS_OTHER;
}

/*
 * The text of a field, not null-terminated.  It points into the line or into
 * work->plain, which the next call may overwrite.
 */
RcRecallHas
rc_recall_text(const RcRecall *recall, RcRecallField field, const char **str,
			   size_t *len)
{
	const RcJsonMember *member = recall->field[field];

	if (member == NULL || member->value[0] == 'n')
		return RC_HAS_NOTHING;
	if (!rc_json_text(member, &recall->work->plain, str, len))
		return RC_HAS_OTHER;
	return *len > 0 ? RC_HAS_TEXT : RC_HAS_NOTHING;
}
