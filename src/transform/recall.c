/*-------------------------------------------------------------------------
 *
 * recall.c
 *	  Converts a recall of the RappelConso datasets V1 and V2 to the columns
 *	  of rappel_conso_table.
 *
 * Both forms were taken from real records of the datasets "rappelconso0" (V1)
 * and "rappelconso-v2-gtin-espaces" (V2).
 *
 * A value that cannot be converted to its column's type must not become null,
 * reject the record here, or be left to the type's input function, which
 * might accept it by guessing.  It is written so that the stream's statement
 * fails on it and the record becomes a dead letter: unchanged if the type is
 * sure to reject it, else behind a text that every type but text rejects.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "transform/fold.h"
#include "transform/recall_fields.h"

#define NO_DATE		"not a date: "
#define NO_INTEGER	"not an integer: "

typedef struct Column Column;

struct Column
{
	const char *name;
	void		(*write) (RcRecall *recall, const Column *column);
	RcRecallField field;
	bool		fold;			/* subject to accent folding */
	RcRecallField second;		/* appended to the first, or RC_NO_FIELD */
};

static const char *parse_line(const char *line, size_t len, cJSON **tree);
static void write_recall(RcRecall *recall, const cJSON *tree,
						 const RcJsonMembers *members);
static void put(RcRecall *recall, const Column *column, RcFieldKind kind,
				const char *bytes, size_t len);
static void put_null(RcRecall *recall, const Column *column);
static void write_raw(RcRecall *recall, const Column *column,
					  RcRecallField field);
static void write_unread(RcRecall *recall, const Column *column,
						 RcRecallField field, const char *words);
static void write_no_date(RcRecall *recall, const Column *column,
						  RcRecallField field);
static void write_folded(RcRecall *recall, const Column *column,
						 const char *str, size_t len);
static void write_date_of(RcRecall *recall, const Column *column,
						  bool (*read) (const char *, char *));
static void write_reference(RcRecall *recall, const Column *column);
static void write_text(RcRecall *recall, const Column *column);
static void write_identification(RcRecall *recall, const Column *column);
static void write_timestamp(RcRecall *recall, const Column *column);
static void write_date(RcRecall *recall, const Column *column);
static void write_period(RcRecall *recall, const Column *column);
static void write_integer(RcRecall *recall, const Column *column);
static void write_gtin(RcRecall *recall, const Column *column);
static char *version_of(const RcRecall *recall);

/* The columns of rappel_conso_table, in their order. */
static const Column columns[] = {
	{"reference_fiche", write_reference, RC_F_REFERENCE, false},
	{"date_de_publication", write_timestamp, RC_F_PUBLICATION, false},
	{"date_de_fin_de_la_procedure_de_rappel", write_date,
	RC_F_FIN_PROCEDURE, false},
	{"categorie_de_produit", write_text, RC_F_CATEGORIE, true},
	{"sous_categorie_de_produit", write_text, RC_F_SOUS_CATEGORIE, true},
	{"nom_de_la_marque_du_produit", write_text, RC_F_MARQUE, true},
	{"noms_des_modeles_ou_references", write_text, RC_F_MODELES, true},
	{"identification_des_produits", write_identification,
	RC_F_IDENTIFICATION, true},
	{"conditionnements", write_text, RC_F_CONDITIONNEMENTS, true},
	{"temperature_de_conservation", write_text, RC_F_TEMPERATURE, true},
	{"zone_geographique_de_vente", write_text, RC_F_ZONE, true},
	{"distributeurs", write_text, RC_F_DISTRIBUTEURS, true},
	{"motif_du_rappel", write_text, RC_F_MOTIF, true},
	{"numero_de_contact", write_text, RC_F_CONTACT, true},
	{"modalites_de_compensation", write_text, RC_F_MODALITES, true},
	{"risques_pour_le_consommateur", write_text,
	RC_F_RISQUES, true, RC_F_DESCRIPTION_RISQUE},
	{"recommandations_sante", write_text,
	RC_F_PRECONISATIONS, true, RC_F_CONDUITES},
	{"informations_complementaires", write_text,
	RC_F_INFORMATIONS, true, RC_F_INFORMATIONS_PUBLIQUES},
	{"date_debut_commercialisation", write_period, RC_F_DEBUT, false},
	{"date_fin_commercialisation", write_period, RC_F_FIN, false},
	{"liens_vers_les_images", write_text, RC_F_IMAGES, false},
	{"lien_vers_la_liste_des_produits", write_text,
	RC_F_LISTE_PRODUITS, false},
	{"lien_vers_la_liste_des_distributeurs", write_text,
	RC_F_LISTE_DISTRIBUTEURS, false},
	{"lien_vers_affichette_pdf", write_text, RC_F_AFFICHETTE, false},
	{"lien_vers_la_fiche_rappel", write_text, RC_F_FICHE, false},
	{"numero_de_version", write_integer, RC_F_NUMERO_VERSION, false},
	{"nature_juridique_du_rappel", write_text, RC_F_NATURE, false},
	{"marque_de_salubrite", write_text, RC_F_SALUBRITE, false},
	{"libelle", write_text, RC_F_LIBELLE, false},
	{"id", write_integer, RC_F_ID, false},
	{"rappelguid", write_text, RC_F_GUID, false},
	{"gtin", write_gtin, RC_F_IDENTIFICATION, false},
};

/*
 * RcTransform.convert: write the columns of a recall to the sink.
 *
 * It is V2 if the record has a numero_fiche, V1 if it has a reference_fiche;
 * that field, in upper case (ASCII letters), is the key.  All columns are
 * written, in a fixed order.  Times are in UTC.
 *
 * Raises only ERRCODE_OUT_OF_MEMORY; cJSON's tree is freed in that case, too.
 */
const char *
rc_recall_convert(const char *line, size_t len, const RcJsonMembers *members,
				  const RcTransformOptions *options, RcFieldSink *sink,
				  RcTransformed *out)
{
	RcRecall	recall = {0};
	const char *error = NULL;
	cJSON	   *tree;

	recall.sink = sink;
	recall.fold = options->fold_accents;
	recall.shape = rc_recall_shape(members, &error);
	if (error == NULL)
		error = rc_transform_key(members,
								 rc_recall_field_name(RC_F_REFERENCE,
													  recall.shape),
								 &recall.key);
	if (error != NULL)
		return error;
	rc_recall_key(recall.key);

	initStringInfo(&recall.identification);
	initStringInfo(&recall.str);

	error = parse_line(line, len, &tree);
	if (error != NULL)
		return error;
	PG_TRY();
	{
		write_recall(&recall, tree, members);
		out->version = version_of(&recall);
	}
	PG_FINALLY();
	{
		cJSON_Delete(tree);
	}
	PG_END_TRY();

	out->key = recall.key;
	return NULL;
}

/*
 * Convert a reference to the form that it has as a key, in place.
 */
void
rc_recall_key(char *key)
{
	for (char *c = key; *c != '\0'; c++)
		*c = pg_ascii_toupper((unsigned char) *c);
}

/*
 * Parse a line that rc_json_scan() has checked.  cJSON can still fail without
 * memory, and for numbers longer than its buffer.
 */
static const char *
parse_line(const char *line, size_t len, cJSON **tree)
{
	const char *end = NULL;

	*tree = cJSON_ParseWithLengthOpts(line, len, &end, false);
	if (*tree != NULL)
		return NULL;
	if (end > line && end < line + len &&
		strchr("0123456789+-.eE", end[-1]) != NULL &&
		strchr("0123456789+-.eE", end[0]) != NULL)
		return psprintf(gettext_noop("number at byte %d is too long"), (int) (end - line));
	ereport(ERROR,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("out of memory"),
			 errdetail("Failed while reading a record of %zu bytes.", len)));
	return NULL;				/* keep compiler quiet */
}

/* Write all columns of the recall. */
static void
write_recall(RcRecall *recall, const cJSON *tree, const RcJsonMembers *members)
{
	rc_recall_collect(recall, tree, members);
	rc_recall_read_identification(recall);
	for (int i = 0; i < lengthof(columns); i++)
		columns[i].write(recall, &columns[i]);
}

/* Write a column's value to the sink. */
static void
put(RcRecall *recall, const Column *column, RcFieldKind kind,
	const char *bytes, size_t len)
{
	recall->sink->field(recall->sink, column->name, kind, bytes, len);
}

static void
put_null(RcRecall *recall, const Column *column)
{
	put(recall, column, RC_FIELD_MISSING, NULL, 0);
}

/* Write a field unchanged. */
static void
write_raw(RcRecall *recall, const Column *column, RcRecallField field)
{
	put(recall, column, RC_FIELD_JSON, recall->raw[field]->value,
		recall->raw[field]->value_len);
}

/*
 * Write a field that is not of its column's type: its text, or its JSON,
 * behind a text that the type's input function rejects.  Without that the
 * input function would accept "today" or "0x10", depending on settings or
 * version.
 */
static void
write_unread(RcRecall *recall, const Column *column, RcRecallField field,
			 const char *words)
{
	const RcJsonMember *raw = recall->raw[field];
	const cJSON *item = recall->item[field];

	resetStringInfo(&recall->str);
	appendStringInfoString(&recall->str, words);
	if (cJSON_IsString(item))
		appendStringInfoString(&recall->str, item->valuestring);
	else
		appendBinaryStringInfo(&recall->str, raw->value, raw->value_len);
	put(recall, column, RC_FIELD_TEXT, recall->str.data, recall->str.len);
}

/*
 * Write a field that is not a date; one that the server is sure to reject is
 * written unchanged.
 */
static void
write_no_date(RcRecall *recall, const Column *column, RcRecallField field)
{
	const cJSON *item = recall->item[field];

	if (cJSON_IsString(item) && rc_recall_no_date(item->valuestring))
		write_raw(recall, column, field);
	else
		write_unread(recall, column, field, NO_DATE);
}

/* Write a text, folded if its column is; null if it is then empty. */
static void
write_folded(RcRecall *recall, const Column *column, const char *str,
			 size_t len)
{
	char	   *folded = NULL;

	if (column->fold && recall->fold)
		str = folded = rc_fold_utf8(str, len, &len);
	if (len > 0)
		put(recall, column, RC_FIELD_TEXT, str, len);
	else
		put_null(recall, column);
	if (folded != NULL)
		pfree(folded);
}

/* Write a field as the date that "read" parses. */
static void
write_date_of(RcRecall *recall, const Column *column,
			  bool (*read) (const char *, char *))
{
	char		iso[RC_DATE_ROOM];
	bool		fits;
	const char *str = rc_recall_field_text(recall, column->field, &fits);

	if (fits && str == NULL)
		put_null(recall, column);
	else if (cJSON_IsString(recall->item[column->field]) && read(str, iso))
		put(recall, column, RC_FIELD_TIME, iso, strlen(iso));
	else
		write_no_date(recall, column, column->field);
}

/* Column writer: the key of the record. */
static void
write_reference(RcRecall *recall, const Column *column)
{
	put(recall, column, RC_FIELD_TEXT, recall->key, strlen(recall->key));
}

/* Column writer: a text, or two joined by LF. */
static void
write_text(RcRecall *recall, const Column *column)
{
	const RcRecallField parts[2] = {column->field, column->second};
	StringInfo	str = &recall->str;

	resetStringInfo(str);
	for (int i = 0; i < 2 && parts[i] != RC_NO_FIELD; i++)
	{
		int			before = str->len;
		int			start;

		if (before > 0)
			appendStringInfoChar(str, '\n');
		start = str->len;
		if (!rc_recall_append_text(recall, parts[i], str))
		{
			write_raw(recall, column, parts[i]);
			return;
		}
		if (str->len == start)
			str->data[str->len = before] = '\0';
	}
	write_folded(recall, column, str->data, str->len);
}

/* Column writer: the identification of the products. */
static void
write_identification(RcRecall *recall, const Column *column)
{
	if (recall->has_identification)
		write_folded(recall, column, recall->identification.data,
					 recall->identification.len);
	else
		write_raw(recall, column, RC_F_IDENTIFICATION);
}

/* Column writer: a time in UTC. */
static void
write_timestamp(RcRecall *recall, const Column *column)
{
	write_date_of(recall, column, rc_recall_timestamp);
}

/* Column writer: a date. */
static void
write_date(RcRecall *recall, const Column *column)
{
	write_date_of(recall, column, rc_recall_date);
}

/*
 * Column writer: start or end of the sale.  V1 has both in one text; if it
 * cannot be parsed it is written to both columns.
 */
static void
write_period(RcRecall *recall, const Column *column)
{
	char		from[RC_DATE_ROOM];
	char		to[RC_DATE_ROOM];
	const char *iso = column->field == RC_F_DEBUT ? from : to;
	const char *str;
	bool		fits;

	if (recall->shape == RC_RECALL_V2)
	{
		write_date(recall, column);
		return;
	}
	str = rc_recall_field_text(recall, RC_F_PERIODE, &fits);
	if (fits && str == NULL)
		put_null(recall, column);
	else if (!cJSON_IsString(recall->item[RC_F_PERIODE]) ||
			 !rc_recall_period(str, from, to))
		write_no_date(recall, column, RC_F_PERIODE);
	else if (iso[0] == '\0')
		put_null(recall, column);
	else
		put(recall, column, RC_FIELD_TIME, iso, strlen(iso));
}

/*
 * Column writer: an integer.  The digits of a number or string are copied;
 * the column's type rejects one that is too large.
 */
static void
write_integer(RcRecall *recall, const Column *column)
{
	const cJSON *item = recall->item[column->field];
	bool		fits;
	const char *str = rc_recall_field_text(recall, column->field, &fits);

	if (fits && str == NULL)
		put_null(recall, column);
	else if (!cJSON_IsString(item) && fits)
		write_raw(recall, column, column->field);
	else if (!cJSON_IsString(item) ||
			 strspn(str, "0123456789") != strlen(str))
		write_unread(recall, column, column->field, NO_INTEGER);
	else if (strlen(str) > 18)
		write_raw(recall, column, column->field);
	else
	{
		resetStringInfo(&recall->str);
		appendStringInfo(&recall->str, INT64_FORMAT,
						 (int64) strtoll(str, NULL, 10));
		put(recall, column, RC_FIELD_NUMBER, recall->str.data,
			recall->str.len);
	}
}

/* Column writer: the GTINs in the identification. */
static void
write_gtin(RcRecall *recall, const Column *column)
{
	resetStringInfo(&recall->str);
	if (recall->has_identification)
		rc_recall_gtins(&recall->str, recall->identification.data);
	if (recall->str.len > 0)
		put(recall, column, RC_FIELD_JSON, recall->str.data, recall->str.len);
	else
		put_null(recall, column);
}

/*
 * The version of a recall, as a text whose bytes sort as versions do:
 * numero_de_version, date_de_publication, rappelguid, with null as the least.
 * NULL if one of them is not of its column's type: the version is then
 * unknown.
 */
static char *
version_of(const RcRecall *recall)
{
	bool		fits[3];
	const char *number = rc_recall_field_text(recall, RC_F_NUMERO_VERSION,
											  &fits[0]);
	const char *published = rc_recall_field_text(recall, RC_F_PUBLICATION,
												 &fits[1]);
	const char *guid = rc_recall_field_text(recall, RC_F_GUID, &fits[2]);
	char		iso[RC_DATE_ROOM] = "";

	if (!fits[0] || !fits[1] || !fits[2])
		return NULL;
	if (number != NULL &&
		(strlen(number) > 9 ||
		 strspn(number, "0123456789") != strlen(number)))
		return NULL;
	if (published != NULL &&
		(!cJSON_IsString(recall->item[RC_F_PUBLICATION]) ||
		 !rc_recall_timestamp(published, iso)))
		return NULL;
	return psprintf("%010d %s %s", number ? atoi(number) + 1 : 0, iso,
					guid ? guid : "");
}
