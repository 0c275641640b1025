/*-------------------------------------------------------------------------
 *
 * recall_fields.h
 *	  The fields of a recall of V1 or V2, from which recall.c writes its
 *	  columns.
 *
 * No other file than recall.c and recall_fields.c may include it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_RECALL_FIELDS_H
#define RC_RECALL_FIELDS_H

#include "transform/recall.h"

/*
 * The fields that are read, in nearly the order in which V1 and V2 have them.
 */
typedef enum RcRecallField
{
	RC_NO_FIELD,
	RC_F_PUBLICATION, RC_F_REFERENCE, RC_F_NUMERO_VERSION, RC_F_NATURE,
	RC_F_CATEGORIE, RC_F_SOUS_CATEGORIE, RC_F_MARQUE, RC_F_MODELES,
	RC_F_IDENTIFICATION, RC_F_CONDITIONNEMENTS, RC_F_PERIODE, RC_F_DEBUT,
	RC_F_FIN, RC_F_TEMPERATURE, RC_F_SALUBRITE, RC_F_INFORMATIONS,
	RC_F_ZONE, RC_F_DISTRIBUTEURS, RC_F_MOTIF, RC_F_RISQUES,
	RC_F_PRECONISATIONS, RC_F_DESCRIPTION_RISQUE, RC_F_CONDUITES,
	RC_F_CONTACT, RC_F_MODALITES, RC_F_FIN_PROCEDURE,
	RC_F_INFORMATIONS_PUBLIQUES, RC_F_IMAGES, RC_F_LISTE_PRODUITS,
	RC_F_LISTE_DISTRIBUTEURS, RC_F_AFFICHETTE, RC_F_FICHE, RC_F_GUID,
	RC_F_LIBELLE, RC_F_ID
} RcRecallField;

#define RC_RECALL_NFIELDS	(RC_F_ID + 1)

typedef enum RcRecallShape
{
	RC_RECALL_V1,
	RC_RECALL_V2
} RcRecallShape;

/* What a field has: nothing (absent, null, or empty), a text, or no text. */
typedef enum RcRecallHas
{
	RC_HAS_NOTHING,
	RC_HAS_TEXT,
	RC_HAS_OTHER				/* an object or array */
} RcRecallHas;

/* A recall that is being converted. */
typedef struct RcRecall
{
	RcRecallShape shape;
	bool		fold;
	const RcJsonMember *field[RC_RECALL_NFIELDS];	/* NULL if absent */
	char	   *key;
	bool		has_identification; /* work->identification is its text */
	bool		dated;			/* date_de_publication is a time, or null */
	char		published[RC_DATE_ROOM];	/* that time; "" if null */
	RcTransformWork *work;
	RcFieldSink *sink;
} RcRecall;

extern RcRecallShape rc_recall_shape(const RcJsonMembers *members,
									 const char **error);
extern const char *rc_recall_field_name(RcRecallField field,
										RcRecallShape shape);
extern void rc_recall_collect(RcRecall *recall, const RcJsonMembers *members);
extern void rc_recall_read_identification(RcRecall *recall);
extern bool rc_recall_append_text(const RcRecall *recall, RcRecallField field,
								  StringInfo str, bool fold, bool *some);
extern RcRecallHas rc_recall_text(const RcRecall *recall, RcRecallField field,
								  const char **str, size_t *len);

/* Whether a field is there, and its value begins with this character. */
static inline bool
rc_recall_begins(const RcRecall *recall, RcRecallField field, char first)
{
	return recall->field[field] != NULL &&
		recall->field[field]->value[0] == first;
}

#endif							/* RC_RECALL_FIELDS_H */
