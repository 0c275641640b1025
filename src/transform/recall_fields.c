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

static bool append_elements(StringInfo str, const RcJsonMember *raw,
							char separator, bool is_list);

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
 * Find the fields of RcRecallField among the children of the tree, which have
 * the same order as members.
 *
 * The last of several with one name counts, as for jsonb.  Records have their
 * fields in nearly the order of RcRecallField, so each search starts behind
 * the field found last.
 */
void
rc_recall_collect(RcRecall *recall, const cJSON *tree,
				  const RcJsonMembers *members)
{
	const cJSON *item = tree->child;
	int			next = 0;

	for (int i = 0; i < members->n && item != NULL; i++, item = item->next)
	{
		for (int k = 0; k < RC_RECALL_NFIELDS; k++)
		{
			int			field = (next + k) % RC_RECALL_NFIELDS;
			const char *name = fields[field].name[recall->shape];

			if (name == NULL || strcmp(name, item->string) != 0)
				continue;
			recall->item[field] = item;
			recall->raw[field] = &members->member[i];
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
	const cJSON *item = recall->item[RC_F_IDENTIFICATION];
	StringInfo	str = &recall->identification;
	bool		fits = true;

	if (cJSON_IsArray(item))
		fits = append_elements(str, recall->raw[RC_F_IDENTIFICATION], ' ',
							   false);
	else
	{
		const char *value = rc_recall_field_text(recall, RC_F_IDENTIFICATION,
												 &fits);

		if (value != NULL)
			rc_recall_lines(str, value, false);
	}
	recall->has_identification = fits;
	if (recall->shape == RC_RECALL_V2 || cJSON_IsArray(item))
		rc_recall_identification(str);
}

/*
 * Append the elements of an array, with line breaks as LF, and the separator
 * between them.  Null and empty ones are skipped.  Returns false if one is
 * not a text.
 */
static bool
append_elements(StringInfo str, const RcJsonMember *raw, char separator,
				bool is_list)
{
	RcJsonMembers elements;
	int			start = str->len;

	(void) rc_json_scan(raw->value, raw->value_len, &elements);
	for (int i = 0; i < elements.n; i++)
	{
		const RcJsonMember *element = &elements.member[i];
		char	   *value = rc_json_scalar(element->value, element->value_len);

		if (value == NULL)
		{
			if (element->value[0] != 'n')
				return false;
			continue;
		}
		if (value[0] != '\0')
		{
			if (str->len > start)
				appendStringInfoChar(str, separator);
			rc_recall_lines(str, value, is_list);
		}
		pfree(value);
	}
	pfree(elements.member);
	return true;
}

/*
 * Append the text of a field, with line breaks as LF; nothing if it is
 * absent, null or empty.
 *
 * A field that is a list is one text with "|" between the items.  The
 * identification has been changed to an array at the API one day, and any
 * other field might be, too: the elements of an array are appended one per
 * line, as the items of a list.  Returns false if the field is an object, or
 * an array that contains anything but texts.
 */
bool
rc_recall_append_text(const RcRecall *recall, RcRecallField field,
					  StringInfo str)
{
	bool		is_list = fields[field].is_list;
	bool		fits;
	const char *text;

	if (cJSON_IsArray(recall->item[field]))
		return append_elements(str, recall->raw[field], '\n', is_list);
	text = rc_recall_field_text(recall, field, &fits);
	if (text != NULL)
		rc_recall_lines(str, text, is_list);
	return fits;
}

/*
 * The text of a field; NULL if it is absent, null or empty, or an object or
 * array, for which *fits is set to false.
 *
 * The text belongs to the tree, or is palloc'd.
 */
const char *
rc_recall_field_text(const RcRecall *recall, RcRecallField field, bool *fits)
{
	const cJSON *item = recall->item[field];
	const char *str;

	*fits = true;
	if (item == NULL || cJSON_IsNull(item))
		return NULL;
	if (cJSON_IsString(item))
		str = item->valuestring;
	else
	{
		*fits = !cJSON_IsObject(item) && !cJSON_IsArray(item);
		str = rc_json_scalar(recall->raw[field]->value,
							 recall->raw[field]->value_len);
	}
	return str != NULL && str[0] != '\0' ? str : NULL;
}
