/*-------------------------------------------------------------------------
 *
 * debezium_schema.h
 *	  Schemas of Kafka Connect, as its JsonConverter writes them before each
 *	  value.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_DEBEZIUM_SCHEMA_H
#define RC_DEBEZIUM_SCHEMA_H

#include "debezium/debezium_value.h"

/* Which JSON values a type of Connect has. */
typedef enum RcConnectType
{
	RC_CONNECT_INTEGER,			/* int8 to int64 */
	RC_CONNECT_FLOAT,			/* float, double */
	RC_CONNECT_BOOLEAN,
	RC_CONNECT_STRING,
	RC_CONNECT_BYTES,
	RC_CONNECT_ARRAY,
	RC_CONNECT_MAP,
	RC_CONNECT_STRUCT
} RcConnectType;

typedef struct RcConnectSchema
{
	RcConnectType type;
	const char *name;			/* of its meaning, null-terminated; NULL: none */
	const char *field;			/* of a struct, null-terminated; else NULL */
	int			field_len;
	RcDebeziumType value;		/* how its values are written */
	int			nfields;		/* of a struct */
	struct RcConnectSchema *fields;
	struct RcConnectSchema *items;	/* of an array */
} RcConnectSchema;

extern const char *rc_connect_schema_read(const char *json, int len,
										  RcConnectSchema *schema);
extern const RcConnectSchema *rc_connect_field(const RcConnectSchema *schema,
											   const char *name, int len);
extern const RcConnectSchema *rc_connect_row(const RcConnectSchema *schema,
											 bool flat);
extern const char *rc_connect_contradicts(const RcConnectSchema *schema,
										  char first);

#endif							/* RC_DEBEZIUM_SCHEMA_H */
