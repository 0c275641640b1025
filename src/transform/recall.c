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

static void put(RcRecall *recall, const Column *column, RcFieldKind kind,
				const char *bytes, size_t len);
static void put_null(RcRecall *recall, const Column *column);
static void write_raw(RcRecall *recall, const Column *column,
					  RcRecallField field);
static void write_unread(RcRecall *recall, const Column *column,
						 RcRecallField field, const char *words);
static void write_no_date(RcRecall *recall, const Column *column,
						  RcRecallField field);
static void put_text(RcRecall *recall, const Column *column,
					 const StringInfoData *text);
static bool write_date_of(RcRecall *recall, const Column *column,
						  bool (*read) (const char *, size_t, char *),
						  char *iso);
static void write_reference(RcRecall *recall, const Column *column);
static void write_text(RcRecall *recall, const Column *column);
static void write_identification(RcRecall *recall, const Column *column);
static void write_timestamp(RcRecall *recall, const Column *column);
static void write_date(RcRecall *recall, const Column *column);
static void write_period(RcRecall *recall, const Column *column);
static void write_integer(RcRecall *recall, const Column *column);
static void write_gtin(RcRecall *recall, const Column *column);
static bool all_digits(const char *str, size_t len);
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
 */
const char *
rc_recall_convert(const RcTransformOptions *options, RcTransformWork *work,
				  RcFieldSink *sink, RcTransformed *out)
{
	RcRecall	recall = {0};
	const char *error = NULL;

	recall.sink = sink;
	recall.work = work;
	recall.fold = options->fold_accents;
	recall.shape = rc_recall_shape(&work->members, &error);
	if (error == NULL)
		error = rc_transform_key(&work->members,
								 rc_recall_field_name(RC_F_REFERENCE,
													  recall.shape),
								 &recall.key);
	if (error != NULL)
		return error;
	rc_recall_key(recall.key);

	rc_recall_collect(&recall, &work->members);
	rc_recall_read_identification(&recall);
	for (int i = 0; i < lengthof(columns); i++)
		columns[i].write(&recall, &columns[i]);
	out->version = version_of(&recall);
	out->key = recall.key;
	return NULL;
}

/* RcTransform.field_name */
const char *
rc_recall_column(int column)
{
	return columns[column].name;
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
	put(recall, column, RC_FIELD_JSON, recall->field[field]->value,
		recall->field[field]->value_len);
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
	StringInfo	text = &recall->work->text;
	const char *str = recall->field[field]->value;
	size_t		len = recall->field[field]->value_len;

	if (rc_recall_begins(recall, field, '"'))
		(void) rc_json_text(recall->field[field], &recall->work->plain, &str, &len);
	resetStringInfo(text);
	appendStringInfoString(text, words);
	appendBinaryStringInfo(text, str, len);
	put(recall, column, RC_FIELD_TEXT, text->data, text->len);
}

/*
 * Write a field that is not a date; one that the server is sure to reject is
 * written unchanged.
 */
static void
write_no_date(RcRecall *recall, const Column *column, RcRecallField field)
{
	const char *str;
	size_t		len;

	if (rc_recall_begins(recall, field, '"') &&
		rc_recall_text(recall, field, &str, &len) == RC_HAS_TEXT &&
		rc_recall_no_date(str, len))
		write_raw(recall, column, field);
	else
		write_unread(recall, column, field, NO_DATE);
}

/* Write a text; null if it is empty. */
static void
put_text(RcRecall *recall, const Column *column, const StringInfoData *text)
{
	if (text->len > 0)
		put(recall, column, RC_FIELD_TEXT, text->data, text->len);
	else
		put_null(recall, column);
}

/*
 * Write a field as the date that "read" parses, which is stored in iso; "" if
 * there is none.  Returns false if the field is not a date.
 */
static bool
write_date_of(RcRecall *recall, const Column *column,
			  bool (*read) (const char *, size_t, char *), char *iso)
{
	const char *str;
	size_t		len;
	RcRecallHas has = rc_recall_text(recall, column->field, &str, &len);

	iso[0] = '\0';
	if (has == RC_HAS_NOTHING)
		put_null(recall, column);
	else if (has == RC_HAS_TEXT && rc_recall_begins(recall, column->field, '"') &&
			 read(str, len, iso))
		put(recall, column, RC_FIELD_TIME, iso, strlen(iso));
	else
	{
		write_no_date(recall, column, column->field);
		return false;
	}
	return true;
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
	StringInfo	text = &recall->work->text;
	bool		fold = column->fold && recall->fold;
	bool		joined = false;

	resetStringInfo(text);
	for (int i = 0; i < 2 && parts[i] != RC_NO_FIELD; i++)
	{
		int			before = text->len;
		bool		some;

		if (joined)
			appendStringInfoChar(text, '\n');
		if (!rc_recall_append_text(recall, parts[i], text, fold, &some))
		{
			write_raw(recall, column, parts[i]);
			return;
		}
		if (!some)
			text->data[text->len = before] = '\0';
		joined |= some;
	}
	put_text(recall, column, text);
}

/* Column writer: the identification of the products. */
static void
write_identification(RcRecall *recall, const Column *column)
{
	StringInfo	text = &recall->work->identification;

	if (!recall->has_identification)
	{
		write_raw(recall, column, RC_F_IDENTIFICATION);
		return;
	}
	if (column->fold && recall->fold)
	{
		text = &recall->work->text;
		resetStringInfo(text);
		rc_recall_lines(text, recall->work->identification.data,
						recall->work->identification.len, false, true);
	}
	put_text(recall, column, text);
}

/* Column writer: a time in UTC, that of publication. */
static void
write_timestamp(RcRecall *recall, const Column *column)
{
	recall->dated = write_date_of(recall, column, rc_recall_timestamp,
								  recall->published);
}

/* Column writer: a date. */
static void
write_date(RcRecall *recall, const Column *column)
{
	char		iso[RC_DATE_ROOM];

	(void) write_date_of(recall, column, rc_recall_date, iso);
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
	size_t		len;
	RcRecallHas has;

	if (recall->shape == RC_RECALL_V2)
	{
		write_date(recall, column);
		return;
	}
	has = rc_recall_text(recall, RC_F_PERIODE, &str, &len);
	if (has == RC_HAS_NOTHING)
		put_null(recall, column);
	else if (has == RC_HAS_OTHER || !rc_recall_begins(recall, RC_F_PERIODE, '"') ||
			 !rc_recall_period(str, len, from, to))
		write_no_date(recall, column, RC_F_PERIODE);
	else if (iso[0] == '\0')
		put_null(recall, column);
	else
		put(recall, column, RC_FIELD_TIME, iso, strlen(iso));
}

/*
 * Column writer: an integer.  The digits of a number or string are copied,
 * without leading zeros; the column's type rejects one that is too large.
 */
static void
write_integer(RcRecall *recall, const Column *column)
{
	RcRecallField field = column->field;
	const char *str;
	size_t		len;
	RcRecallHas has = rc_recall_text(recall, field, &str, &len);

	if (has == RC_HAS_NOTHING)
		put_null(recall, column);
	else if (has == RC_HAS_OTHER)
		write_unread(recall, column, field, NO_INTEGER);
	else if (!rc_recall_begins(recall, field, '"'))
		write_raw(recall, column, field);
	else if (!all_digits(str, len))
		write_unread(recall, column, field, NO_INTEGER);
	else if (len > 18)
		write_raw(recall, column, field);
	else
	{
		while (len > 1 && *str == '0')
		{
			str++;
			len--;
		}
		put(recall, column, RC_FIELD_NUMBER, str, len);
	}
}

static bool
all_digits(const char *str, size_t len)
{
	for (size_t i = 0; i < len; i++)
	{
		if (str[i] < '0' || str[i] > '9')
			return false;
	}
	return true;
}

/* Column writer: the GTINs in the identification. */
static void
write_gtin(RcRecall *recall, const Column *column)
{
	StringInfo	text = &recall->work->text;

	resetStringInfo(text);
	if (recall->has_identification)
		rc_recall_gtins(text, recall->work->identification.data);
	if (text->len > 0)
		put(recall, column, RC_FIELD_JSON, text->data, text->len);
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
	const char *str;
	size_t		len;
	int			number = 0;
	RcRecallHas has = rc_recall_text(recall, RC_F_NUMERO_VERSION, &str, &len);

	if (!recall->dated || has == RC_HAS_OTHER)
		return NULL;
	if (has == RC_HAS_TEXT)
	{
		if (len > 9 || !all_digits(str, len))
			return NULL;
		for (size_t i = 0; i < len; i++)
			number = number * 10 + (str[i] - '0');
		number++;
	}
	has = rc_recall_text(recall, RC_F_GUID, &str, &len);
	if (has == RC_HAS_OTHER)
		return NULL;
	return psprintf("%010d %s %.*s", number, recall->published,
					has == RC_HAS_TEXT ? (int) len : 0,
					has == RC_HAS_TEXT ? str : "");
}
