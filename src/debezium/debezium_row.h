/*-------------------------------------------------------------------------
 *
 * debezium_row.h
 *	  Rows of change events, as JSON.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_DEBEZIUM_ROW_H
#define RC_DEBEZIUM_ROW_H

#include "debezium/debezium_scan.h"
#include "debezium/debezium_schema.h"

/* What of a row is written, and what is reported. */
typedef struct RcDebeziumWriter
{
	const RcConnectSchema *schema;	/* of the row; NULL: values stay as they
									 * are */
	bool		flat;			/* without the fields that begin with "__" */
	bool		added;			/* only those */

	/* whether a field is written; NULL: each is */
	bool		(*wants) (void *arg, const char *name, int len);

	/* called for each field whose value is not in the event; or NULL */
	void		(*unavailable) (void *arg, const char *name, int len);
	void	   *arg;
	StringInfo	out;
	int			n;				/* fields written */

	/* what an error is about */
	const char *field;
	int			field_len;
} RcDebeziumWriter;

extern const char *rc_debezium_write_row(RcDebeziumWriter *writer,
										 const RcDebeziumPart *row);
extern const char *rc_debezium_to_json(const RcDebeziumType *type,
									   const char *json, int len,
									   StringInfo out);
extern bool rc_debezium_unavailable(const char *json, int len);
extern bool rc_debezium_header_key(const char *text, int len, StringInfo out);

#endif							/* RC_DEBEZIUM_ROW_H */
